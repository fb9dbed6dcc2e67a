"""A LightningDataModule for images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from tabvision.augment.settings import Augmentation, augmentation_named
from tabvision.data.base import DataPart
from tabvision.data.corrections import corrected
from tabvision.data.images.base import BaseImageDataModule
from tabvision.data.images.device import augmented_by
from tabvision.data.images.files import LABEL_COLUMN, PATH_COLUMN, ImageTable, check_files, num_files
from tabvision.data.images.reader import BatchReader
from tabvision.data.images.settings import SAMPLED_IMAGES, Normalize, ValueRange, fitted, image_facts
from tabvision.data.images.sources import Images, SourceReader, divide, is_folder, target_columns
from tabvision.data.images.stores import views_of
from tabvision.data.images.views import View
from tabvision.data.rows import (
    chosen_task,
    class_counts,
    kept_apart,
    named_target,
    row_weights,
    rows_with_target,
    stated_task,
    taken,
    with_every_label,
)
from tabvision.data.splits.base import PartName, Rows
from tabvision.data.splits.random import ShortSplit, as_split
from tabvision.data.tables.cells import Known
from tabvision.data.tables.read import Source, text_format, words_of
from tabvision.data.targets import check_columns, check_task, encode_target, fit_target
from tabvision.errors import BadValueError, count, speaking
from tabvision.logs import notes_at
from tabvision.schema import JoinedLabels, LeftOut, Schema, Target
from tabvision.tasks import Task

logger = logging.getLogger("tabvision")
_NOT_READ = "a network of images reads no columns"


class ImageDataModule(BaseImageDataModule):
    r"""Prepare images for training: find, label and split them, decode and augment them in threads, and finish on the device.

    As soon as the object exists, `data.schema` holds the facts and a summary is printed. Before training, only the headers of
    64 images are read, and their pixels if they are not 8-bit RGB. A file that cannot be read is left out of its batch, and
    listed in `bad_files.csv` in the folder of the run (the Trainer's `log_dir`), if it has one.

    Args:
        source: A folder of class folders, which may be inside folders train, valid (val) and test; a DataFrame, or a CSV,
            Parquet, Feather or Excel file, with a column of paths; or, with `label_pattern`, a folder of images.
        target: The column or columns to predict; for folders, the name of the new column of classes.
        path: The column of paths; None for the first column that holds image file names.
        root: The folder that paths are relative to; None for the table file's own.
        suffix: The suffix to append to the paths, such as ".jpg".
        label_pattern: A regular expression for file names, whose first group is the label, such as r"^(.+)_\d+".
        label_depth: How many folders deep the class folders are; None for 1, or for the depth of the classes of `schema`.
        size: Side, or (height, width), of the network's input in pixels; None for 224 or the schema's size.
        resize: How to bring other shapes to that size: "crop", "squish" or "pad"; None for "crop" ("squish" for points) or
            the schema's.
        channels: Number of channels that the network reads: 3 for RGB, 1 for gray, or as many as the images or the pages of
            a TIFF have; None for 3 or the schema's. A note says what else the images hold.
        value_range: (lowest, highest) stored value, to be mapped to 0 and 255, or such a pair for each channel; None for the
            schema's, or the range of most values in 64 training images if they have more than 8 bits.
        augment: "default", "none", "light", "strong", or your own settings; a function of images and random numbers replaces
            all other augmentation (see `Augmentation.own`). Lighting changes apply only to gray and RGB.
        normalize: "imagenet", (mean, std), or None for the statistics that the network's weights expect, or those of the
            training images if they are not RGB.
        task: The kind of target: a task, its name, or None to infer it. "points" are alternating columns of x and y, in
            pixels of the upright image, and are transformed with it; a missing point has empty values.
        separator: Text between the labels in one multi-label column, such as " ".
        split: Fraction of images for validation in (0, 1), a pair of fractions for validation and testing, a split object, or
            None to train on everything. Validation folders override a fraction.
        weight: A column with the weight of each row in the loss, at least 0.
        sampler: "balanced" to draw each class equally often in training, or a column with the relative frequency at which to
            draw each row; None for each row once per epoch. An epoch has as many draws as rows.
        test: A folder or table with test images.
        predict: A folder, a table or a list of paths to predict, without labels.
        batch_size: Images per rank in one training step.
        seed: Determines the split and, together with the epoch, the order and the augmentation of each image.
        num_workers: Number of decoding threads, 0 for none; None for one per core, or a few once all images are cached.
        cache: Where to cache images at about the network's size, so that the second epoch decodes none: "auto" for memory if
            they all fit into 2 GB, "memory", a folder that processes and runs share, or None. Training then augments those
            smaller images, a little softer than the files; evaluation gets exactly the same pixels.
        device_augment: Whether the device augments whole batches, instead of the threads; "auto" means only on a GPU.
        bad_share: The largest fraction of files in [0, 1] that may be unreadable; unless it is 0, a few are always allowed:
            one in ten, at most 3. Each class needs a readable training image in any case.
        schema: Facts to use instead of fitting new ones: `module.schema` of a trained module.
        encoding: Encoding of a text file that is not UTF-8, such as "latin-1".
        na_values: The words in a CSV file that mark a missing value, as an empty cell always does; None for NA, nan, NULL and
            the like (and None, except in a column of words), [] for none.
        sep: The text between the fields of a CSV file, such as "::"; " " is any white space, None detects it.
        names: The column names of a CSV file without a header; [] to number the columns, None to detect a header.
        missing_target: "error" to raise if rows lack a target, "drop" to leave them out and log how many.
        corrections: A table or file that relabels or drops rows before the split, such as an edited `likely_mislabeled`:
            columns `row` or the column of paths, and `label`: the new label, or empty or "drop" to drop the row.
        calibration: Fraction of the training rows to keep out of the fit for `calibrate`, as in `TabularDataModule`.
        verbose: Whether to print a summary of the data.

    Raises:
        MissingFileError: A file, a folder or a path in the table does not exist.
        MissingColumnsError: A column does not exist.
        BadValueError: The images cannot be trained on as they are; the message says what to do.
    """

    @speaking()
    def __init__(
        self,
        source: Images,
        target: str | Sequence[str] | None = None,
        *,
        path: str | None = None,
        root: str | Path | None = None,
        suffix: str = "",
        label_pattern: str | None = None,
        label_depth: int | None = None,
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
        test: Images | None = None,
        predict: Images | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int | None = None,
        cache: str | Path | None = "auto",
        device_augment: bool | Literal["auto"] = "auto",
        bad_share: float = 0.01,
        schema: Schema | None = None,
        encoding: str | None = None,
        na_values: Sequence[str] | None = None,
        sep: str | None = None,
        names: Sequence[str] | None = None,
        missing_target: Literal["error", "drop"] = "error",
        corrections: Source | None = None,
        calibration: float | None = None,
        verbose: bool = True,
    ) -> None:
        stated = stated_task(task, schema)
        if stated is not None and stated.moves_with_image and schema is None:
            resize = resize or "squish"  # the whole target stays in view
        if schema is not None and schema.image is not None and not schema.is_of_images:
            raise BadValueError("the schema is for rows with columns and images", "Use FusedDataModule")
        known = image_facts(
            schema, path or PATH_COLUMN, size, resize, normalize, channels=channels, value_range=value_range
        )
        super().__init__(
            known,
            augmentation_named(augment),
            batch_size=batch_size,
            seed=seed,
            num_workers=num_workers,
            cache=cache,
            device_augment=device_augment,
            bad_share=bad_share,
            verbose=verbose,
        )
        self.missing_target, self._calibration, self.weight, self.sampler = missing_target, calibration, weight, sampler
        self._form = text_format(schema, encoding=encoding, na_values=na_values, sep=sep, names=names)
        texts: Known = {} if schema is None else schema.known_columns
        if schema is None and separator is not None and target is not None:
            texts = dict.fromkeys(named_target(target, None), JoinedLabels([""]))
        labels: dict[str, Any] = {"label_pattern": label_pattern, "label_depth": label_depth}
        reader = SourceReader(path=path, root=root, suffix=suffix, form=self._form, known=texts, **labels)
        if label_depth is not None and (label_pattern is not None or not is_folder(source)):
            problem = f"label_depth={label_depth!r} applies only to a folder of class folders"
            raise BadValueError(problem, "Leave label_depth out")
        with notes_at(verbose):
            table = reader.labeled(source, target, schema)
            self.image = replace(known, name=table.path if schema is None else known.name)
            columns = target_columns(target, schema, LABEL_COLUMN if LABEL_COLUMN in table.frame else None)
            check_columns(table.frame, columns)
            table = reader.with_split(table, split, columns)
            facts: Any = {"path": table.path, "task": stated, "separator": separator, "schema": schema}
            self.frame, kept = corrected(table.frame, corrections, columns, **facts)
            self._table = table = replace(table, frame=self.frame)
            self._fit(table, columns, stated, separator, split, schema, kept=kept)
            self._fill_others(source, test, predict, replace(reader, path=table.path, known=self.schema.known_columns))
            logger.info(self.summary())

    @override
    def summary(self) -> str:
        """Return the schema and the number of images per class in each part, as text."""
        lines = [str(self.schema)]
        for name, part in self.parts.items():
            counts = ""
            if "target" in part.tensors:
                counts = class_counts(part.tensors["target"][part.rows].numpy(), self.schema.target)
            lines.append(f"{name}: {count(len(part.rows), 'image')}" + (f" ({counts})" if counts else ""))
        return "\n".join(lines)

    @property
    def files(self) -> list[str]:
        """The image path of each row of `frame`."""
        return self._table.files(np.arange(len(self.frame), dtype=np.int64))

    def show_batch(self, num: int = 9) -> list[tuple[NDArray[np.uint8], str]]:
        """Return the first training images of the first epoch, augmented as for the network, each with its label.

        Points are drawn into the image, and the label says how many are visible.

        Shape:
            - image: (H, W, 3) uint8, the first three of more channels; `tabvision.plots.image_grid` draws them
        """
        rows = self.train_dataloader().batch_sampler.sampler.of_epoch(0)[:num]
        view = View(self.size, self.image.resize, self.augment, self.seed)
        read = BatchReader(self._store("train"), view, num_workers=0).read(rows.numpy(), 0)
        targets = self.parts["train"].tensors["target"][torch.from_numpy(read.rows)].numpy()
        if self.schema.task.moves_with_image:
            targets = self.schema.task.to_view(targets, views_of(self._store("train"), view, read.rows, 0), cut=True)
        images, own = read.images, self.augment.own
        if own is not None:
            images = augmented_by(own, images, torch.from_numpy(read.extras["own"]))
        images = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)  # RGB, or gray
        shown = images.permute(0, 2, 3, 1).numpy()
        draw, target = self.schema.task.draw, self.schema.target
        return [draw(image, encoded, target) for image, encoded in zip(shown, targets, strict=True)]

    def _fit(
        self,
        table: ImageTable,
        columns: Sequence[str],
        stated: Task | None,
        separator: str | None,
        split: ShortSplit,
        schema: Schema | None,
        *,
        kept: Rows,
    ) -> None:
        """Choose the task, split the rows that corrections kept, fit the schema on training rows, and encode targets."""
        check_files(table)
        numbers = kept[rows_with_target(taken(table.frame, kept), columns, self.missing_target, stated)]
        used = table.taken(numbers)
        rows = used.frame[list(columns)]  # without copying the paths
        task = chosen_task(rows, columns, stated, separator)
        if schema is None:
            check_task(Target(columns=tuple(columns), task=task, separator=separator), has_image=True)
        codes = task.stratify_codes(rows, columns)
        parts = divide(used, numbers, len(table.frame), codes, split, seed=self.seed)
        way = as_split(split, stratify=codes is not None)
        parts = kept_apart(parts, self._calibration, way, used.frame, codes, seed=self.seed)
        if separator is not None and schema is None and table.part is None and isinstance(split, float):
            parts = with_every_label(parts, used.frame, columns[0], separator)
        sample = np.linspace(0, max(len(parts.train) - 1, 0), SAMPLED_IMAGES).astype(np.int64)  # evenly spaced
        files = used.files(parts.train[np.unique(sample)[: len(parts.train)]])
        self.image = fitted(self.image, files, is_new=schema is None)
        if schema is None:
            target = fit_target(rows.iloc[parts.train], columns, task, separator, has_image=True)
            used_for = {*columns, table.path, self.weight, self.sampler, *way.columns}
            left_out = tuple(LeftOut(name=name, reason=_NOT_READ) for name in table.frame if name not in used_for)
            schema = Schema(target=target, image=self.image, left_out=left_out, na_values=words_of(self._form))
        self.schema = schema
        tensors = self._tensors(used.frame, numbers)
        self.parts = {name: DataPart(tensors, torch.from_numpy(some)) for name, some in parts.numbers().items()}
        self.tables = dict.fromkeys(self.parts, used)

    def _fill_others(self, source: Images, test: Images | None, predict: Images | None, reader: SourceReader) -> None:
        """Prepare the test part, and the part to predict, by default the unlabeled test images of a folder."""
        if test is not None:
            if self._table.part is None:  # a test folder in the source gives way to others
                self._check_free("test")
            with speaking(f"{type(self).__name__}, test", keep=True):
                self._add("test", reader.labeled(test, self.schema.target.columns, self.schema, least=1))
        with speaking(f"{type(self).__name__}, predict", keep=True):
            others = reader.unlabeled_test(source) if predict is None else reader.unlabeled(predict)
            if others is not None:
                self._add("predict", others)
        self._check_weights()
        self._chances()  # raises if the sampler cannot draw rows
        self.bad.num_files = num_files(self.tables.values())

    def _add(self, name: PartName, table: ImageTable) -> None:
        check_files(table)
        numbers: Rows = np.arange(len(table.frame), dtype=np.int64)
        tensors: dict[str, Tensor] = {}
        if name == "test":
            columns = self.schema.target.columns
            check_columns(table.frame, columns)
            numbers = rows_with_target(table.frame, columns, self.missing_target, self.schema.task)
            table = table.taken(numbers)
            tensors = self._tensors(table.frame, numbers)
        self.parts[name], self.tables[name] = DataPart(tensors, torch.arange(len(numbers))), table

    def _tensors(self, frame: pd.DataFrame, numbers: Rows) -> dict[str, Tensor]:
        """Return the tensors that batches need besides images, including each row's number in the source."""
        target = torch.from_numpy(encode_target(frame, self.schema.target))
        tensors = {"target": target, "index": torch.from_numpy(numbers)}
        if self.weight is not None:
            tensors["weight"] = torch.from_numpy(row_weights(frame, self.weight))
        return tensors
