"""`tabvision train`: a table, photos or ratings in; a trained network, its measure and its predictions out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabvision.cli.arguments import names, seed, share, size, whole
from tabvision.errors import BadValueError

if TYPE_CHECKING:
    from tabvision.cli.jobs import Job

TASKS = ["binary", "multiclass", "multilabel", "regression", "points"]
NAMES = {"table": "a table", "images": "images", "ratings": "ratings"}
OPTIONS = {  # those that not every kind of data takes, with the kinds that do
    "categorical": "table",
    "continuous": "table",
    "dates": "table",
    "ignore": "table",
    "weight": "table images",
    "separator": "table images",
    "image": "images",
    "root": "images",
    "label_pattern": "images",
    "body": "images",
    "weights": "images",
    "size": "images",
    "augment": "images",
    "freeze_epochs": "images",
    "bad_share": "images",
    "user": "ratings",
    "item": "ratings",
    "timestamp": "ratings",
    "split": "ratings",
    "duplicates": "ratings",
    "y_range": "ratings",
    "titles": "ratings",
    "title": "ratings",
    "negatives": "ratings",
    "kind": "ratings",
    "factors": "ratings",
}


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("train", help="train on a table, photos or ratings, with good defaults")
    parser.add_argument(
        "data", metavar="DATA", help="a CSV, Parquet or Feather file; or a folder of photos, one folder a class"
    )
    parser.add_argument(
        "--target", metavar="COL", type=names, action="extend", help="the column to predict, or several: a,b"
    )
    parser.add_argument("--task", choices=TASKS, help="kind of target (default: inferred)")
    parser.add_argument("--separator", metavar="TEXT", help="what parts the labels in one multi-label column")
    parser.add_argument("--weight", metavar="COL", help="column with the weight of each row")
    parser.add_argument("--drop-missing-target", action="store_true", help="leave out rows without a target")
    parser.add_argument("--encoding", metavar="NAME", help='of a text file that is not UTF-8, such as "latin-1"')
    _add_table(parser.add_argument_group("a table (what is not named is inferred and printed)"))
    _add_images(parser.add_argument_group("images"))
    _add_ratings(parser.add_argument_group("ratings (without --target each row means that the user took the item)"))
    _add_training(parser.add_argument_group("training"))
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", help="folder for everything written (default runs/NAME-OF-DATA)")
    output.add_argument("--overwrite", action="store_true", help="replace the run that DIR holds")
    parser.set_defaults(run=run)


def _add_table(group: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    group.add_argument(
        "--categorical", metavar="A,B", type=names, action="extend", help="columns to take as categories"
    )
    group.add_argument("--continuous", metavar="A,B", type=names, action="extend", help="columns to take as numbers")
    group.add_argument("--dates", metavar="A,B", type=names, action="extend", help="columns to take as dates")
    group.add_argument("--ignore", metavar="A,B", type=names, action="extend", help="columns to leave out")


def _add_images(group: Any) -> None:  # noqa: ANN401
    group.add_argument("--image", metavar="COL", help="DATA is a table: its column with the files' paths")
    group.add_argument("--root", metavar="DIR", help="where those paths start (default: beside the table)")
    group.add_argument("--label-pattern", metavar="REGEX", help="the label is in the file name: its first (group)")
    group.add_argument("--body", metavar="NAME", help="pretrained network of torchvision or timm (default resnet34)")
    group.add_argument("--weights", metavar="NAME", help="default, a named set, a local file, or none")
    group.add_argument("--size", metavar="PIXELS", type=size, help="of the pictures, 224 or 192x256 (default 224)")
    group.add_argument("--augment", metavar="NAME", help="none, light, default or strong")
    group.add_argument("--freeze-epochs", type=whole, metavar="N", help="epochs for the new head alone (default 1)")
    group.add_argument(
        "--bad-share", type=float, metavar="SHARE", help="of files that may be unreadable (default 0.01)"
    )


def _add_ratings(group: Any) -> None:  # noqa: ANN401
    group.add_argument("--user", metavar="COL", help="column with who rated")
    group.add_argument("--item", metavar="COL", help="column with what was rated")
    group.add_argument("--timestamp", metavar="COL", help="column with when it was rated, for --split and --duplicates")
    group.add_argument("--split", choices=["time", "last"], help="what validates: the latest rows, or each user's last")
    group.add_argument(
        "--duplicates", choices=["error", "last", "keep"], help="of a pair that comes again (default error)"
    )
    group.add_argument("--titles", metavar="FILE", help="a table with the items' ids and titles")
    group.add_argument("--title", metavar="COL", help="column with titles, of --titles (default title) or else of DATA")
    ends = {"nargs": 2, "metavar": ("LOW", "HIGH"), "type": float}
    group.add_argument("--y-range", **ends, help="lowest and highest answer (default: the ratings', half a step wider)")
    group.add_argument(
        "--negatives", metavar="N", type=whole, help="without --target: items not taken for each (default 4)"
    )
    group.add_argument("--kind", choices=["dot", "neural"], help="factors multiplied, or through layers (default dot)")
    group.add_argument("--factors", metavar="N", type=whole, help="numbers that describe each user and item")


def _add_training(group: Any) -> None:  # noqa: ANN401
    group.add_argument("--epochs", metavar="N", type=whole, help="passes over the training rows (default: by the data)")
    group.add_argument("--lr", metavar="RATE", help='peak learning rate: "1e-2", first and last "1e-4:1e-2", or auto')
    group.add_argument("--batch-size", metavar="N", type=whole, help="rows in a step (default: by the data)")
    group.add_argument("--validation", metavar="SHARE", type=share, default=0.2, help="share of rows (default 0.2)")
    group.add_argument("--seed", metavar="N", type=seed, default=0, help="decides split, weights and order (default 0)")
    group.add_argument(
        "--accelerator", metavar="NAME", default="auto", help="auto (default), cpu, gpu …: as for a Trainer"
    )
    group.add_argument("--devices", metavar="N", default="auto", help="how many, or auto (default): as for a Trainer")
    group.add_argument("--precision", metavar="NAME", help="32-true (default), bf16-mixed …: as for a Trainer")


def run(arguments: argparse.Namespace) -> None:
    """Writes the recipe, trains it, and writes what it answers on the validation rows."""
    kind = kind_of(arguments)
    check_options(arguments, kind)
    from tabvision.cli.run import free_folder, train
    from tabvision.lightning import seed_everything

    folder = free_folder(arguments.out, arguments.data, overwrite=arguments.overwrite)
    seed_everything(arguments.seed, workers=True, verbose=False)
    job = job_of(arguments, kind)
    train(job, folder, accelerator=arguments.accelerator, devices=arguments.devices, precision=arguments.precision)


def kind_of(arguments: argparse.Namespace) -> str:
    """What DATA holds, told by what it is and what was named."""
    from pathlib import Path

    if arguments.user or arguments.item:
        return "ratings"
    if arguments.image or arguments.label_pattern or Path(arguments.data).expanduser().is_dir():
        return "images"
    return "table"


def check_options(arguments: argparse.Namespace, kind: str) -> None:
    """Checks that no option is given that this kind of data would not heed.

    Raises:
        BadValueError: One is, or `--target` is missing.
    """
    for option, kinds in OPTIONS.items():
        if getattr(arguments, option) is not None and kind not in kinds.split():
            flag = "--" + option.replace("_", "-")
            wanted = " or ".join(NAMES[name] for name in kinds.split())
            problem = f"{flag} is for {wanted}, and {arguments.data} is taken as {NAMES[kind]}"
            raise BadValueError("tabvision train", problem, f"Leave {flag} out, or see tabvision train --help")
    if kind == "table" and not arguments.target:
        raise BadValueError("tabvision train", "a table needs --target, the column to predict", "Add --target COL")


def job_of(arguments: argparse.Namespace, kind: str) -> Job:
    """The run for that kind of data."""
    if kind == "images":
        from tabvision.cli.images import picture_job

        return picture_job(arguments)
    if kind == "ratings":
        from tabvision.cli.ratings import ratings_job

        return ratings_job(arguments)
    from tabvision.cli.tables import table_job

    return table_job(arguments)
