"""Find oddities in the rows of a report, alone or against the training rows: leakage, drift, copies, unknown values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tabvision.data import ImageDataModule, TabularDataModule
from tabvision.data.leakage import leakage_notes
from tabvision.data.splits.base import PartName
from tabvision.errors import count, listed
from tabvision.inference import Predictor, Results
from tabvision.inference.batches import Inputs
from tabvision.inference.images import ImageBatches
from tabvision.interpret import drift, duplicates, overlap
from tabvision.interpret.duplicates import some_of

_COPIES = 0.97  # two photos with at least this similarity are called almost the same
_SAME = 0.999  # and with this one, the same
_MAX_PHOTOS = 1_000  # photos per part to compare


def oddities(predictor: Predictor, results: Results, data: object, divided_by: str | None = None) -> dict[str, Any]:
    """Return the report details `oddities` and `drift`, where the data allows them.

    Args:
        predictor: The model.
        results: Rows that it did not learn from.
        data: The datamodule of its run, or None.
        divided_by: The column that these rows were held out by in time order; its values differ by design.
    """
    if isinstance(data, ImageDataModule) and "val" in data.parts:
        return _oddities_of_photos(predictor, data)
    if predictor.schema.is_of_images:
        return {}
    inputs, num_rows = predictor.read(results.frame), count(len(results), "row")
    unseen, far = "not seen in training", "far outside the training range, where predictions are guesses"
    notes = [
        f"Some of {num_rows} have a value {what}: {listed([f'{name!r} in {num:,}' for name, num in counts.items()])}."
        for all_counts, what in ((inputs.unseen, unseen), (inputs.outside, far))
        if (counts := {name: num for name, num in all_counts.items() if name != divided_by})
    ]
    if not isinstance(data, TabularDataModule):
        return {"oddities": notes}
    training = data.part("train")
    notes = [*leakage_notes(data.schema, training), *notes]
    if "val" not in data.parts:
        return {"oddities": notes}
    rows = data.frame.iloc[training.tensors["index"][training.rows].numpy()]
    found = overlap(rows, results.frame, schema=results.schema)
    if len(found):
        where = listed([str(row) for row in results.frame.index[found["row"]]])
        same = found["same_target"].sum()
        notes.append(
            f"{len(found):,} of {num_rows} are also training rows, identical in every column that the model reads, {same:,}"
            f" of them with the same target: rows {where}. The model may have memorized them."
        )
    moved = drift(rows, results.frame, schema=data.schema)
    if divided_by in set(moved["column"]):
        notes.append(f"The rows were split by {divided_by!r}, so its values differ.")
    return {"oddities": notes, "drift": moved[moved["column"] != divided_by]}


def _oddities_of_photos(predictor: Predictor, data: ImageDataModule) -> dict[str, Any]:
    """Return which validation photos are copies of training photos, and how the two parts differ in color and light."""
    by_part = {name: _appearance(data, name) for name in ("train", "val")}
    details: dict[str, Any] = {"drift": drift(by_part["train"], by_part["val"])}
    if not hasattr(predictor.module, "body"):
        return details
    found = duplicates(predictor, data, threshold=_COPIES, max_photos=_MAX_PHOTOS)
    unlike = found[(found["similarity"] >= _SAME) & (found["same_label"] == False)]  # noqa: E712 - None where it is unknown
    parts = zip(found["first_part"], found["second_part"], strict=True)
    found = found[[set(pair) == {"train", "val"} for pair in parts]]
    compared = f"{len(by_part['train']):,} training photos and {len(by_part['val']):,} validation photos"
    notes = [f"No validation photo is a copy of a training photo ({compared} were compared)."]
    if len(found):
        pairs = f"{count(len(found), 'pair')} of a training and a validation photo {'is' if len(found) == 1 else 'are'}"
        problem = f"{pairs} nearly identical ({compared})"
        notes = [f"{problem}: {_listed(found)}. The model may have memorized them, unless all photos look alike."]
    if len(unlike):
        problem = f"{count(len(unlike), 'pair')} of identical photos with different labels"
        notes.append(f"{problem}: {_listed(unlike)}. One label of each pair is wrong, unless both apply.")
    return details | {"oddities": notes}


def _listed(pairs: pd.DataFrame) -> str:
    """Return the names of paired photos, each with its folder, which may be the label."""
    names = pairs[["first", "second"]].map(lambda file: "/".join(Path(str(file)).parts[-2:]))
    return listed([f"{one} and {other}" for one, other in names.itertuples(index=False)])


def _appearance(data: ImageDataModule, part: PartName) -> pd.DataFrame:
    """Return the brightness, contrast and colorfulness of photos of a part, as the network gets them."""
    files = data.tables[part].files(some_of(data.parts[part].rows.numpy(), _MAX_PHOTOS))
    found = []
    for arrays in Inputs(len(files), images=ImageBatches(files, data.schema)).batches():
        images = torch.from_numpy(arrays["image"]).float()
        values = {"brightness": images.mean(dim=(1, 2, 3)), "contrast": images.std(dim=(1, 2, 3))}
        values["colorfulness"] = (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2))
        found.append(pd.DataFrame({name: value.numpy() for name, value in values.items()}))
    return pd.concat(found, ignore_index=True)
