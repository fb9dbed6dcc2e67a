"""`tabvision calibrate`: calibrate predicted probabilities (temperature scaling) or add intervals to predicted numbers."""

from __future__ import annotations

import argparse
from collections.abc import Container
from pathlib import Path
from typing import Any

import pandas as pd

from tabvision.cli.folder import RESUME_FILE, chosen_by_validation, learned_from_validation, recipe_file
from tabvision.cli.jobs import build
from tabvision.cli.options import form_of
from tabvision.cli.rows import with_photos
from tabvision.cli.run_recipe import check_rows, read_recipe
from tabvision.data import CollabDataModule
from tabvision.data.images.files import PATH_COLUMN
from tabvision.data.splits.base import PartName
from tabvision.data.tables.read import read_frame
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadValueError, count, speaking
from tabvision.inference import Predictor
from tabvision.inference.results import with_images


@speaking("tabvision calibrate")
def run(arguments: argparse.Namespace) -> None:
    """Write the calibrated checkpoint and print what changed."""
    given = [each for each in (arguments.checkpoint, arguments.data) if each is not None]
    if len(given) != (0 if arguments.run else 2):
        names = " ".join([*given, *(["--run", arguments.run] if arguments.run else [])])
        problem = f"a checkpoint and rows, or a run, are needed, got {names or 'neither'}"
        raise BadValueError(problem, "Pass CKPT DATA, or --run DIR alone")
    if arguments.run:
        folder = Path(arguments.run).expanduser()
        rows: Any = _rows_of(folder)
        predictor = Predictor(folder / "best.ckpt")
    else:
        predictor = Predictor(arguments.checkpoint)
        rows = with_photos(arguments, predictor.schema, arguments.data)
    fitted = predictor.calibrate(
        rows,
        out=arguments.out,
        per_label=arguments.per_label,
        metric=arguments.metric,
        coverage=arguments.coverage,
        overwrite=arguments.overwrite,
        **form_of(arguments),
    )
    print(f"Calibrated on {count(fitted.num_rows, 'row')}: {arguments.out}")
    for name, values in fitted.calibration.to_dict().items():
        if values:
            numbers = values if isinstance(values, list) else [values]
            print(f"  {name}: {', '.join(f'{value:.6g}' for value in numbers)}")
    for name, after in fitted.after.items():
        before = f"{fitted.before[name]:.4f} before, " if name in fitted.before else ""
        print(f"  {name}: {before}{after:.4f} after")


def _rows_of(run: Path) -> pd.DataFrame:
    """Return the rows of a run to calibrate on, as its source holds them, and print which they are.

    Raises:
        MissingFileError: The folder has no recipe.
        BadValueError: The run held out no rows, or best.ckpt learned from them.
    """
    file = recipe_file(run)
    recipe = read_recipe(file)["data"]
    known = {"schema": Predictor(run / "best.ckpt").schema} if file.name == RESUME_FILE else {}
    data, settings = build(recipe, **known), recipe["init_args"]
    if isinstance(data, CollabDataModule) and data.rating is None:
        problem = f"the rows of the run in {str(run)!r} have no ratings, so each of them is a yes"
        raise BadValueError(problem, "Pass CKPT and rows with both answers in a column 'interaction'")
    check_rows(file, data, "pass CKPT and rows that did not train")
    data = data.sampled()  # a sample if the table is prepared
    name = _part_of(run, data.parts)
    (tensors, rows), schema, test = data.parts[name], data.schema, settings.get("test")
    if schema.is_of_images:  # `tables` has the rows of the tensors, which may be fewer than the source's
        table = data.tables[name]
        return table.frame.iloc[rows.numpy()].assign(**{schema.image.name: table.files(rows.numpy())})
    frame = data.frame
    if name == "test" and test is not None:
        form: Any = {each: settings[each] for each in TextFormat.__annotations__ if each in settings}
        frame = read_frame(test, **form, known=schema.known_columns)
    numbers = tensors["index"][rows].numpy()
    if schema.image is None:
        return frame.iloc[numbers]
    files = data.tables[name].frame[PATH_COLUMN].to_numpy().reshape(len(frame), -1)[numbers]
    return with_images(frame.iloc[numbers], schema.image.columns, files.ravel().tolist())


def _part_of(run: Path, parts: Container[PartName]) -> PartName:
    """Return the part of a run's rows to calibrate on: "calibration", or else "test", or else "val"; print which."""
    for name in ("calibration", "test"):
        if name in parts:
            print(f"On the {name} rows of the run")
            return name
    if "val" not in parts:
        problem = f"the run in {str(run)!r} held out no rows (a run without them calibrates classes out of fold)"
        raise BadValueError(problem, "Pass CKPT and rows of your own, or train with --calibration 0.1")
    if learned_from_validation(run):
        problem = f"best.ckpt in {str(run)!r} was retrained on the validation rows of the run"
        remedy = "Pass CKPT and rows of your own, or train with --calibration 0.1 or --no-refit"
        raise BadValueError(f"{problem}, so they cannot calibrate it", remedy)
    print(f"On the validation rows of the run{chosen_by_validation(run)}")
    return "val"
