"""`tabvision report`: one page about a model: how well it answers, what it relies on, and where it is wrong."""

from __future__ import annotations

import argparse
import datetime
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabvision.cli.arguments import Commands, add_shared
from tabvision.cli.options import add_form_options, form_of

if TYPE_CHECKING:
    import pandas as pd

    from tabvision.data import ImageDataModule
    from tabvision.data.splits.base import PartName
    from tabvision.inference import Predictor, Results

_WHO = "tabvision report"
_REPEATS = 3  # of each column's shuffle
_MOST_ANSWERS = 500_000  # that the importance of all columns may take: some seconds
_COPIES = 0.97  # similarity from which two photos are called almost the same
_MOST_PHOTOS = 1_000  # of a part that are compared
_MIN_ROWS, _MAX_ROWS = 500, 10_000  # that it is measured on


def add_report(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report", help="write a page: how well a model answers, what it relies on, and where it is wrong"
    )
    add_shared(parser, "checkpoint")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="a table with the target, in one file or several, or a folder of class folders, not used in training",
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the page: .html")
    add_form_options(parser)
    add_shared(parser, "--device", "--overwrite")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Answer the rows and write the page."""
    from tabvision.cli.printing import short_name
    from tabvision.data.tables.write import check_destination
    from tabvision.errors import count, speaking
    from tabvision.inference import Predictor
    from tabvision.interpret.evaluate import scores

    data = arguments.data[0] if len(arguments.data) == 1 else arguments.data
    reads = [arguments.checkpoint, *arguments.data]
    with speaking(_WHO):
        check_destination(arguments.out, suffixes=[".html"], overwrite=arguments.overwrite, reads=reads)
        predictor = Predictor(arguments.checkpoint, device=arguments.device)
        results = predictor.losses(data, **form_of(arguments))
        task = predictor.schema.task
        noun = "image" if results.schema.is_of_images else "row"
        rows = f"{count(len(results), noun)} of {short_name(data)}"
        report_on(
            predictor,
            results,
            arguments.out,
            checkpoint=arguments.checkpoint,
            measured_on=rows,
            metrics={"loss": float(results.loss.mean()), **scores(task, results.predictions, results.target)},
            baseline=scores(task, task.constant(results.target), results.target),
            slice_by=_num_pairs(predictor, results),
            overwrite=arguments.overwrite,
        )
    print(f"{rows}: {arguments.out}")


def _num_pairs(predictor: Predictor, results: Results) -> list[pd.Series[int]]:
    """Return how many pairs of the checkpoint have the user, and the item, of each row; of other models nothing.

    A checkpoint holds the pairs that `recommend` leaves out, those of training and of validation. A row's own does not count.
    """
    import numpy as np
    import pandas as pd

    pairs = getattr(predictor.module, "seen", None)
    if pairs is None or not pairs.shape[1]:
        return []
    codes, size = predictor.read(results.frame).arrays["categorical"], int(pairs.max()) + 1
    known = np.isin(codes @ [size, 1], pairs.long().numpy().T @ [size, 1])
    found = []
    for column, of_rows, of_pairs in zip(predictor.schema.categorical, codes.T, pairs.numpy(), strict=True):
        counts = np.bincount(of_pairs, minlength=int(of_rows.max()) + 1)[of_rows] - known
        name = f"how many pairs of the checkpoint have {column.source}, the row's own aside"
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
    **details: Any,  # noqa: ANN401 - as for `write_report`
) -> None:
    """Write the page, with the importance of the columns and what is known of the network.

    Args:
        predictor: The model.
        results: Its answers to rows that it did not learn from.
        out: The page.
        checkpoint: Where the model is, for the commands that the page names.
        facts: What else there is to know, by name.
        data: The datamodule of the model, whose training rows are compared with these; None if it is not at hand.
        details: As for `write_report`.
    """
    import torch

    from tabvision import __version__
    from tabvision.report import write_report

    module = predictor.module
    network = {
        "network": f"{type(module).__name__}, {sum(it.numel() for it in module.parameters()):,} parameters",
        "versions": f"tabvision {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "written": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M}",
    }
    details |= _oddities(predictor, results, data)
    details |= {
        "model": predictor,
        "importance": _importance(predictor, results),
        "facts": {**(facts or {}), **network},
    }
    write_report(out, results, checkpoint=Path(checkpoint).name, **details)


def _oddities(predictor: Predictor, results: Results, data: object) -> dict[str, Any]:
    """Return what is odd in the rows of a table, by themselves and beside those of training."""
    from tabvision.data import ImageDataModule, TabularDataModule

    if isinstance(data, ImageDataModule) and "val" in data.parts:
        return _oddities_of_photos(predictor, data)
    if predictor.schema.is_of_images:
        return {}
    if not isinstance(data, TabularDataModule):
        return {"oddities": _unlike_training(predictor, results)}
    from tabvision.data.leakage import leakage_notes
    from tabvision.interpret import drift

    training = data.part("train")
    notes = [*leakage_notes(data.schema, training), *_unlike_training(predictor, results)]
    if "val" not in data.parts:
        return {"oddities": notes}
    rows = data.frame.iloc[training.tensors["index"][training.rows].numpy()]
    notes += _rows_twice(rows, results)
    return {"oddities": notes, "drift": drift(rows, results.frame, schema=data.schema)}


def _oddities_of_photos(predictor: Predictor, data: ImageDataModule) -> dict[str, Any]:
    """Return the validation photos that are copies of training photos, and how the two parts differ in color and light."""
    from tabvision.errors import listed
    from tabvision.interpret import drift, duplicates

    by_part = {name: _appearance(data, name) for name in ("train", "val")}
    details: dict[str, Any] = {"drift": drift(by_part["train"], by_part["val"])}
    if not hasattr(predictor.module, "body"):
        return details
    found = duplicates(predictor, data, threshold=_COPIES, max_photos=_MOST_PHOTOS)
    parts = zip(found["first_part"], found["second_part"], strict=True)
    found = found[[set(pair) == {"train", "val"} for pair in parts]]
    compared = f"{len(by_part['train']):,} photos of training and {len(by_part['val']):,} of validation"
    notes = [f"No photo of validation is a copy of one of training ({compared} were compared)."]
    if len(found):
        pairs = [
            f"{Path(str(one)).name} and {Path(str(other)).name}" for one, other in found[["first", "second"]].values
        ]
        problem = f"{len(found):,} pairs of a training and a validation photo are almost the same ({compared})"
        notes = [f"{problem}: {listed(pairs)}. The model may know them by heart, unless all photos are much alike."]
    return details | {"oddities": notes}


def _appearance(data: ImageDataModule, part: PartName) -> pd.DataFrame:
    """Return the brightness, contrast and colorfulness of photos of a part, as they are read to be answered."""
    import pandas as pd
    import torch

    from tabvision.inference.batches import Inputs
    from tabvision.inference.images import ImageBatches
    from tabvision.interpret.duplicates import some_of

    files = data.tables[part].files(some_of(data.parts[part].rows.numpy(), _MOST_PHOTOS))
    found = []
    for arrays in Inputs(len(files), images=ImageBatches(files, data.schema)).batches():
        images = torch.from_numpy(arrays["image"]).float()
        values = {"brightness": images.mean(dim=(1, 2, 3)), "contrast": images.std(dim=(1, 2, 3))}
        values["colorfulness"] = (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2))
        found.append(pd.DataFrame({name: value.numpy() for name, value in values.items()}))
    return pd.concat(found, ignore_index=True)


def _unlike_training(predictor: Predictor, results: Results) -> list[str]:
    """Return a sentence on the categories that training lacks, and one on the numbers and dates beyond its own."""
    from tabvision.errors import count, listed

    inputs, rows = predictor.read(results.frame), count(len(results), "row")
    unseen, far = "that training lacks", "far beyond those of training, whose answers are guesses"
    return [
        f"Some of {rows} have a value {what}: {listed([f'{name!r} in {num:,}' for name, num in counts.items()])}."
        for counts, what in ((inputs.unseen, unseen), (inputs.outside, far))
        if counts
    ]


def _rows_twice(training: pd.DataFrame, results: Results) -> list[str]:
    """Return a sentence on the rows that occur among those of training as well, if there are any."""
    from tabvision.errors import count, listed
    from tabvision.interpret import overlap

    found = overlap(training, results.frame, schema=results.schema)
    if found.empty:
        return []
    where = listed([str(row) for row in results.frame.index[found["row"]]])
    twice, same = f"{len(found):,} of {count(len(results), 'row')}", found["same_target"].sum()
    sentence = (
        f"{twice} are among the training rows as well, in all columns that the model reads, {same:,} of them with the same "
        f"target: rows {where}. The model may know them by heart."
    )
    return [sentence]


def _importance(predictor: Predictor, results: Results) -> pd.DataFrame | None:
    """Return the importance of the columns on as many rows as take some seconds; None if the network reads no columns."""
    from tabvision.interpret import importance

    schema = predictor.schema
    if not schema.continuous and not schema.categorical:
        return None
    rows = _MOST_ANSWERS // (_REPEATS * len(schema.inputs))
    most = min(_MAX_ROWS, max(_MIN_ROWS, rows))
    return importance(predictor, results.frame, repeats=_REPEATS, max_rows=most, fold=results.fold)
