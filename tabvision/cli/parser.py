"""The parser of the command line: every command with its arguments. Each command is implemented in the file of its name."""

from __future__ import annotations

import argparse
import functools
from typing import Any, NoReturn, TypeAlias

from typing_extensions import override

from tabvision import __version__
from tabvision.cli.arguments import fraction, names, whole
from tabvision.cli.demo import QUESTIONS
from tabvision.cli.options import add_form_options, add_options
from tabvision.errors import closest, shown

USAGE_ERROR = 2  # exit status for wrong input, as in argparse
LIGHTNING_COMMANDS = {
    "fit": "train a recipe",
    "validate": "measure a recipe's network on its validation rows",
    "test": "measure a recipe's network on its test rows",
}
_Commands: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - the type that `add_subparsers` returns
_CHECKPOINT = "a .ckpt file, such as best.ckpt"
_DEVICE = "cpu, cuda, mps or auto (default)"
_OVERWRITE = "replace FILE if it exists"
_LABELED = "a table with the target, in one or several files, or a folder of class folders, not used in training"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence and escape long and unprintable words like the library's errors."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {shown(message)}. See {self.prog} --help.\n")

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Raise on unknown words here, where the command and its options are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            close = closest(unknown[0].split("=")[0], list(self._option_string_actions))
            self.error(f"unknown {' '.join(unknown)}" + (f" (did you mean {close}?)" if close else ""))
        return found, unknown


def build_parser() -> argparse.ArgumentParser:
    """Return a parser for all commands."""
    parser = _Parser(
        prog="tabvision",
        description="Train on tables, photos and ratings with PyTorch Lightning, and predict with the trained model.",
    )
    parser.add_argument("--version", action="version", version=f"tabvision {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    train = commands.add_parser("train", help="train on a table, photos or ratings, with good defaults")
    files = "a CSV, Parquet, Feather or Excel file, or several: files, 'data/*.csv' or a folder; or a folder of photos, one "
    train.add_argument("data", metavar="DATA", nargs="*", help=f"{files}folder per class")
    resume = "continue the interrupted run in DIR with its recipe, or with other --devices"
    train.add_argument("--resume", metavar="DIR", help=resume)
    add_options(train)
    train.set_defaults(refuse=train.error)
    _add_inference_net(commands)
    _add_measuring(commands)
    _add_deploying(commands)
    _add_others(commands)
    for name, text in LIGHTNING_COMMANDS.items():
        usage = f"tabvision {name} --config recipe.yaml; a recipe is a program, unless you add --safe"
        commands.add_parser(name, help=f"{text}: {usage}", add_help=False)
    return parser


def _add_inference_net(commands: _Commands) -> None:
    predict = commands.add_parser(
        "predict", help="predict for the rows of a file, or for photos, with just a checkpoint"
    )
    predict.add_argument("checkpoint", metavar="CKPT", help=_CHECKPOINT)
    predict.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="a CSV, Parquet, Feather or Excel file with the training columns, or several, 'new/*.csv' or a folder; or "
        "photos, or a folder of them",
    )
    predict.add_argument("--out", metavar="FILE", required=True, help="predictions: .csv, .parquet, .feather or .xlsx")
    keep = "columns of a table to write before the predictions, such as an id (default for ratings: user and item)"
    predict.add_argument("--keep", metavar="A,B", type=names, action="extend", help=keep)
    strict = "fail on rows unlike the training rows: unknown categories, numbers far out of range"
    predict.add_argument("--strict", action="store_true", help=strict)
    predict.add_argument("--no-proba", action="store_true", help="only labels, without class probabilities")
    uncertainty = "add a column with the standard deviation over the network's members"
    predict.add_argument("--uncertainty", action="store_true", help=uncertainty)
    tta = "predict each photo N more times, augmented as in training"
    predict.add_argument("--tta", metavar="N", type=whole, help=tta)
    add_form_options(predict)
    predict.add_argument("--device", default="auto", help=_DEVICE)
    predict.add_argument("--overwrite", action="store_true", help=_OVERWRITE)

    recommend = commands.add_parser(
        "recommend", help="recommend items to a user, or find similar items, with just a checkpoint"
    )
    recommend.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file trained on ratings")
    which = recommend.add_mutually_exclusive_group(required=True)
    which.add_argument("--user", metavar="ID", help="items for this user")
    which.add_argument("--similar-to", metavar="ID", help="items like this item")
    recommend.add_argument("-k", metavar="N", type=whole, default=10, help="how many (default 10)")
    recommend.add_argument("--include-seen", action="store_true", help="also items that the user has already rated")
    least = "exclude items with fewer ratings (default 0 with --user, 10 with --similar-to)"
    recommend.add_argument("--min-pairs", metavar="N", type=int, help=least)
    recommend.add_argument("--out", metavar="FILE", help="also write them to a file: .csv, .parquet, .feather or .xlsx")
    recommend.add_argument("--overwrite", action="store_true", help=_OVERWRITE)


def _add_measuring(commands: _Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on labeled rows, with confidence intervals")
    report = commands.add_parser(
        "report", help="write a page on how accurate a model is, what it relies on, and where it is wrong"
    )
    for parser in (evaluate, report):
        parser.add_argument("checkpoint", metavar="CKPT", help=_CHECKPOINT)
        parser.add_argument("data", metavar="DATA", nargs="+", help=_LABELED)
    evaluate.add_argument("--out", metavar="FILE", help="the metrics: .json or a table such as .csv")
    report.add_argument("--out", metavar="FILE", required=True, help="the page: .html")
    for parser in (evaluate, report):
        add_form_options(parser)
        parser.add_argument("--device", default="auto", help=_DEVICE)
        parser.add_argument("--overwrite", action="store_true", help=_OVERWRITE)

    compare = commands.add_parser("compare", help="compare the metrics of several runs")
    compare.add_argument("runs", metavar="RUN", nargs="+", help="folders that tabvision train wrote, such as runs/*")
    compare.add_argument("--out", metavar="FILE", help="also write a page with their histories in one figure: .html")
    compare.add_argument("--overwrite", action="store_true", help=_OVERWRITE)

    verify = commands.add_parser("verify", help="replay a run to check that recipe and data give its checkpoints")
    verify.add_argument("folder", metavar="RUN", help="the folder of a run of tabvision train --verifiable")
    share = "fraction of the epochs to replay, drawn at random (default 0.05)"
    verify.add_argument("--share", type=functools.partial(fraction, end="]"), default=0.05, help=share)
    verify.add_argument("--safe", action="store_true", help="write only inside the working folder, as for fit --safe")

    check = commands.add_parser(
        "check-images", help="find images in a folder or table that cannot be read, or only in part"
    )
    check.add_argument("data", metavar="DATA", help="a folder, including subfolders; or a table, with --image")
    check.add_argument("--image", metavar="A,B", type=names, action="extend", help="columns of image paths in a table")
    add_form_options(check)
    check.add_argument("--out", metavar="FILE", help="list them there with the reason, such as bad_files.csv")
    check.add_argument("--channels", type=whole, default=3, metavar="N", help="channels to train on (default 3, RGB)")
    check.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    check.add_argument("--overwrite", action="store_true", help=_OVERWRITE)


def _add_deploying(commands: _Commands) -> None:
    calibrate = commands.add_parser(
        "calibrate", help="fit temperature, thresholds or intervals on rows not used in training"
    )
    calibrate.add_argument("checkpoint", metavar="CKPT", nargs="?", help=_CHECKPOINT)
    rows = "rows not used in training: a table with the target, or a folder of class folders"
    calibrate.add_argument("data", metavar="DATA", nargs="?", help=rows)
    run = "instead of both: the best.ckpt of a run and its rows: --calibration, else test, else validation rows"
    calibrate.add_argument("--run", metavar="DIR", help=run)
    calibrate.add_argument("--out", metavar="FILE", required=True, help="the calibrated checkpoint: a new .ckpt file")
    metric = "choose thresholds that maximize f1, f2, accuracy, balanced_accuracy or youden (two classes, labels)"
    calibrate.add_argument("--metric", help=metric)
    calibrate.add_argument("--per-label", action="store_true", help="fit one temperature per label, not one for all")
    coverage = "coverage of intervals around numbers (default: 0.9)"
    calibrate.add_argument("--coverage", type=fraction, default=0.9, help=coverage)
    add_form_options(calibrate)
    calibrate.add_argument("--overwrite", action="store_true", help=_OVERWRITE)

    export = commands.add_parser("export", help="write a checkpoint as an ONNX or .pt2 file")
    export.add_argument("checkpoint", metavar="CKPT", help=_CHECKPOINT)
    file = "model.onnx, or model.pt2 for torch.export's format"
    export.add_argument("--out", metavar="FILE", required=True, help=file)
    export.add_argument("--overwrite", action="store_true", help=_OVERWRITE)

    serve = commands.add_parser("serve", help="serve predictions for JSON rows or uploaded images over HTTP")
    serve.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, or an .onnx file from tabvision export")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: only this machine)")
    serve.add_argument("--port", type=int, default=8000, help="0 chooses a free one (default: 8000)")
    serve.add_argument("--device", default="auto", help=_DEVICE)
    serve.add_argument("--max-rows", type=whole, default=1_000, help="rows or images per request (default: 1000)")
    serve.add_argument("--max-megabytes", type=whole, default=16, help="size of a request (default: 16)")
    uncertainty = "add the standard deviation over the network's members to each prediction"
    serve.add_argument("--uncertainty", action="store_true", help=uncertainty)


def _add_others(commands: _Commands) -> None:
    push = commands.add_parser("push", help="share a run on the Hugging Face Hub, with a model card")
    push.add_argument("folder", metavar="RUN", help="a folder that tabvision train wrote, such as runs/people")
    push.add_argument("repo", metavar="USER/MODEL", help="the repository, created if it does not exist")
    push.add_argument("--private", action="store_true", help="create a private repository")
    push.add_argument("--license", metavar="NAME", help="the license of the network, such as apache-2.0")
    push.add_argument("--dry-run", action="store_true", help="print the card and the files without uploading")

    recipes = commands.add_parser("recipes", help="list the recipes with measured results, or copy one here")
    actions = recipes.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    actions.add_parser("list", help="print the names of the recipes and their questions")
    get = actions.add_parser("get", help="copy a recipe, and the datamodule it names to datamodules/ next to it")
    get.add_argument("name", metavar="NAME", help="a name printed by tabvision recipes list")
    get.add_argument("--out", metavar="FILE", help="file for the recipe (default NAME.yaml)")
    get.add_argument("--overwrite", action="store_true", help="replace existing files")

    lr_find = commands.add_parser("lr-find", help="suggest a learning rate for a recipe, without training it")
    lr_find.add_argument("--config", metavar="FILE", required=True, help="the recipe, such as recipe.yaml")
    lr_find.add_argument("--safe", action="store_true", help="build only listed parts, as for fit --safe")
    lr_find.add_argument("--plot", metavar="FILE", help="plot the curve: .png, .svg or .pdf")
    lr_find.add_argument("--overwrite", action="store_true", help="replace the plot if it exists")

    demo = commands.add_parser("demo", help="train on real data that comes with a package, in under three minutes")
    questions = "; ".join(f"{kind}: {question}" for kind, question in QUESTIONS.items())
    demo.add_argument("kind", nargs="?", choices=QUESTIONS, default="tabular", help=f"{questions} (default: tabular)")
    demo.add_argument("--out", metavar="DIR", help="new folder for all output (default runs/demo-KIND)")
    demo.add_argument("--rows", metavar="N", type=whole, help="number of flights or orders (default: all)")
