"""Small images in memory, in files and in folders, and their datamodules."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tabvision.data import ImageDataModule
from tabvision.data.images.decode import ImageSource, open_image

ORIENTATION = 0x0112


def pixels(height: int = 20, width: int = 30, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth blobs of color, no side alike."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: NDArray[Any] | Image.Image, kind: str = "JPEG", *, orientation: int = 1, **options: Any) -> bytes:
    """The bytes of a file."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if orientation != 1:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(*pages: NDArray[Any], order: Literal["<", ">"] = "<", **options: Any) -> bytes:
    """A TIFF of pages (h, w) or (h, w, channels), of any type and number of channels."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order) as writer:
        for page in pages:
            channels = page.shape[2] if page.ndim == 3 else 1
            colors: dict[str, Any] = {"photometric": "rgb" if channels in (3, 4) else "minisblack"}
            colors |= {"planarconfig": "contig"} if channels > 1 else {}
            values = page[..., 0] if page.ndim == 3 and channels == 1 else page
            writer.write(values, contiguous=False, metadata=None, **(colors | options))
    return file.getvalue()


def write_classes(root: Path, made: Callable[[int, int], bytes], suffix: str = ".png", num: int = 6) -> Path:
    """A folder of two classes; `made` returns the bytes of the file from the class and its number."""
    for code, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for number in range(num):
            (root / name / f"{number}{suffix}").write_bytes(made(code, number))
    return root


def read_image(source: ImageSource) -> NDArray[np.uint8]:
    """The pixels of one image, upright: each is looked up where the image says that it is stored."""
    image = open_image(source)
    stored = image.decode()
    y, x = np.indices(image.size)
    across, down, _ = np.rint(stored.matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).astype(int)
    upright: NDArray[np.uint8] = stored.pixels[down, across].reshape(*image.size, 3)
    return upright


def write_folder(
    root: Path, classes: Mapping[str, int], *, size: tuple[int, int] = (20, 30), kind: str = "jpg"
) -> Path:
    """A folder of images for each class, in the color of its class."""
    for place, (name, num) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(num):
            image = pixels(*size, seed=number) // 4
            image[..., place % 3] += 150
            Image.fromarray(image).save(root / name / f"{name.rpartition('/')[2]}_{number:03}.{kind}")
    return root


def photo(height: int, width: int, *, seed: int = 0, noise: float = 3.0, grain: int = 16) -> NDArray[np.uint8]:
    """An image of colored clouds as large as the grain in pixels, (height, width, 3)."""
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(0, 255, (height // grain + 3, width // grain + 3, 3)).astype(np.float32)
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.asarray(clouds) + draw.normal(0, noise, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def checkerboard(side: int) -> NDArray[np.uint8]:
    """Black and white by turns from pixel to pixel, (side, side, 3)."""
    white = np.indices((side, side)).sum(axis=0) % 2 * 255
    return np.repeat(white[..., None], 3, axis=2).astype(np.uint8)


def make(source: Any, target: Any = None, **settings: Any) -> ImageDataModule:
    """The datamodule of a folder or table, in small images and batches."""
    quiet: dict[str, Any] = {"size": 8, "batch_size": 4, "num_workers": 1, "verbose": False}
    return ImageDataModule(source, target, **(quiet | settings))


def frame_of(photos: Path) -> pd.DataFrame:
    """The files below a folder with targets of several kinds, a split and weights."""
    files = sorted(photos.rglob("*.jpg"))
    names = [str(file.relative_to(photos)) for file in files]
    return pd.DataFrame(
        {
            "file": names,
            "kind": [file.parent.name for file in files],
            "tags": [f"{file.parent.name} {'odd' if row % 2 else 'even'}" for row, file in enumerate(files)],
            "x": np.linspace(0, 1, len(files)),
            "y": np.linspace(5, 9, len(files)) ** 2,
            "part": ["valid" if row % 4 == 0 else "train" for row in range(len(files))],
            "weight": [float(row % 3) for row in range(len(files))],
        }
    )
