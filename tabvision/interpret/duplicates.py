"""Find photos that are almost the same, in one part of the data or across parts, where they inflate the metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tabvision.augment.normalize import normalize
from tabvision.checks import check_fraction, check_present, check_whole
from tabvision.data import ImageDataModule
from tabvision.data.images.folders import part_folders
from tabvision.errors import BadTypeError, speaking
from tabvision.inference.batches import Inputs
from tabvision.inference.images import ImageBatches
from tabvision.inference.inputs import Source
from tabvision.inference.predictor import Predictor
from tabvision.interpret.rows import Model
from tabvision.nets.heads import mean_pooled
from tabvision.schema import Schema

# Measured with three networks: re-encoded, halved and slightly cropped photos score above, different photos below
_THRESHOLD = 0.85
_SIDE = 8  # side of the coarse image, in pixels
_ROUNDING = 1e-4  # rounding error of a cosine
_ROWS_AT_ONCE = 1024
_PART_NAMES = ("train", "val", "test")


@speaking("duplicates")
def duplicates(
    model: Model,
    source: Source | ImageDataModule,
    *,
    threshold: float = _THRESHOLD,
    split: str | None = None,
    max_pairs: int = 10_000,
    max_photos: int | None = None,
) -> pd.DataFrame:
    """Return the pairs of photos that are almost the same: re-encoded, resized or slightly cropped.

    A pair across parts is leakage: the model was trained on a copy of a validation photo. The similarity is the mean of two
    cosines: of the network's pooled features, and of the photo at 8 x 8 pixels minus their mean. Features alone would take
    photos of one class for copies, especially after training. Mirrored and single-color photos are not found.

    Args:
        model: A `Predictor`, a module in memory, or the path of a checkpoint. The features of an untrained body are all
            alike, so a few different photos come close to 0.9.
        source: Anything that `Predictor.predict` takes, labeled or not, or an `ImageDataModule`. Parts are known for a
            datamodule, and for a folder with the folders train and valid.
        threshold: The lowest similarity, in (0, 1]. Small pictures of one kind, such as digits, need a higher threshold.
        split: The column of a table that names each row's part, or None.
        max_pairs: The most pairs to return.
        max_photos: The most photos to draw at random from each part of a datamodule; None for all.

    Returns:
        `first` and `second`, the files, or row numbers for images in memory; `similarity`, the highest first; `first_part`,
        `second_part` and `same_label`, each None if not known. Photos that cannot be read are left out.

    Raises:
        BadTypeError: The model has no body, or does not read only images.
        BadValueError: A number is out of range.
        MissingColumnsError: There is no column `split`.
    """
    check_fraction("threshold", threshold, "(]", remedy="Leave it out for 0.85")
    check_whole("max_pairs", max_pairs)
    if max_photos is not None:
        check_whole("max_photos", max_photos)
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if not predictor.schema.is_of_images or not hasattr(predictor.module, "body"):
        raise BadTypeError("the model must read only photos and have a body", "Pass a VisionModule or its checkpoint")
    if isinstance(source, ImageDataModule):
        inputs, parts, labels = _photos_of_data(source, predictor.schema, max_photos)
    else:
        inputs, parts, labels = _photos_of_source(predictor, source, split)
    rows, coarse = _vectors(predictor, inputs, _coarse)
    # a mean of two cosines this high needs each to be at least 2 * threshold - 1, so few photos go through the network
    near = _with_neighbor(coarse, 2 * threshold - 1)
    rows, coarse = rows[near], coarse[near]
    _, features = _vectors(predictor, inputs.take(rows), functools.partial(_features, predictor))
    first, second, similarity = _similar(torch.cat([features, coarse], dim=1) * 0.5**0.5, threshold, max_pairs)
    first, second = rows[first], rows[second]
    assert inputs.images is not None
    names = [str(each) if isinstance(each, str | Path) else row for row, each in enumerate(inputs.images.sources)]
    codes = np.full(len(names), -1)  # one number per label, -1 where it is unknown
    if labels.shape[1]:
        codes = labels.groupby(list(labels), sort=False).ngroup().fillna(-1).to_numpy(dtype=np.int64)
    known = (codes[first] >= 0) & (codes[second] >= 0)
    columns = {
        "first": [names[row] for row in first],
        "second": [names[row] for row in second],
        "similarity": similarity,
        "first_part": pd.Series([parts[row] for row in first], dtype=object),
        "second_part": pd.Series([parts[row] for row in second], dtype=object),
        "same_label": np.where(known, codes[first] == codes[second], None),
    }
    return pd.DataFrame(columns)


def _photos_of_data(data: ImageDataModule, schema: Schema, most: int | None) -> tuple[Inputs, list[Any], pd.DataFrame]:
    """Return at most `most` photos of every part of a datamodule, with the part and the label of each."""
    files, parts, labels = list[str](), list[Any](), list[pd.DataFrame]()
    for name, part in data.parts.items():
        rows = some_of(part.rows.numpy(), most)
        files += data.tables[name].files(rows)
        parts += [name] * len(rows)
        target = part.tensors.get("target")
        labels.append(pd.DataFrame(index=rows) if target is None else pd.DataFrame(target[rows].numpy()))
    return Inputs(len(files), images=ImageBatches(files, schema)), parts, pd.concat(labels)


def some_of(rows: NDArray[Any], most: int | None) -> NDArray[Any]:
    """Return at most `most` rows, drawn at random, in ascending order.

    Example:
        >>> len(some_of(np.arange(5), 3))
        3
    """
    if most is None or len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _photos_of_source(
    predictor: Predictor, source: Source, split: str | None
) -> tuple[Inputs, list[Any], pd.DataFrame]:
    """Return the photos of any source, with the part of each, or None, and a frame of labels, empty if none are known.

    In a folder, the names of its folders determine the part and the class.
    """
    inputs, schema = predictor.read(source), predictor.schema
    frame = pd.DataFrame(index=range(inputs.num_rows)) if inputs.frame is None else inputs.frame
    if split is not None:
        check_present([split], frame.columns, "Name the column of a table that says to which part a row belongs")
    parts = [None] * inputs.num_rows if split is None else frame[split].astype(object).tolist()
    labels = frame[list(schema.target.columns)] if set(schema.target.columns) <= set(frame) else frame[[]]
    if isinstance(source, str | Path) and inputs.shown:  # a folder
        root = Path(source).expanduser()
        folders = [Path(path).relative_to(root).parent.parts for path in frame.iloc[:, 0]]
        known = {Path(path).name: _PART_NAMES[part] for path, part in part_folders(str(root)) or []}
        parts = [known.get(names[0]) if names else None for names in folders]
        classes = {str(name) for name in schema.classes}
        labels = pd.DataFrame({"label": [next((name for name in names if name in classes), None) for names in folders]})
    return inputs, parts, labels


def _vectors(
    predictor: Predictor, inputs: Inputs, vectors_of: Callable[[Tensor], Tensor]
) -> tuple[NDArray[np.int64], Tensor]:
    """Return the rows of readable photos, and each one's vector, (N, D), from a function of a batch of pixels."""
    rows, found = [np.empty(0, np.int64)], list[Tensor]()
    with torch.inference_mode():
        for arrays in inputs.batches():
            if len(arrays["index"]):
                pixels = predictor.batch({"index": arrays["index"], "image": arrays["image"]})["image"]
                found.append(vectors_of(pixels).cpu())
                rows.append(arrays["index"])
    return np.concatenate(rows), torch.cat(found) if found else torch.empty(0, 1)


def _coarse(pixels: Tensor) -> Tensor:
    """Return coarse photos minus their mean, as unit vectors; the vector of a single-color photo is near 0."""
    few = functional.adaptive_avg_pool2d(pixels.float(), _SIDE).flatten(1)
    return functional.normalize(few - few.mean(dim=1, keepdim=True), dim=1, eps=1.0)


def _features(predictor: Predictor, pixels: Tensor) -> Tensor:
    """Return the pooled features of photos as unit vectors."""
    image, module = predictor.schema.image, predictor.module
    assert image is not None
    body: Any = module.body
    features = body(normalize(pixels, image.mean, image.std).to(module.dtype))
    return functional.normalize(mean_pooled(features).float(), dim=1)


def _with_neighbor(vectors: Tensor, threshold: float) -> NDArray[np.intp]:
    """Return the numbers of the vectors whose dot product with any other is at least the threshold.

    Example:
        >>> _with_neighbor(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.96, 0.28]]), 0.9).tolist()
        [0, 2]
    """
    found = []
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        products = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T
        products[torch.arange(len(products)), torch.arange(start, start + len(products))] = -1
        found.append((products >= threshold - _ROUNDING).any(dim=1))
    return np.flatnonzero(torch.cat(found).numpy()) if found else np.empty(0, np.intp)


def _similar(vectors: Tensor, threshold: float, most: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Return at most `most` pairs with a dot product of at least the threshold, and the products, highest first.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.96, 0.28]])
        >>> [each.tolist() for each in _similar(vectors, 0.9, 10)[:2]]
        [[0], [2]]
    """
    kept = torch.empty(3, 0, dtype=torch.float64)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        products = vectors[start : start + _ROWS_AT_ONCE] @ vectors[start:].T
        first, second = torch.nonzero(torch.triu(products, diagonal=1) >= threshold, as_tuple=True)
        found = torch.stack([first + start, second + start, products[first, second]]).to(torch.float64)
        kept = torch.cat([kept, found], dim=1)
        kept = kept[:, torch.sort(kept[2], descending=True, stable=True)[1][:most]]
    pairs = kept.numpy()
    return pairs[0].astype(int), pairs[1].astype(int), pairs[2].clip(max=1)
