"""`tabvision calibrate`: calibrate predicted probabilities (temperature scaling) or add intervals to predicted numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from tabvision.cli.folder import RESUME_FILE, chosen_by_validation, learned_from_validation, recipe_file
from tabvision.cli.jobs import build
from tabvision.cli.options import form_of
from tabvision.cli.rows import with_photos
from tabvision.cli.run_recipe import check_rows, read_recipe
from tabvision.data.images.files import PATH_COLUMN
from tabvision.data.splits.base import PartName
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadValueError, MissingFileError, count, speaking
from tabvision.inference import Predictor
from tabvision.inference.results import with_images

_FORM = ("encoding", "na_values", "sep", "names")  # settings of a recipe for the format of a text file


@speaking("tabvision calibrate")
def run(arguments: argparse.Namespace) -> None:
    """Write the calibrated checkpoint and print what changed."""
    given = [each for each in (arguments.checkpoint, arguments.data) if each is not None]
    if len(given) != (0 if arguments.run else 2):
        names = " ".join([*given, *(["--run", arguments.run] if arguments.run else [])])
        problem = f"a checkpoint and rows are needed, or a run, got {names or 'neither'}"
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
    for name, before in fitted.before.items():
        print(f"  {name}: {before:.4f} before, {fitted.after[name]:.4f} after")


def _rows_of(run: Path) -> pd.DataFrame:
    """Return a run's calibration rows, or else its test rows, or else its validation rows, and print which.

    Raises:
        MissingFileError: The folder has no recipe.
        BadValueError: The run held out no rows.
    """
    file = recipe_file(run)
    if not file.is_file():
        problem = f"{str(run)!r} holds no run, which would have a recipe.yaml"
        raise MissingFileError(problem, "Pass the folder of a run, such as runs/people")
    recipe = read_recipe(file)["data"]
    known = {"schema": Predictor(run / "best.ckpt").schema} if file.name == RESUME_FILE else {}
    data, settings = build(recipe, **known), recipe["init_args"]
    check_rows(file, data, "pass CKPT and rows that did not train")
    data = data.sampled()  # a sample if the table is prepared
    parts: tuple[PartName, ...] = ("calibration", "test", "val")
    name = next((name for name in parts if name in data.parts), None)
    if name is None:
        problem = f"the run in {str(run)!r} held out no rows, and was calibrated out of fold where it predicts classes"
        raise BadValueError(problem, "Pass CKPT and rows of your own, or train with --calibration 0.1")
    if name == "val" and learned_from_validation(run):
        problem = (
            f"best.ckpt of {str(run)!r} was trained anew on the validation rows of the run, so they cannot calibrate it"
        )
        raise BadValueError(problem, "Pass CKPT and rows of your own, or train with --calibration 0.1 or --no-refit")
    chosen = chosen_by_validation(run) if name == "val" else ""
    print(f"On the {'validation' if name == 'val' else name} rows of the run{chosen}")
    (tensors, rows), schema, test = data.parts[name], data.schema, settings.get("test")
    if schema.is_of_images:  # `tables` has the rows of the tensors, which may be fewer than the source's
        table = data.tables[name]
        return table.frame.iloc[rows.numpy()].assign(**{schema.image.name: table.files(rows.numpy())})
    frame = data.frame
    if name == "test" and test is not None:
        form = {each: settings[each] for each in _FORM if each in settings}
        frame = read_frame(test, **form, known=schema.known_columns)
    numbers = tensors["index"][rows].numpy()
    if schema.image is None:
        return frame.iloc[numbers]
    files = data.tables[name].frame[PATH_COLUMN].to_numpy().reshape(len(frame), -1)[numbers]
    return with_images(frame.iloc[numbers], schema.image.columns, files.ravel().tolist())
