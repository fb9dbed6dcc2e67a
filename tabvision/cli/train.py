"""`tabvision train`: train on a table, photos or ratings, and write the checkpoint, its metrics and its predictions."""

from __future__ import annotations

import argparse
import functools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from tabvision.cli.options import check_options
from tabvision.cli.printing import format_table, short_name
from tabvision.errors import BadValueError
from tabvision.logs import notes_at

if TYPE_CHECKING:
    from tabvision.cli.jobs import Job


def run(arguments: argparse.Namespace) -> None:
    """Train on DATA, or resume the run of `--resume`, and write the outputs to the run's folder."""
    if not arguments.data and arguments.resume is None:
        arguments.refuse("DATA is missing: a table, or a folder of photos")
    with notes_at(verbose=not arguments.quiet):  # before the imports below, which take seconds
        logging.getLogger("tabvision").info(f"Reading {short_name(arguments.data or arguments.resume)} …")
    if arguments.resume is not None:
        from tabvision.cli.resume import resume_run

        resume_run(arguments)
        return
    _train(arguments)


def _train(arguments: argparse.Namespace) -> None:
    from tabvision.cli.data_kind import check_held_out, kind_of_data
    from tabvision.cli.folder import free_folder, is_worker
    from tabvision.cli.run import run_job
    from tabvision.lightning import seed_everything

    if len(arguments.data) == 1:
        (arguments.data,) = arguments.data
    kind = kind_of_data(arguments)
    check_options(arguments, kind)
    check_held_out(arguments)
    _check_verifiable(arguments)
    given = vars(arguments)
    reads = [given[name] for name in ("from", "titles", "weights", "corrections", "test", "validation")]
    find_folder = functools.partial(
        free_folder, arguments.out, arguments.data, overwrite=arguments.overwrite, reads=reads
    )
    if kind == "images":  # probing takes a while, so check the folder beforehand too
        find_folder()
    seed_everything(arguments.seed, workers=True, verbose=False)
    with notes_at(verbose=not arguments.quiet):
        job = _job_of(arguments, kind)
        # report errors in the data before an output folder that is not free
        if (checkpoint := given["from"]) is not None:
            from tabvision.cli.resume import warm_started

            job = warm_started(job, checkpoint)
    if arguments.columns and not is_worker():
        print(format_table([("column", "use", "facts"), *job.datamodule.schema.column_uses()], left=3))
    run_job(replace(job, report=False if arguments.no_report else None), find_folder())


def _job_of(arguments: argparse.Namespace, kind: str) -> Job:
    """Return the run for a kind of data, without importing the modules of the other kinds."""
    if kind == "table":
        from tabvision.cli.tables import table_job

        return table_job(arguments)
    if kind == "ratings":
        from tabvision.cli.ratings import ratings_job

        return ratings_job(arguments)
    from tabvision.cli.images import fused_job, image_job

    return fused_job(arguments) if kind == "fused" else image_job(arguments)


def _check_verifiable(arguments: argparse.Namespace) -> None:
    """Raise if a verifiable run uses an option that a recipe cannot reproduce.

    Raises:
        BadValueError: It starts with a trained network, is several fits, has a time limit, or may keep a probe.
    """
    others = {
        "--from": vars(arguments)["from"],
        "--preset best": arguments.preset == "best",
        "--max-time": arguments.max_time,
        "--probe": arguments.probe,
    }
    if arguments.verifiable and (found := [flag for flag, value in others.items() if value]):
        problem = f"--verifiable is for a fit that its recipe repeats bit for bit, which {found[0]} rules out"
        raise BadValueError("tabvision train", problem, "Leave one of the two out")
