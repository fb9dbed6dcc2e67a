"""Small picture files for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tabvision.data.images.decode import PictureSource, open_picture

ORIENTATION = 0x0112


def pixels(height: int = 20, width: int = 30, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth blobs of color, no side alike."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def encoded(
    image: NDArray[np.uint8] | Image.Image, kind: str = "JPEG", *, orientation: int = 1, **options: Any
) -> bytes:
    """The bytes of a file."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if orientation != 1:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read_picture(source: PictureSource) -> NDArray[np.uint8]:
    """The pixels of one picture, upright: each is looked up where the picture says that it is stored."""
    picture = open_picture(source)
    stored = picture.decode()
    y, x = np.indices(picture.size)
    across, down, _ = np.rint(stored.matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).astype(int)
    upright: NDArray[np.uint8] = stored.pixels[down, across].reshape(*picture.size, 3)
    return upright


def write_folder(
    root: Path, classes: Mapping[str, int], *, size: tuple[int, int] = (20, 30), kind: str = "jpg"
) -> Path:
    """A folder of pictures for each class, in the color of its class."""
    for place, (name, num) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(num):
            image = pixels(*size, seed=number) // 4
            image[..., place % 3] += 150
            Image.fromarray(image).save(root / name / f"{name.rpartition('/')[2]}_{number:03}.{kind}")
    return root
