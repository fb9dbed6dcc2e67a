"""`tabvision predict`: predict for a table, images or both with only a checkpoint."""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabvision.checks import check_present
from tabvision.cli.options import form_of
from tabvision.cli.printing import format_number
from tabvision.cli.rows import with_photos
from tabvision.data.images.files import is_image
from tabvision.data.images.folders import all_images
from tabvision.data.prepared.table import does_not_fit
from tabvision.data.tables.blocks import TableBlocks, named_file
from tabvision.data.tables.files import files_of, is_glob
from tabvision.data.tables.read import read_frame, text_format
from tabvision.data.tables.write import check_destination, write_frame, written_in_blocks
from tabvision.data.targets import encode_target, missing_target
from tabvision.errors import BadValueError, TabvisionError, count, listed, speaking
from tabvision.inference import Predictor, Results
from tabvision.inference.batches import Inputs
from tabvision.inference.inputs import notes_on_unseen
from tabvision.modules.collab_network import CollabNetwork


@speaking("tabvision predict")
def run(arguments: argparse.Namespace) -> int:
    """Write one row of predictions per row or image; return 1 if no image could be read."""
    check_destination(arguments.out, overwrite=arguments.overwrite, reads=[arguments.checkpoint, *arguments.data])
    predictor = Predictor(arguments.checkpoint, device=arguments.device)
    inputs = _read(arguments, predictor)
    if isinstance(inputs, TableBlocks):
        return _answer_in_blocks(arguments, predictor, inputs)
    kept = _kept_columns(arguments, predictor, inputs)
    answers = _answers(arguments, predictor, inputs, kept)
    write_frame(answers, arguments.out, overwrite=arguments.overwrite)
    own = answers.iloc[:, kept.shape[1] :]  # columns to keep come first, and may have any names
    failed = int(own["error"].notna().sum()) if "error" in own else 0
    noun = "photo" if predictor.schema.is_of_images else "row"
    print(f"{count(len(answers) - failed, noun)} predicted: {arguments.out}")
    for sentence in _notes(predictor, inputs, kept, _metrics_line(predictor, inputs, own)):
        print(sentence)
    if failed:
        print(f"{count(failed, 'photo')} could not be read; the column error says why")
    return int(failed == len(answers))


def _read(arguments: argparse.Namespace, predictor: Predictor) -> Inputs | TableBlocks:
    """Return the network's inputs, or blocks of a table larger than memory; other columns to keep are read as text."""
    schema, form = predictor.schema, form_of(arguments)
    paths: list[str] = arguments.data
    if schema.is_of_images:
        paths[:] = [file for each in paths for file in _photos_of(each, is_alone=len(paths) == 1)]
    is_one = len(paths) == 1 and not (schema.is_of_images and is_image(Path(paths[0]).name))
    source: Any = paths[0] if is_one else paths
    kept_text = {*(arguments.keep or ())}.difference(schema.inputs)
    read_table: Any = functools.partial(
        read_frame, **text_format(schema, **form), known={**schema.known_columns, **dict.fromkeys(kept_text, ())}
    )
    if schema.image is None and does_not_fit(source):
        return TableBlocks(source, **read_table.keywords)
    given = with_photos(arguments, schema, source)
    inputs = predictor.read(read_table(source) if schema.image is None else given, **form)
    if kept_text and inputs.frame is not None and schema.image is not None and not schema.is_of_images:
        return replace(inputs, frame=read_table(source))  # its images were already read above
    return inputs


def _answers(arguments: argparse.Namespace, predictor: Predictor, inputs: Inputs, kept: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions, preceded by the input columns to keep.

    Raises:
        BadValueError: With `--strict`, a row has an unseen category, text instead of a number, a date with a time zone
            unlike in training, or a number or date far out of range.
    """
    if arguments.strict and (found := Counter(inputs.unseen) + Counter(inputs.outside)):
        unlike = listed([f"{name!r} ({count(num, 'row')})" for name, num in found.items()])
        remedy = "Correct these rows, or leave --strict out to predict them anyway"
        raise BadValueError(f"some values are unlike the training values: {unlike}", remedy)
    answers = predictor.predict(
        inputs, proba=not arguments.no_proba, tta=arguments.tta, uncertainty=arguments.uncertainty
    )
    image = predictor.schema.image
    if image is not None and predictor.schema.is_of_images and image.name not in answers:  # a folder's already are
        answers.insert(0, image.name, arguments.data if inputs.frame is None else inputs.frame[image.name].tolist())
    for position, (name, values) in enumerate(kept.items()):
        answers.insert(position, f"input_{name}" if name in answers else name, values.array)
    return answers


def _answer_in_blocks(arguments: argparse.Namespace, predictor: Predictor, blocks: TableBlocks) -> int:
    """Predict a table larger than memory block by block, into one Parquet file."""
    out = Path(arguments.out).expanduser()
    if out.suffix.lower() not in (".parquet", ".pq"):
        problem = f"the table does not fit in memory, and {out.name!r} cannot be written block by block"
        raise BadValueError(problem, "Pass --out with a name that ends in .parquet")
    columns = [*predictor.schema.inputs, *(arguments.keep or ())]
    unseen, outside, num_rows = Counter[str](), Counter[str](), 0
    with written_in_blocks(out) as append:
        for file, frame in blocks.read(columns):
            with named_file(file):
                inputs = predictor.read(frame)
                answers = _answers(arguments, predictor, inputs, _kept_columns(arguments, predictor, inputs))
            unseen.update(inputs.unseen)
            outside.update(inputs.outside)
            append(answers)
            num_rows += len(frame)
    print(f"{count(num_rows, 'row')} predicted block by block: {arguments.out}")
    unseen_rows, outside_rows = ({name: np.arange(num) for name, num in each.items()} for each in (unseen, outside))
    whole = Inputs(num_rows, unseen_rows=unseen_rows, outside_rows=outside_rows)
    for sentence in _notes(predictor, whole, pd.DataFrame(), []):
        print(sentence)
    return 0


def _photos_of(path: str, *, is_alone: bool) -> list[str]:
    """Return the photos matched by a pattern, or in a folder given with other photos; otherwise the path itself."""
    if is_glob(path):
        return [str(file) for file in files_of(path)]
    if is_alone or not Path(path).expanduser().is_dir():
        return [path]
    table = all_images(path)
    return table.files(np.arange(len(table.frame)))


def _kept_columns(arguments: argparse.Namespace, predictor: Predictor, inputs: Inputs) -> pd.DataFrame:
    """Return the input columns to write before the predictions, so that the two can be joined."""
    is_rating = isinstance(predictor.net, CollabNetwork)
    keep: list[str] = arguments.keep or ([*predictor.schema.inputs] if is_rating else [])
    if not keep:
        return pd.DataFrame()
    if inputs.frame is None or inputs.shown:
        raise BadValueError("--keep names columns of a table, and DATA has only photos", "Leave --keep out")
    check_present(keep, inputs.frame.columns, "Correct --keep")
    return inputs.frame[[*dict.fromkeys(keep)]]


def _metrics_line(predictor: Predictor, inputs: Inputs, answers: pd.DataFrame) -> list[str]:
    """Return a sentence with the metrics and their intervals, if the input has the target and predictions are complete."""
    target, task = predictor.schema.target, predictor.schema.task
    names = [name for name in answers if str(name).startswith("probability_" if task.is_classes else "prediction")]
    if inputs.frame is None or not {*target.columns} <= {*inputs.frame} or len(names) != task.num_predictions:
        return []
    from tabvision.interpret import evaluate  # imports Lightning, which predictions do not need

    predictions = answers[names].to_numpy(dtype=np.float64)
    is_known = ~np.isnan(predictions).any(axis=1)
    if not task.allows_missing and target.separator is None:
        is_known &= ~missing_target(inputs.frame, target.columns)
    if not is_known.any():
        return []
    try:
        encoded = encode_target(inputs.frame[is_known], target)
    except TabvisionError as error:
        return [f"Not measured: {error}"]
    loss = np.full(len(encoded), np.nan)  # not reported
    found = evaluate(Results(predictor.schema, inputs.frame[is_known], predictions[is_known], encoded, loss))
    numbers = found.dropna(subset="model").set_index("metric").map(format_number)
    each = [
        f"{name} {model} ({low} to {high}, naive {naive})" for name, model, low, high, naive in numbers.itertuples()
    ]
    return [f"On {count(len(encoded), 'row')} with a known target: {', '.join(each)}; {found.attrs['note']}"]


def _notes(predictor: Predictor, inputs: Inputs, kept: pd.DataFrame, measured: list[str]) -> list[str]:
    """Return the metrics, with notes on missing values, unused columns and unknown categories in the input."""
    rows, notes = count(inputs.num_rows, "row"), [*measured]
    if isinstance(predictor.net, CollabNetwork) and inputs.frame is not None:  # missing values are normal in a table
        missing = {name: int(inputs.frame[name].isna().sum()) for name in predictor.schema.inputs}
        notes += [f"{num:,} of {rows} without a {name!r}, predicted as unknown" for name, num in missing.items() if num]
    if inputs.frame is not None and not inputs.shown:
        used = {*predictor.schema.inputs, *kept, *(predictor.schema.target.columns if measured else ())}
        extra = [name for name in inputs.frame.columns if name not in used]
        notes += [f"Not used: {listed(extra)}"] if extra else []
    notes += [f"{num:,} of {rows} without an image in {name!r}" for name, num in inputs.absent.items()]
    return notes + notes_on_unseen(predictor.schema, inputs)
