"""Fashion-MNIST: classify ten kinds of clothing."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from tabvision.augment.settings import Augmentation
from tabvision.data import ImageDataModule, IndexSplit
from tabvision.errors import BadValueError, MissingFileError, speaking
from tabvision.schema import Schema

NAMES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip
FILES = {
    part: (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    for part, prefix in (("train", "train"), ("test", "t10k"))
}
_DIMENSIONS = {0x0801: 1, 0x0803: 3}  # the first four bytes of an idx file of unsigned bytes, and its dimensions


@final
class FashionMNISTDataModule(ImageDataModule):
    """Gray images of clothes, 28 x 28 pixels: the first training images train, the first test images validate.

    60,000 and 10,000 images in ten classes. They come as idx files, from Debian's package `dataset-fashion-mnist` (in
    /usr/share/datasets/fashion-mnist or similar) or by download, and are written to PNG files once.

    Source: Han Xiao and others 2017, https://github.com/zalandoresearch/fashion-mnist

    License: MIT

    Limits: images from one shop, centered on black; pretraining on photos helps little here.

    Args:
        folder: The folder with the four idx files, with or without .gz.
        pictures: The folder to write the PNG files to if they do not exist; a hundred megabytes.
        download: Whether to download the files to `folder` with torchvision if they do not exist.
        num_train: Number of training images to use.
        num_test: Number of test images to validate on.
        size: Side of the network's input in pixels.
        augment: As for ImageDataModule.
        batch_size: Images in one training step.
        seed: Determines order and augmentation.
        cache: As for ImageDataModule.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print a summary of the data.

    Raises:
        MissingFileError: The idx files do not exist.
        BadValueError: The files are not Fashion-MNIST's.
    """

    @speaking()
    def __init__(
        self,
        folder: str | Path,
        pictures: str | Path,
        *,
        download: bool = False,
        num_train: int = 60_000,
        num_test: int = 10_000,
        size: int = 64,
        augment: str | Augmentation | Mapping[str, Any] | None = "light",
        batch_size: int = 64,
        seed: int = 0,
        cache: str | Path | None = "auto",
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        source = _downloaded(folder) if download else Path(folder).expanduser()
        wanted = {"train": num_train, "test": num_test}
        frames = [_as_png(source, Path(pictures).expanduser(), part, num) for part, num in wanted.items()]
        frame = pd.concat(frames, ignore_index=True)
        super().__init__(
            frame,
            "label",
            path="image",
            size=size,
            augment=augment,
            batch_size=batch_size,
            split=IndexSplit(range(len(frames[0]), len(frame))),
            seed=seed,
            cache=cache,
            schema=schema,
            verbose=verbose,
        )


def _as_png(source: Path, parent: Path, part: str, num: int) -> pd.DataFrame:
    """Return the paths and labels of a part's first images as PNG files, writing those that do not exist.

    Args:
        source: The folder with the idx files.
        parent: The folder for the PNG files.
        part: "train" or "test".
        num: Number of images.
    """
    images, labels = (read_idx(source / name)[:num] for name in FILES[part])
    if images.ndim != 3 or labels.shape != (len(images),) or labels.max(initial=0) >= len(NAMES):
        raise BadValueError(f"{str(source)!r} holds other data than Fashion-MNIST", "Pass the folder of its files")
    folder = parent / f"{part}-{len(images)}"
    files = [folder / f"{number:05}.png" for number in range(len(images))]
    if not folder.is_dir():
        _write(images, [file.name for file in files], folder)
    names = np.array(NAMES, dtype=object)[labels]
    return pd.DataFrame({"image": pd.array([str(file) for file in files], dtype="str"), "label": names})


@speaking("FashionMNISTDataModule")
def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file, with or without .gz.

    Raises:
        MissingFileError: The file does not exist.
        BadValueError: The file is not an idx file of bytes.
    """
    packed = path.with_name(f"{path.name}.gz")
    found = next((file for file in (path, packed) if file.is_file()), None)
    if found is None:
        remedy = "Install Debian's package dataset-fashion-mnist and pass its folder, or pass download=True"
        raise MissingFileError(f"no file {str(path)!r}, nor one with .gz", remedy)
    data = gzip.decompress(found.read_bytes()) if found is packed else found.read_bytes()
    num_dimensions = _DIMENSIONS.get(int.from_bytes(data[:4], "big"), 0)
    shape = np.frombuffer(data[4 : 4 + 4 * num_dimensions], ">u4").astype(np.int64)
    start = 4 + 4 * num_dimensions
    if not num_dimensions or len(data) != start + shape.prod():
        raise BadValueError(f"{str(found)!r} is not an idx file of bytes, or is incomplete", "Download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _write(images: NDArray[np.uint8], names: list[str], folder: Path) -> None:
    """Write all files or none."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for image, name in zip(images, names, strict=True):
            Image.fromarray(image).save(partial / name)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _downloaded(folder: str | Path) -> Path:
    """Return the folder with the idx files; torchvision downloads them if they do not exist."""
    from torchvision.datasets import FashionMNIST

    root = Path(folder).expanduser()
    FashionMNIST(str(root), download=True)
    return root / "FashionMNIST" / "raw"
