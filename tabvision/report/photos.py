"""The images with the highest loss, embedded in the page as thumbnails."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from tabvision.errors import BadValueError, count
from tabvision.inference import Results
from tabvision.inference.images import ImageBatches
from tabvision.interpret.mistakes import worst_rows
from tabvision.interpret.photos import Photo, overlaid, photos_of
from tabvision.interpret.rows import Model
from tabvision.report.tables import cell_text, part_of

_MAX_PHOTOS = 24
_SIDE = 160  # the longest that the shorter side may be, in pixels
_MOST = 70  # characters per line
_LOOKED = (
    "Next to each image is a map of where the network looked: red to yellow marks what contributed most to its prediction. "
    "The map is coarse, and does not say whether the prediction is right."
)
_NOT_LOOKED = (
    "Where the network looked is not shown, since it has no spatial map or no gradient, or predicts several numbers."
)


def photo_parts(results: Results, model: Model | None) -> list[dict[str, Any]]:
    """Return a part of the page with the images of the highest loss; an empty list if the results have no images."""
    if results.schema.image is not None and not results.schema.is_of_images:
        return _photos_of_rows(results)
    if results.images is None:
        return []
    rows, text = worst_rows(results, _MAX_PHOTOS), ""
    try:
        photos, text = photos_of(results, rows, model), "" if model is None else _LOOKED
    except (BadValueError, RuntimeError):  # torch raises this for a network without gradients
        photos, text = photos_of(results, rows), _NOT_LOOKED
    caption = f"The {count(len(photos), 'image')} with the highest loss"
    shown = [_shown(photo, f"image {row}") for photo, row in zip(photos, rows.tolist(), strict=True)]
    return [{**part_of(caption, None, text=text), "photos": shown}]


def _photos_of_rows(results: Results) -> list[dict[str, Any]]:
    """Return a part of the page with the images in the rows of the highest loss, each below its column's name."""
    image = results.schema.image
    assert image is not None
    columns = list(image.columns)
    worst = worst_rows(results, max(1, _MAX_PHOTOS // len(columns)))
    cells = results.frame.iloc[worst][columns].to_numpy(dtype=object).ravel()
    is_there = ~pd.isna(cells)
    if not is_there.any():
        return []
    rows, names = np.repeat(worst, len(columns))[is_there], np.tile(columns, len(worst))[is_there].tolist()
    alone = replace(results.schema, image=replace(image, others=(), optional=False))
    images = ImageBatches(cells[is_there].tolist(), alone)
    photos = photos_of(replace(results.take(rows), images=images), np.arange(len(rows)))
    labels = results.frame.index[rows]
    shown = [
        _shown(replace(photo, name=f"{name} of row {label}"), "")
        for photo, name, label in zip(photos, names, labels, strict=True)
    ]
    caption = f"The images of the {count(len(worst), 'row')} with the highest loss"
    return [{**part_of(caption, None, text=""), "photos": shown}]


def _shown(photo: Photo, otherwise: str) -> dict[str, Any]:
    """Return a photo as plain data: its images with their alt texts, and the lines below them."""
    name = cell_text(photo.name or otherwise, _MOST)
    lines = [name, *photo.lines(_MOST)]
    pictures = []
    if photo.image is not None:
        pictures.append({"source": _data_uri(photo.image), "text": f"{name}; {', '.join(lines[1:-1])}"})
        if photo.heat is not None:
            pictures.append({"source": _data_uri(overlaid(photo)), "text": f"where the network looked in {name}"})
    else:
        lines.append(f"cannot be shown: {photo.reason}")
    return {"pictures": pictures, "lines": lines}


def _data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image as a small JPEG in a data URI.

    Example:
        >>> _data_uri(np.zeros((4, 4, 3), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    small, buffer, factor = Image.fromarray(image), io.BytesIO(), _SIDE / min(image.shape[:2])
    if factor < 1:
        small = small.resize((round(factor * small.width), round(factor * small.height)))
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
