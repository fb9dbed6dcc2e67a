"""`tabvision train`: train on a table, photos or ratings; write the checkpoint, its metrics and its predictions."""

from __future__ import annotations

import argparse
import functools
import logging
from itertools import chain
from typing import TYPE_CHECKING

from tabvision.cli.arguments import Commands
from tabvision.cli.options import add_options, check_options
from tabvision.cli.printing import format_table, short_name
from tabvision.logs import notes_at

if TYPE_CHECKING:
    from tabvision.cli.jobs import Job


def add_train(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("train", help="train on a table, photos or ratings, with good defaults")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        help="a CSV, Parquet, Feather or Excel file, or several: files, 'data/*.csv' or a folder; or a folder of photos, one "
        "folder per class",
    )
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the interrupted run in DIR, as its recipe says, or with other --devices",
    )
    add_options(parser)
    parser.set_defaults(run=_run, refuse=parser.error)


def _run(arguments: argparse.Namespace) -> None:
    """Write the recipe, train it, and write its predictions on the validation rows."""
    if not arguments.data and arguments.resume is None:
        arguments.refuse("DATA is missing: a table, or a folder of photos")
    with notes_at(verbose=not arguments.quiet):  # before the imports below, which take seconds
        logging.getLogger("tabvision").info(f"Reading {short_name(arguments.data or arguments.resume)} …")
    if arguments.resume is not None:
        from tabvision.cli.resume import resume_run

        resume_run(arguments)
        return
    if len(arguments.data) == 1:
        (arguments.data,) = arguments.data
    kind = _kind_of(arguments)
    check_options(arguments, kind)
    _check_held_out(arguments)
    _check_verifiable(arguments)
    from tabvision.cli.run import free_folder, is_worker, run_job
    from tabvision.lightning import seed_everything

    reads = (
        vars(arguments)["from"],
        arguments.titles,
        arguments.weights,
        arguments.corrections,
        arguments.test,
        arguments.validation,
    )
    find_folder = functools.partial(
        free_folder, arguments.out, arguments.data, overwrite=arguments.overwrite, reads=reads
    )
    if kind == "images":  # probing takes a while, so the folder is checked before as well
        find_folder()
    seed_everything(arguments.seed, workers=True, verbose=False)
    with notes_at(verbose=not arguments.quiet):
        job = _job_of(arguments, kind)  # what is wrong in the data is said before what is in the way of the results
        if (checkpoint := vars(arguments)["from"]) is not None:
            from tabvision.cli.resume import warm_started

            job = warm_started(job, checkpoint)
    if arguments.columns and not is_worker():
        print(format_table([("column", "use", "facts"), *job.datamodule.schema.column_uses()], left=3))
    run_job(job, find_folder(), report=not arguments.no_report)


def _kind_of(arguments: argparse.Namespace) -> str:
    """Return the kind of DATA, inferred from its path and from the options.

    Raises:
        MissingFileError: There is no such file or folder, which would be taken as a table.
    """
    from pathlib import Path

    from tabvision.data.tables.files import are_tables, check_file, files_of, is_glob, table_files
    from tabvision.errors import speaking

    data = arguments.data
    with speaking("tabvision train"):
        if isinstance(data, str) and is_glob(data):
            found = [str(file) for file in files_of(data)]
            arguments.data = data = data if are_tables(found) else found  # a recipe names the images one by one
        for each in data if isinstance(data, list) else [data]:
            if "://" not in each and not is_glob(each):  # reading says what to do about an address
                check_file(Path(each).expanduser())
    if arguments.user or arguments.item:
        return "ratings"
    if arguments.label_pattern or arguments.image_only:
        return "images"
    if arguments.image:
        return "fused" if _learns_from_columns(arguments) else "images"
    if isinstance(data, list):
        return _kind_of_list(data)
    folder = Path(data).expanduser()
    return "images" if folder.is_dir() and not table_files(folder) else "table"


def _kind_of_list(data: list[str]) -> str:
    """Return the kind of several files by their suffixes."""
    from pathlib import Path

    from tabvision.data.tables.files import are_tables
    from tabvision.errors import BadValueError, listed

    has_folder = any(Path(each).expanduser().is_dir() for each in data)
    if has_folder or (not are_tables(data) and any(are_tables([each]) for each in data)):
        problem = (
            f"DATA is one folder, or the files of one table, or photos, got {listed([repr(each) for each in data])}"
        )
        raise BadValueError("tabvision train", problem, "Pass one of these")
    return "table" if are_tables(data) else "images"


def _check_held_out(arguments: argparse.Namespace) -> None:
    """Raise if the file of validation or test rows is one that trains.

    Raises:
        BadValueError: It is.
    """
    from pathlib import Path

    from tabvision.data.tables.files import files_of, is_glob, table_files
    from tabvision.errors import BadValueError

    data = arguments.data if isinstance(arguments.data, list) else [arguments.data]
    paths = [Path(each).expanduser() for each in data]
    found = [files_of(it) if is_glob(it) else table_files(it) if it.is_dir() else [] for it in paths]
    training = {file.resolve() for file in (*paths, *chain.from_iterable(found))}
    for option, held_out in (("--validation", arguments.validation), ("--test", arguments.test)):
        if isinstance(held_out, str) and Path(held_out).expanduser().resolve() in training:
            problem = f"{option} {held_out} is part of DATA, so its rows would train and measure the network"
            raise BadValueError("tabvision train", problem, "Pass rows that do not train, or a fraction such as 0.2")


def _check_verifiable(arguments: argparse.Namespace) -> None:
    """Raise if a run that is to be verified does what a recipe cannot repeat.

    Raises:
        BadValueError: It begins with a trained network, is several fits, ends by the clock, or may keep a probe.
    """
    from tabvision.errors import BadValueError

    others = {
        "--from": vars(arguments)["from"],
        "--preset best": arguments.preset == "best",
        "--max-time": arguments.max_time,
        "--probe": arguments.probe,
    }
    if arguments.verifiable and (found := [flag for flag, value in others.items() if value]):
        problem = f"--verifiable is for a fit that its recipe repeats to the bit, which {found[0]} rules out"
        raise BadValueError("tabvision train", problem, "Leave one of the two out")


def _learns_from_columns(arguments: argparse.Namespace) -> bool:
    """Return whether DATA has columns besides its images, target and weights, and the target does not lie in an image."""
    from tabvision.cli.options import form_of
    from tabvision.data.tables.cells import MISSING_WORDS
    from tabvision.data.tables.files import folder_of
    from tabvision.data.tables.read import read_frame
    from tabvision.errors import speaking
    from tabvision.schema import JoinedLabels

    if arguments.task is not None and arguments.task.startswith("points"):
        return False
    known = dict.fromkeys(arguments.image, MISSING_WORDS)
    if arguments.separator is not None:
        known |= dict.fromkeys(arguments.target or (), JoinedLabels([""]))
    with speaking("tabvision train"), notes_at(verbose=not arguments.quiet):
        frame = read_frame(arguments.data, known=known, **form_of(arguments))
    frame.attrs["folder"] = str(folder_of(arguments.data))
    arguments.frame = frame
    others = {*arguments.image, *(arguments.target or ()), arguments.weight, arguments.sampler}
    return bool({*frame.columns} - others)


def _job_of(arguments: argparse.Namespace, kind: str) -> Job:
    """Return the run for that kind of data."""
    if kind == "images":
        from tabvision.cli.images import image_job

        return image_job(arguments)
    if kind == "fused":
        from tabvision.cli.images import fused_job

        return fused_job(arguments)
    if kind == "ratings":
        from tabvision.cli.ratings import ratings_job

        return ratings_job(arguments)
    from tabvision.cli.tables import table_job

    return table_job(arguments)
