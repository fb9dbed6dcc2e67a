"""`tabvision train`: train on a table, photos or ratings; write the checkpoint, its metrics and its predictions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabvision.cli.options import add_options, check_options

if TYPE_CHECKING:
    from tabvision.cli.jobs import Job


def add_train(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Add the command."""
    parser = commands.add_parser("train", help="train on a table, photos or ratings, with good defaults")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="a CSV, Parquet or Feather file, or a folder of such; or a folder of photos, one folder per class",
    )
    parser.add_argument("--resume", metavar="DIR", help="go on with the interrupted run in DIR, as its recipe says")
    add_options(parser)
    parser.set_defaults(run=_run, refuse=parser.error)


def _run(arguments: argparse.Namespace) -> None:
    """Write the recipe, train it, and write its predictions on the validation rows."""
    if arguments.resume is not None:
        from tabvision.cli.interrupted import resume_run

        resume_run(arguments)
        return
    if arguments.data is None:
        arguments.refuse("DATA is missing: a table, or a folder of photos")
    kind = _kind_of(arguments)
    check_options(arguments, kind)
    from tabvision.cli.run import free_folder, run_job
    from tabvision.lightning import seed_everything
    from tabvision.logs import notes_at

    reads = (arguments.titles, arguments.weights, arguments.corrections, arguments.test)
    folder = free_folder(arguments.out, arguments.data, overwrite=arguments.overwrite, reads=reads)
    seed_everything(arguments.seed, workers=True, verbose=False)
    with notes_at(verbose=not arguments.quiet):
        job = _job_of(arguments, kind)
    run_job(job, folder, report=not arguments.no_report)


def _kind_of(arguments: argparse.Namespace) -> str:
    """Return the kind of DATA, inferred from its path and from the options.

    Raises:
        MissingFileError: There is no such file or folder, which would be taken as a table.
    """
    from pathlib import Path

    from tabvision.data.tables.read import check_file, table_files
    from tabvision.errors import speaking

    folder = Path(arguments.data).expanduser()
    if "://" not in arguments.data:  # reading says what to do about an address
        with speaking("tabvision train"):
            check_file(folder)
    if arguments.user or arguments.item:
        return "ratings"
    if arguments.label_pattern or arguments.image_only:
        return "images"
    if arguments.image:
        return "fused" if _learns_from_columns(arguments) else "images"
    if not folder.is_dir():
        return "table"
    return "table" if table_files(folder) else "images"


def _learns_from_columns(arguments: argparse.Namespace) -> bool:
    """Return whether DATA has columns besides its images, target and weights, and the target does not lie in an image."""
    from tabvision.cli.options import form_of
    from tabvision.data.tables.read import read_frame
    from tabvision.errors import speaking
    from tabvision.tasks.registry import task_named

    if arguments.task is not None and task_named(arguments.task).moves_with_image:
        return False
    with speaking("tabvision train"):
        frame = read_frame(arguments.data, **form_of(arguments))
    return bool({*frame.columns} - {*arguments.image, *(arguments.target or ()), arguments.weight})


def _job_of(arguments: argparse.Namespace, kind: str) -> Job:
    """Return the run for that kind of data."""
    if kind == "images":
        from tabvision.cli.images import image_job

        return image_job(arguments)
    if kind == "fused":
        from tabvision.cli.fused import fused_job

        return fused_job(arguments)
    if kind == "ratings":
        from tabvision.cli.ratings import ratings_job

        return ratings_job(arguments)
    from tabvision.cli.jobs import table_job

    return table_job(arguments)
