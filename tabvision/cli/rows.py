"""The rows given to `predict`, `evaluate`, `report` and `calibrate`, with photos in the folder given by the command."""

from __future__ import annotations

import argparse
import os
from typing import Any

import pandas as pd

from tabvision.checks import check_present
from tabvision.cli.options import form_of
from tabvision.cli.printing import short_name
from tabvision.data.tables.files import are_tables, folder_of
from tabvision.data.tables.read import read_frame, text_format
from tabvision.errors import BadValueError, count
from tabvision.inference import Predictor, Results
from tabvision.inference.results import noun_of
from tabvision.schema import Schema


def measured_rows(arguments: argparse.Namespace) -> tuple[Predictor, Results, str]:
    """Return the predictor of `CKPT`, its results for the labeled rows `DATA`, and which these are: "876 rows of new.csv"."""
    predictor = Predictor(arguments.checkpoint, device=arguments.device)
    source = arguments.data[0] if len(arguments.data) == 1 else arguments.data
    results = predictor.losses(with_photos(arguments, predictor.schema, source), **form_of(arguments))
    return predictor, results, f"{count(len(results), noun_of(results))} of {short_name(source)}"


def with_photos(arguments: argparse.Namespace, schema: Schema, source: Any) -> Any:  # noqa: ANN401 - any source
    """Return a table with `--root` and `--suffix` applied to its image paths; without these options, the source itself.

    Raises:
        BadValueError: One of them is given, and the source is not a table of image paths.
    """
    root, suffix = arguments.root, arguments.suffix
    if root is None and suffix is None:
        return source
    if schema.image is None or not are_tables(source if isinstance(source, list) else [source]):
        option = "--suffix" if root is None else "--root"
        problem = f"{option} is for a table of photo paths, got {source}"
        raise BadValueError(problem, f"Leave {option} out" if schema.image is None else "Pass the table")
    frame = read_frame(source, **text_format(schema, **form_of(arguments)), known=schema.known_columns)
    check_present(schema.image.columns, frame.columns, "Name the files in that column, as in training")
    folder = folder_of(source) if root is None else root
    for name in schema.image.columns:
        cells = frame[name].astype("str")
        paths = [os.path.join(folder, f"{cell}{suffix or ''}") for cell in cells]  # noqa: PTH118 - as for a table of images
        frame[name] = pd.Series(paths, frame.index).where(frame[name].notna() & (cells != ""))
    return frame
