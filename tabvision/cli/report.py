"""`tabvision report`: one page on a model: how accurate it is, what it relies on, and where it is wrong."""

from __future__ import annotations

import argparse
import datetime
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tabvision import __version__
from tabvision.cli.rows import measured_rows
from tabvision.data.tables.write import check_destination
from tabvision.errors import speaking
from tabvision.inference import Predictor, Results
from tabvision.interpret import importance
from tabvision.interpret.evaluate import scores
from tabvision.report import write_report
from tabvision.report.oddities import oddities

_REPEATS = 3  # shuffles of each column
_MOST_ANSWERS = 500_000  # predictions for the importance of all columns: a few seconds
_MIN_ROWS, _MAX_ROWS = 500, 10_000  # rows to measure importance on


@speaking("tabvision report")
def run(arguments: argparse.Namespace) -> None:
    """Predict the rows and write the page."""
    reads = [arguments.checkpoint, *arguments.data]
    check_destination(arguments.out, suffixes=[".html"], overwrite=arguments.overwrite, reads=reads)
    predictor, results, rows = measured_rows(arguments)
    task = predictor.schema.task
    report_on(
        predictor,
        results,
        arguments.out,
        checkpoint=arguments.checkpoint,
        measured_on=rows,
        metrics={"loss": float(results.loss.mean()), **scores(task.metrics(), results.predictions, results.target)},
        baseline=scores(task.metrics(), task.constant(results.target), results.target),
        slice_by=_pair_counts(predictor, results),
        overwrite=arguments.overwrite,
    )
    print(f"{rows}: {arguments.out}")


def _pair_counts(predictor: Predictor, results: Results) -> list[pd.Series[int]]:
    """Return how many pairs in the checkpoint have each row's user, and its item; nothing for other models.

    A checkpoint holds the training and validation pairs, which `recommend` excludes. A row's own pair does not count.
    """
    pairs = getattr(predictor.module, "seen", None)
    if pairs is None or not pairs.shape[1]:
        return []
    codes, size = predictor.read(results.frame).arrays["categorical"], int(pairs.max()) + 1
    known = np.isin(codes @ [size, 1], pairs.long().numpy().T @ [size, 1])
    found = []
    for column, of_rows, of_pairs in zip(predictor.schema.categorical, codes.T, pairs.numpy(), strict=True):
        counts = np.bincount(of_pairs, minlength=int(of_rows.max()) + 1)[of_rows] - known
        name = f"how many other pairs of the checkpoint have the same {column.source}"
        found.append(pd.Series(counts, index=results.frame.index, name=name))
    return found


def report_on(
    predictor: Predictor,
    results: Results,
    out: str | Path,
    *,
    checkpoint: str | Path,
    facts: Mapping[str, object] | None = None,
    data: object = None,
    divided_by: str | None = None,
    **details: Any,  # noqa: ANN401 - passed to `write_report`
) -> None:
    """Write the page, with column importance, facts about the network, and oddities in the training rows.

    `divided_by` is the column by whose order rows were held out, and so is not listed among the oddities.
    """
    module, schema, ranked = predictor.module, predictor.schema, None
    if schema.continuous or schema.categorical:  # on as many rows as take a few seconds
        most = min(_MAX_ROWS, max(_MIN_ROWS, _MOST_ANSWERS // (_REPEATS * len(schema.inputs))))
        ranked = importance(predictor, results.frame, repeats=_REPEATS, max_rows=most, fold=results.fold)
    bag = module.hparams.get("bag", 1)
    several = f"average of {bag} networks, " if bag > 1 else ""
    network = {
        "network": f"{several}{type(module).__name__}, {sum(it.numel() for it in module.parameters()):,} parameters",
        "versions": f"tabvision {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "written": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M}",
    }
    details |= {"model": predictor, "importance": ranked, "facts": {**(facts or {}), **network}}
    details |= oddities(predictor, results, data, divided_by)
    write_report(out, results, checkpoint=Path(checkpoint).name, **details)
