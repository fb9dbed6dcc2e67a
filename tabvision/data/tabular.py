"""A LightningDataModule for tables."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.checks import as_names
from tabvision.data.base import BALANCED, CPU_EVAL_BATCH_SIZE, DataPart, TensorDataModule
from tabvision.data.corrections import corrected
from tabvision.data.folds import FoldedRows
from tabvision.data.leakage import leakage_notes, log_similar_labels
from tabvision.data.loaders import Order, TensorLoader, with_tensor
from tabvision.data.prepared.folds import Folds
from tabvision.data.prepared.table import PreparedTable, default_folder, does_not_fit, prepare
from tabvision.data.row_order import BlockOrder
from tabvision.data.rows import (
    chosen_task,
    kept_apart,
    named_target,
    reserved_columns,
    row_weights,
    rows_with_target,
    schema_of_features,
    stated_task,
    taken,
)
from tabvision.data.splits.base import PartName, Rows, Split, SplitRows
from tabvision.data.splits.given import PART_COLUMN
from tabvision.data.splits.ordered import TimeSplit
from tabvision.data.splits.random import as_split
from tabvision.data.table_settings import TableSettings
from tabvision.data.tables.read import Source, read_frame, text_format
from tabvision.data.tables.sizes import settled_split
from tabvision.data.targets import check_columns, encode_target, fit_target
from tabvision.errors import BadValueError, speaking
from tabvision.logs import notes_at
from tabvision.preprocess import Columns, fit_features, to_arrays
from tabvision.schema import Schema, Target
from tabvision.tasks import Task

logger = logging.getLogger("tabvision")

_ROWS_AT_ONCE = 1 << 20  # per step through a prepared table


class TabularDataModule(FoldedRows, TensorDataModule):
    """Load a table for training: infer column types, fill missing values, encode categories, standardize, split rows.

    All statistics are fitted on the training rows only, and `data.schema` is set as soon as the object exists. The use of
    every column is printed.

    Args:
        source: A DataFrame, or the path of a CSV, Parquet, Feather or Excel file, or several: a list, "data/*.csv", a folder.
        target: The column to predict, or several.
        categorical: Columns to read as categories, whatever their values. Others are inferred.
        continuous: Columns to read as numbers.
        dates: Columns to read as dates, each encoded as year, month, week, day and so on. "when=d/m/Y" also sets the order
            of day, month and year in text.
        ignore: Columns to leave out.
        task: The kind of target: a task, its name, or None to infer it.
        separator: Text between the labels in one multi-label column, such as " ".
        split: Fraction of rows for validation in (0, 1), a pair of that and the fraction for testing, a split object, or None
            to train on all rows. "auto" is None below 20,000 rows, where `FitTable` needs no validation rows, else 0.2.
        weight: A column with the weight of each row in the loss, at least 0.
        sampler: "balanced" to draw each class equally often in training, or a column with the relative frequency at which to
            draw each row; None for each row once per epoch. An epoch has as many draws as rows.
        test: A table or file with test rows.
        predict: A table or file with rows to predict; the target may be missing.
        batch_size: Rows per rank in one training step.
        seed: Determines the split and, together with the epoch, the order of training rows.
        schema: Facts to reuse instead of fitting new ones: `module.schema` of a trained module. Column types, task and
            separator then come from the schema.
        encoding: Encoding of a text file that is not UTF-8, such as "latin-1".
        na_values: The words in a CSV file that mark a missing value, as an empty cell always does; None for NA, nan, NULL and
            the like (and None, except in a column of words), [] for none.
        sep: The text between the fields of a CSV file, such as "::"; " " is any white space, None detects it.
        names: The column names of a CSV file without a header; [] to number the columns, None to detect a header.
        missing_target: "error" to raise if the target is missing in some row, "drop" to leave such rows out and log how many.
        corrections: A table or file that relabels or drops rows before the split, such as an edited `likely_mislabeled`.
            Its columns are `row`, the row's number in a file or its index label in a frame, and `label`, the new label;
            nothing or "drop" drops the row.
        day_first: Whether dates in text such as 3/4/2024 have the day before the month; otherwise a column that can be read
            both ways is not a date.
        calibration: Fraction of the training rows in (0, 1) to keep out of the fit for `calibrate`, drawn like validation
            rows; None for none.
        prepared: A folder for a table that does not fit in memory. Its files are streamed and encoded once into arrays in
            that folder, which training memory-maps and later runs reuse. "auto" for a folder in the user's cache if the table
            would not fit (see `docs/large-tables.md`), None to read it into memory.
        verbose: Whether to print the schema and what was inferred.

    Raises:
        MissingFileError: A file does not exist.
        MissingColumnsError: A column does not exist.
        BadValueError: The table cannot be used for training as it is; the message says what to do.

    Example:
        >>> frame = pd.DataFrame({"x": [0.5, 1.5] * 8, "job": ["a", "b", "b", "a"] * 4, "paid": ["no", "yes"] * 8})
        >>> data = TabularDataModule(frame, "paid", batch_size=4, verbose=False)
        >>> data.schema.task.name, len(data.train_dataloader()), next(iter(data.val_dataloader()))["continuous"].shape
        ('binary', 3, torch.Size([3, 1]))
    """

    @speaking()
    def __init__(
        self,
        source: Source,
        target: str | Sequence[str],
        *,
        categorical: Sequence[str] | None = None,
        continuous: Sequence[str] | None = None,
        dates: Sequence[str] | None = None,
        ignore: Sequence[str] | None = None,
        task: Task | str | None = None,
        separator: str | None = None,
        split: float | Split | Literal["auto"] | tuple[float | Literal["auto"] | None, float] | None = 0.2,
        weight: str | None = None,
        sampler: str | None = None,
        test: Source | None = None,
        predict: Source | None = None,
        batch_size: int = 1024,
        seed: int = 0,
        schema: Schema | None = None,
        encoding: str | None = None,
        na_values: Sequence[str] | None = None,
        sep: str | None = None,
        names: Sequence[str] | None = None,
        missing_target: Literal["error", "drop"] = "error",
        corrections: Source | None = None,
        day_first: bool = False,
        calibration: float | None = None,
        prepared: str | Path | Literal["auto"] | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, verbose=verbose)
        self.weight, self.sampler, self.missing_target = weight, sampler, missing_target
        self._settings = TableSettings(
            source=source,
            target=named_target(target, schema),
            named={
                "categorical": as_names(categorical),
                "continuous": as_names(continuous),
                "dates": as_names(dates),
                "ignore": as_names(ignore),
            },
            task=stated_task(task, schema),
            separator=separator,
            split=split,
            weight=weight,
            sampler=sampler,
            seed=seed,
            schema=schema,
            form=text_format(schema, encoding=encoding, na_values=na_values, sep=sep, names=names),
            missing_target=missing_target,
            day_first=day_first,
            calibration=calibration,
        )
        self._table: PreparedTable | None = None
        self._folded: Folds  # only for a prepared table
        if prepared == "auto":
            prepared = default_folder(source) if does_not_fit(source) else None
        with notes_at(verbose):
            if prepared is None:
                self._use_frame(corrections, {"test": test, "predict": predict})
            else:
                self._use_prepared(Path(prepared), corrections, {"test": test, "predict": predict})
            logger.info(self.summary())
            log_similar_labels(self.schema)
            for sentence in leakage_notes(self.schema, self.sampled().parts["train"]):
                logger.info(f"Note: {sentence}")
        self._settings = replace(self._settings, source=None)  # so that it does not stay in memory

    def _use_frame(self, corrections: Source | None, sources: Mapping[PartName, Source | None]) -> None:
        """Set the schema and parts from a table that is read into memory."""
        settings = self._settings
        columns, separator, seed = settings.target, settings.separator, settings.seed
        self.frame = self._gather()
        check_columns(self.frame, columns)
        self.frame, kept = corrected(
            self.frame, corrections, columns, task=settings.task, separator=separator, schema=settings.schema
        )
        numbers = kept[rows_with_target(taken(self.frame, kept), columns, settings.missing_target, settings.task)]
        rows = taken(self.frame, numbers)
        task = chosen_task(rows, columns, settings.task, separator)
        codes = task.stratify_codes(rows, columns)
        self._divide = divide = as_split(settled_split(settings.split, len(rows)), stratify=codes is not None)
        divided = divide.among(numbers, len(self.frame))(rows, codes, seed=seed)
        parts = kept_apart(divided, settings.calibration, divide, rows, codes, seed=seed)
        raw = Columns(rows.drop(columns=PART_COLUMN, errors="ignore"))  # parses each column only once
        if settings.schema is None:
            task = task.for_later_rows() if isinstance(divide, TimeSplit) else task
            is_stated = settings.task is not None
            self.schema = self._learned(raw.take(parts.train), task, len(parts.validation), is_stated=is_stated)
        else:
            self.schema = settings.schema
        self._fill(raw, numbers, parts, sources)

    def _use_prepared(
        self, folder: Path, corrections: Source | None, sources: Mapping[PartName, Source | None]
    ) -> None:
        """Set the schema and parts from a prepared table on disk, preparing it first if needed."""
        if corrections is not None:
            raise BadValueError("a prepared table cannot be corrected", "Correct the files, or leave prepared out")
        settings = replace(self._settings, split=settled_split(self._settings.split, sys.maxsize))
        self._table = table = prepare(folder, settings)
        self.schema, self._divide = table.schema, as_split(settings.split, stratify=False)
        self.parts = {name: DataPart(table.tensors, rows) for name, rows in cast("Any", table.rows).items()}
        sample = table.sample
        self.frame, some = sample.frame, cast("Any", sample.rows)
        of_sample = {name: DataPart(sample.tensors, rows) for name, rows in some.items()}
        for name, source in sources.items():
            if source is not None:
                self._check_free(name)
                part = replace(settings, source=source, split=None, schema=self.schema, calibration=None, part=name)
                with speaking(f"{type(self).__name__}, {name}", keep=True):
                    own = prepare(folder / name, part)
                self.parts[name] = DataPart(own.tensors, own.rows[name])
                index = torch.tensor(own.sample.frame.index.to_numpy())  # in its own source, like a table in memory
                of_sample[name] = DataPart({**own.sample.tensors, "index": index}, own.sample.rows[name])
        self._sampled = copy.copy(self)
        self._sampled._table, self._sampled.parts = None, of_sample  # noqa: SLF001 - its own class
        self._chances()

    @override
    def sampled(self) -> Self:
        """Return the datamodule itself, or for a prepared table one with about 50,000 rows of each part in memory.

        Its `frame` holds these rows as they are in the files; the frame's index holds their row numbers there.
        """
        return self if self._table is None else cast("Self", self._sampled)

    @override
    def make_loader(self, part: PartName, order: Order) -> TensorLoader:
        if self._table is None or not order["shuffle"]:
            return super().make_loader(part, order)
        tensors, rows = self.parts[part]
        blocks = BlockOrder(rows, seed=order["seed"], chances=self._chances_of_rows())
        return TensorLoader(tensors, rows, batch_size=self.batch_size, **order, order=blocks)

    @override
    def targets_of(self, part: PartName) -> Tensor:
        """Return the targets of a split's rows, or of a sample of them for a prepared table."""
        return super().targets_of(part) if self._table is None else self._sampled.targets_of(part)

    @override
    def _chances(self) -> Tensor | None:
        if self._table is None:
            return super()._chances()
        self._sampled._chances()  # noqa: SLF001 - raise if rows cannot be drawn
        return None  # `_chances_of_rows` replaces the number per row

    def _chances_of_rows(self) -> Callable[[Tensor], Tensor] | None:
        """Return a function from positions of rows in a prepared table to how often they are drawn, relatively."""
        if self._table is None or self.sampler is None:
            return None
        if self.sampler != BALANCED:
            draws = self._table.draws
            assert draws is not None, "the settings name the column"
            return lambda rows: draws[rows]
        target, rows = self.parts["train"].tensors["target"], self.parts["train"].rows
        counts = torch.zeros(len(self.schema.classes), dtype=torch.int64)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            counts += target[rows[start : start + _ROWS_AT_ONCE].long()].long().bincount(minlength=len(counts))
        return lambda rows: 1 / counts[target[rows].long()]

    @override
    def _assigned(self, num_folds: int, seed: int) -> Tensor:
        if self._table is None:
            return super()._assigned(num_folds, seed)
        self._folded = found = self._table.folds(num_folds, seed, stratify=self._is_stratified)
        self._sampled = copy.copy(self._sampled)  # copies of this datamodule share the original
        self._sampled._folds = found.fold[self._table.sample.positions]  # noqa: SLF001 - its own class
        return found.fold

    def use_folds_of(self, parts: Sequence[Self]) -> None:
        """Make `fold_loader` load the folds of several copies of the datamodule, (B, copies) in a batch."""
        self._folds = torch.stack([part._folds for part in parts], dim=1)  # noqa: SLF001 - its own class
        if self._table is not None:
            self._sampled = copy.copy(self._sampled)
            self._sampled.use_folds_of([part.sampled() for part in parts])

    def without_fold(self, fold: int) -> Self:
        """Return a copy that validates on this fold of `use_folds`, and trains on the others."""
        tensors, rows = self.parts["train"]
        tensors = with_tensor(tensors, "fold", None)
        if self._table is None:
            is_out = self._folds[rows] == fold
            outside, inside = rows[~is_out], rows[is_out]
        else:
            outside, inside = self._folded.outside[fold], self._folded.inside[fold]
        found = copy.copy(self)
        found.parts = {**self.parts, "train": DataPart(tensors, outside), "val": DataPart(tensors, inside)}
        found.trainer = None
        if self._table is not None:
            found._sampled = self._sampled.without_fold(fold)  # noqa: SLF001 - its own class
        return found

    def fold_loader(self) -> TensorLoader:
        """Return a loader of this rank's part of the training rows, in order, with the folds of `use_folds`."""
        (tensors, rows), (rank, world_size) = self.parts["train"], self._ranks
        return TensorLoader(self.with_folds(tensors), rows[rank::world_size], batch_size=CPU_EVAL_BATCH_SIZE)

    def show_batch(self, num_rows: int = 8) -> pd.DataFrame:
        """Return the raw values of the first training rows: the target, then the network's input columns."""
        if self._table is not None:
            return self._sampled.show_batch(num_rows)
        rows = next(iter(self.train_dataloader()))["index"][:num_rows].numpy()
        return self.frame.iloc[rows][[*self.schema.target.columns, *self.schema.inputs]]

    def _gather(self) -> pd.DataFrame:
        """Return the rows of the source and of any sources that the split adds."""
        settings = self._settings
        frame, known = self._read(settings.source, settings.schema), settings.known_columns(settings.schema)
        return settings.split.gather(frame, known, **settings.form) if isinstance(settings.split, Split) else frame

    def _learned(self, training: Columns, task: Task, num_validation: int, *, is_stated: bool) -> Schema:
        """Return the schema fitted to the training rows.

        Args:
            training: The training rows.
            task: The stated or inferred task.
            num_validation: The number of validation rows.
            is_stated: Whether the user stated the task, so that its settings are not chosen by the values.
        """
        settings = self._settings
        frame = training.raw(settings.target)
        target = fit_target(frame, settings.target, task, settings.separator, is_stated=is_stated)
        target = settings.with_counts(target, self._divide, len(frame), num_validation)
        return self._fit(training, target, reserved_columns(self._divide, self.weight, self.sampler))

    def _fit(self, training: Columns, target: Target, reserved: Mapping[str, str]) -> Schema:
        """Return the schema fitted to the training rows, with an already fitted target.

        Args:
            training: The training rows.
            target: The fitted target.
            reserved: Columns that are not features, with their purpose.
        """
        settings = self._settings
        kinds = settings.with_nominal(settings.kinds_of(training, reserved), training, target)
        return schema_of_features(fit_features(training, kinds), target, reserved, settings.form)

    def with_validation_rows(self) -> Self:
        """Return a copy that also trains on the validation rows, and whose schema is fitted to both.

        It holds out no rows. Use it for a fit with a known number of epochs, after a network that was not trained on the
        validation rows was measured on them.

        Raises:
            BadValueError: The table is prepared, or the schema was given.
        """
        if self._table is not None or self._settings.schema is not None:
            problem = (
                "a new schema is fitted only to a table in memory, but the table is prepared or its schema was given"
            )
            raise BadValueError(problem, "Leave prepared= and schema= out, or train on the training rows only")
        rows = torch.cat([self.parts[name].rows for name in ("train", "val") if name in self.parts])
        numbers = self.parts["train"].tensors["index"][rows].sort().values.numpy()
        found, every, none = copy.copy(self), np.arange(len(numbers)), np.empty(0, dtype=np.int64)
        raw = Columns(taken(self.frame, numbers).drop(columns=PART_COLUMN, errors="ignore"))
        found.schema = self._learned(raw, self.schema.task, 0, is_stated=True)
        found.trainer = None
        found._fill(raw, numbers, SplitRows(every, none, none), {})  # noqa: SLF001 - its own class
        return found

    def _fill(self, raw: Columns, numbers: Rows, parts: SplitRows, sources: Mapping[PartName, Source | None]) -> None:
        """Set the tensors of every split.

        Args:
            raw: The selected rows of the source.
            numbers: Their row numbers in the source.
            parts: The rows of each part among them.
            sources: Separate sources of test and predict rows.
        """
        tensors = self._prepare(raw, numbers)
        self.parts = {name: DataPart(tensors, torch.from_numpy(some)) for name, some in parts.numbers().items()}
        for name, source in sources.items():
            if source is not None:
                self._check_free(name)
                with speaking(f"{type(self).__name__}, {name}", keep=True):
                    self.parts[name] = self._given(name, self._read(source, self.schema))
        self._check_weights()
        self._chances()  # raise if rows cannot be drawn

    def _given(self, name: PartName, frame: pd.DataFrame) -> DataPart:
        """Return the split of a separate source, without a target for rows to predict."""
        numbers: Rows = np.arange(len(frame), dtype=np.int64)
        if name == "test":
            columns = self.schema.target.columns
            check_columns(frame, columns)
            numbers = rows_with_target(frame, columns, self.missing_target, self.schema.task)
        tensors = self._prepare(Columns(taken(frame, numbers)), numbers, has_target=name == "test")
        return DataPart(tensors, torch.arange(len(numbers)))

    def _read(self, source: Source, schema: Schema | None) -> pd.DataFrame:
        return read_frame(source, **self._settings.form, known=self._settings.known_columns(schema))

    def _prepare(self, raw: Columns, numbers: Rows, *, has_target: bool = True) -> dict[str, Tensor]:
        """Encode rows as tensors, with their row numbers in the source as `index`."""
        continuous, categorical = to_arrays(self.schema, raw)
        tensors = {
            "continuous": torch.from_numpy(continuous),
            "categorical": torch.from_numpy(categorical),
            "index": torch.from_numpy(numbers),
        }
        if has_target:
            tensors["target"] = torch.from_numpy(encode_target(raw.frame, self.schema.target))
            if self.weight is not None:
                tensors["weight"] = torch.from_numpy(row_weights(raw.frame, self.weight))
        return tensors
