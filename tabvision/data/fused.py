"""A LightningDataModule for tables with columns of image paths: batches hold each row's columns and images."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.augment.settings import Augmentation, augmentation_named
from tabvision.batch import Batch
from tabvision.checks import as_names, check_present
from tabvision.data.base import DataPart
from tabvision.data.folds import FoldedRows
from tabvision.data.images.base import BaseImageDataModule
from tabvision.data.images.device import EXTRAS
from tabvision.data.images.files import PATH_COLUMN, ImageTable, images_by_row, num_files
from tabvision.data.images.loader import FusedLoader, ImageLoader
from tabvision.data.images.reader import BatchReader
from tabvision.data.images.settings import SAMPLED_IMAGES, Normalize, ValueRange, fitted, image_columns, image_facts
from tabvision.data.splits.base import PartName
from tabvision.data.splits.given import PART_COLUMN, SourceSplit
from tabvision.data.splits.random import ShortSplit
from tabvision.data.tables.cells import MISSING_WORDS
from tabvision.data.tables.files import folder_of
from tabvision.data.tables.read import Source, read_frame
from tabvision.data.tabular import TabularDataModule
from tabvision.errors import BadValueError, speaking
from tabvision.logs import notes_at
from tabvision.preprocess import Columns
from tabvision.schema import Image, Schema, Target
from tabvision.tasks import Task


class FusedDataModule(FoldedRows, BaseImageDataModule):
    """Load a table with one or more columns of image paths; batches hold each row's columns and images.

    Columns are read as in `TabularDataModule`, images as in `ImageDataModule`. A row stays even if its image is missing, does
    not exist or cannot be read; its `has_image` is then 0. As soon as the object exists, `data.schema` holds the facts.

    Args:
        source: A DataFrame, or the path of a CSV, Parquet, Feather or Excel file, or several: a list, "data/*.csv", a folder.
        target: The column or columns to predict.
        image: The column or columns of image paths; None only with `schema`.
        root: The folder that paths are relative to; None for the table file's own.
        suffix: The suffix to append to the paths, such as ".jpg".
        categorical: Columns to read as categories, whatever their values. The kinds of other columns are inferred.
        continuous: Columns to read as numbers.
        dates: Columns to read as dates, as in `TabularDataModule`.
        ignore: Columns to leave out.
        size: Side, or (height, width), of the network's input in pixels; None for 224 or the schema's size.
        resize: How to bring other shapes to that size: "crop", "squish" or "pad"; None for "crop" or the schema's.
        channels: Number of channels that the network reads, as in `ImageDataModule`.
        value_range: (lowest, highest) stored value, as in `ImageDataModule`.
        augment: The augmentation of training images, as in `ImageDataModule`; images of one row are augmented independently.
        normalize: "imagenet", (mean, std), or None for the statistics that the network's weights expect.
        task: The kind of target: a task, its name, or None to infer it.
        separator: Text between the labels in one multi-label column, such as " ".
        split: Fraction of rows for validation in (0, 1), a split object, or None to train on all rows.
        weight: A column with the weight of each row in the loss, at least 0.
        sampler: "balanced", or a column with the relative frequency at which to draw each row; see `TabularDataModule`.
        test: A table or file with test rows.
        predict: A table or file with rows to predict; the target may be missing.
        batch_size: Rows per rank in one training step.
        seed: Determines the split and, together with the epoch, the order and the augmentation of each image.
        num_workers: Number of decoding threads, 0 for none; None for one per core, or a few once all images are cached.
        cache: Where to cache images at about the network's size: "auto", "memory", a folder or None; see `ImageDataModule`.
        device_augment: Whether the device augments whole batches, instead of the threads; "auto" means only on a GPU.
        bad_share: The largest fraction of images in [0, 1] that may be unreadable.
        corrections: A table or file that relabels or drops rows before the split, as in `TabularDataModule`.
        calibration: Fraction of the training rows to keep out of the fit for `calibrate`, as in `TabularDataModule`.
        schema: Facts to reuse instead of fitting new ones: `module.schema` of a trained module.
        encoding: Encoding of a text file that is not UTF-8, such as "latin-1".
        na_values: The words in a CSV file that mark a missing value, as in `TabularDataModule`.
        sep: The text between the fields of a CSV file, as in `TabularDataModule`.
        names: The column names of a CSV file without a header, as in `TabularDataModule`.
        missing_target: "error" to raise if rows lack a target, "drop" to leave them out and log how many.
        day_first: Whether dates in text have the day before the month, as in `TabularDataModule`.
        verbose: Whether to print the schema and what was inferred.

    Raises:
        MissingFileError: A file does not exist, or most of the images that the table names do not.
        MissingColumnsError: A column does not exist.
        BadValueError: The rows cannot be trained on as they are; the message says what to do.
    """

    sources = "a table or file"

    @speaking()
    def __init__(
        self,
        source: Source,
        target: str | Sequence[str],
        *,
        image: str | Sequence[str] | None = None,
        root: str | Path | None = None,
        suffix: str = "",
        categorical: Sequence[str] | None = None,
        continuous: Sequence[str] | None = None,
        dates: Sequence[str] | None = None,
        ignore: Sequence[str] | None = None,
        size: int | Sequence[int] | None = None,
        resize: Literal["crop", "squish", "pad"] | None = None,
        channels: int | None = None,
        value_range: ValueRange = None,
        augment: str | Augmentation | Mapping[str, Any] | Callable[..., Any] | None = "default",
        normalize: Normalize = None,
        task: Task | str | None = None,
        separator: str | None = None,
        split: ShortSplit = 0.2,
        weight: str | None = None,
        sampler: str | None = None,
        test: Source | None = None,
        predict: Source | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int | None = None,
        cache: str | Path | None = "auto",
        device_augment: bool | Literal["auto"] = "auto",
        bad_share: float = 0.1,
        corrections: Source | None = None,
        calibration: float | None = None,
        schema: Schema | None = None,
        encoding: str | None = None,
        na_values: Sequence[str] | None = None,
        sep: str | None = None,
        names: Sequence[str] | None = None,
        missing_target: Literal["error", "drop"] = "error",
        day_first: bool = False,
        verbose: bool = True,
    ) -> None:
        columns = image_columns(image, schema)
        known = image_facts(schema, columns[0], size, resize, normalize, channels=channels, value_range=value_range)
        shared: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "verbose": verbose}
        super().__init__(
            replace(known, others=columns[1:], optional=True),
            augmentation_named(augment),
            num_workers=num_workers,
            cache=cache,
            device_augment=device_augment,
            bad_share=bad_share,
            **shared,
        )
        settings: dict[str, Any] = {"categorical": categorical, "continuous": continuous, "dates": dates}
        settings |= {"ignore": as_names(ignore), "weight": weight, "sampler": sampler}
        settings |= {"split": split, "test": test, "predict": predict}
        settings |= {"task": task, "separator": separator, "missing_target": missing_target, "schema": schema}
        settings |= {"corrections": corrections, "calibration": calibration, "day_first": day_first}
        settings |= {"encoding": encoding, "na_values": na_values, "sep": sep, "names": names}
        settings |= {"image": self.image, "root": root, "suffix": suffix}
        table = _Columns(source, target, **settings, **shared)
        self.frame, self.schema, self.parts, self._divide = table.frame, table.schema, table.parts, table._divide  # noqa: SLF001
        self.sampler = sampler
        self.image = cast("Image", self.schema.image)
        self.tables = {name: table.images.get(name, table.images["train"]) for name in self.parts}
        self.bad.num_files = num_files(self.tables.values())

    @property
    def files(self) -> list[str]:
        """The image paths of `frame`, row by row; "" for an image that does not exist."""
        found: list[str] = self.tables["train"].frame[PATH_COLUMN].tolist()
        return found

    def fold_loader(self) -> ImageLoader:
        """Return a loader of this rank's training rows with their folds from `use_folds`, in order and not augmented."""
        if self._fold_loader is None:
            (tensors, rows), (rank, world_size) = self.parts["train"], self._ranks
            self._fold_loader = self._loader(
                functools.partial(self._reader, "train", plain=True),
                self.with_folds(tensors),
                rows,
                batch_size=self.batch_size,
                rank=rank,
                world_size=world_size,
            )
        return cast("ImageLoader", self._fold_loader)

    @override
    def _loader(
        self, make_reader: Callable[[], BatchReader], tensors: Mapping[str, Tensor], rows: Tensor, **settings: Any
    ) -> ImageLoader:
        facts: dict[str, Any] = {"num_images": len(self.image.columns), "on_end": self._write_bad_files}
        return FusedLoader(make_reader, tensors, rows, self.bad, **facts, **settings)

    @override
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if "features" in batch or batch["image"].dtype != torch.uint8:
            return batch
        by_image: dict[str, Any] = {**batch}
        for name in ("image", *(name for name in EXTRAS if name != "size")):
            if name in by_image:
                by_image[name] = by_image[name].flatten(0, 1)
        done = super().on_after_batch_transfer(cast("Batch", by_image), dataloader_idx)
        has_image, images = batch["has_image"], done["image"]
        images = images * has_image.flatten()[:, None, None, None].to(images.dtype)
        return {**done, "image": images.unflatten(0, has_image.shape)}

    def show_batch(self, num_rows: int = 8) -> pd.DataFrame:
        """Return the first training rows as raw values: the target, then the columns and paths that the network reads."""
        rows = next(iter(self.train_dataloader()))["index"][:num_rows].numpy()
        return self.frame.iloc[rows][[*self.schema.target.columns, *self.schema.inputs]]


class _Columns(TabularDataModule):
    """Read the columns, and make a table of images for every frame that is read."""

    def __init__(
        self,
        source: Source,
        target: str | Sequence[str],
        *,
        image: Image,
        root: str | Path | None,
        suffix: str,
        **settings: Any,  # noqa: ANN401 - as in `TabularDataModule`
    ) -> None:
        if twice := {*image.columns}.intersection(settings.get("ignore") or ()):
            problem = f"{min(twice)!r} is named in both image and ignore"
            raise BadValueError(problem, "Name it in one of them")
        self._image, self._root, self._suffix = image, root, suffix
        self._sources = {"train": source, "test": settings["test"], "predict": settings["predict"]}
        self.images: dict[str, ImageTable] = {}
        super().__init__(source, target, **settings)

    @override
    def _gather(self) -> pd.DataFrame:
        frame, split = super()._gather(), self._settings.split
        if isinstance(split, SourceSplit) and self._root is None:
            frame = self._with_whole_paths(frame, split)
        self.images["train"] = self._images_of("train", frame)
        return frame

    def _with_whole_paths(self, frame: pd.DataFrame, split: SourceSplit) -> pd.DataFrame:
        """Make the paths absolute in rows from a file in a different folder than the source."""
        here = folder_of(self._sources["train"])
        for number, source in enumerate(split.sources, start=1):
            if (root := folder_of(source)) and root != here:
                paths = frame.loc[frame[PART_COLUMN] == number, list(self._image.columns)]
                is_named = paths.notna() & (paths != "")
                frame.loc[paths.index, paths.columns] = paths.mask(is_named, f"{Path(root).resolve()}{os.sep}" + paths)
        return frame

    @override
    def _read(self, source: Source, schema: Schema | None) -> pd.DataFrame:
        columns = self._image.columns
        known = {**self._settings.known_columns(schema), **dict.fromkeys(columns, MISSING_WORDS)}
        frame = read_frame(source, **self._settings.form, known=known)
        check_present(columns, frame.columns, "Name the columns of image paths: image=")
        return frame

    @override
    def _fit(self, training: Columns, target: Target, reserved: Mapping[str, str]) -> Schema:
        columns = self._image.columns
        if target.task.moves_with_image:
            problem = f"a target of {target.task.name} lies in one image, and these rows have columns as well"
            raise BadValueError(problem, "Use ImageDataModule")
        schema = super()._fit(training, target, {**reserved, **dict.fromkeys(columns, "names the images")})
        with notes_at(False):  # missing files in all rows were already logged
            files = [file for file in self._images_of("train", training.frame).frame[PATH_COLUMN] if file]
        image = fitted(self._image, files[:: max(1, len(files) // SAMPLED_IMAGES)][:SAMPLED_IMAGES], is_new=True)
        left_out = tuple(column for column in schema.left_out if column.name not in columns)
        return replace(schema, left_out=left_out, image=image)

    @override
    def _given(self, name: PartName, frame: pd.DataFrame) -> DataPart:
        self.images[name] = self._images_of(name, frame)
        return super()._given(name, frame)

    def _images_of(self, part: str, frame: pd.DataFrame) -> ImageTable:
        root = folder_of(self._sources[part]) if self._root is None else self._root
        return images_by_row(frame, self._image.columns, root=str(root), suffix=self._suffix)
