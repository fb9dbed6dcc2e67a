"""A LightningDataModule for tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor

from tabvision.data.base import Part, PartName, TensorDataModule
from tabvision.data.given_splits import PART_COLUMN, IndexSplit
from tabvision.data.sources import Source, read_table
from tabvision.data.splits import Parts, Split, as_split
from tabvision.data.targets import (
    check_columns,
    check_missing,
    encode_target,
    fit_target,
    infer_task,
    missing_target,
    stratify_codes,
)
from tabvision.data.telltales import telltales
from tabvision.errors import (
    BadTypeError,
    BadValueError,
    MissingColumnsError,
    TabvisionError,
    UnknownNameError,
    count,
    listed,
)
from tabvision.preprocess import Features, Kinds, fit_features, infer_kinds, to_arrays
from tabvision.schema import Schema, Target
from tabvision.tasks import Task, task_named

WHO = "TabularDataModule"
SHOWN_ROWS = 8


class TabularDataModule(TensorDataModule):
    """A table, ready to train on: kinds inferred, gaps filled, categories coded, numbers standardized, rows split.

    Everything is fitted on the training rows only and stands in `data.schema` as soon as the object exists. What became
    of every column is printed.

    Args:
        source: A DataFrame, or the path of a CSV, Parquet or Feather file.
        target: The column to predict, or several.
        categorical: Columns to take as categories, whatever they look like. Others are inferred.
        continuous: Columns to take as numbers.
        dates: Columns to take as dates, each cut into year, month, week, day and so on.
        ignore: Columns to leave out.
        task: What kind of target it is: a task, its name, or None to infer it.
        separator: What parts the labels in one multi-label column, such as " ".
        split: Share of rows for validation in (0, 1), a split object, or None to train on everything.
        weight: A column with the weight of each row in the loss, at least 0.
        test: A table or file with test rows.
        predict: A table or file with rows to predict; the target may be missing.
        batch_size: Rows a rank takes in one training step.
        seed: Decides the split and, together with the epoch, the order of training rows.
        schema: Facts to use in place of fitting new ones: `module.schema` of a trained module. Kinds of columns, task and
            separator are then the schema's.
        encoding: Of a text file that is not UTF-8, such as "latin-1".
        missing_target: "error" to refuse rows without a target, "drop" to leave them out and say how many.
        verbose: Whether to print the schema and what was inferred.

    Raises:
        MissingFileError: No such file.
        MissingColumnsError: No such column.
        BadValueError: The table cannot be trained on as it is; the sentence says what to do.

    Example:
        >>> frame = pd.DataFrame({"x": [0.5, 1.5] * 8, "job": ["a", "b", "b", "a"] * 4, "paid": ["no", "yes"] * 8})
        >>> data = TabularDataModule(frame, "paid", batch_size=4, verbose=False)
        >>> data.schema.task.name, len(data.train_dataloader()), next(iter(data.val_dataloader()))["continuous"].shape
        ('binary', 3, torch.Size([3, 1]))
    """

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
        split: float | Split | None = 0.2,
        weight: str | None = None,
        test: Source | None = None,
        predict: Source | None = None,
        batch_size: int = 1024,
        seed: int = 0,
        schema: Schema | None = None,
        encoding: str | None = None,
        missing_target: Literal["error", "drop"] = "error",
        verbose: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.encoding = encoding
        self.verbose = verbose
        self.weight = weight
        self.missing_target = missing_target
        columns = _target_columns(target, schema)
        self.frame = self._gather(source, split)
        check_columns(self.frame, columns, WHO)
        kept = self._rows_with_target(self.frame, columns)
        rows = self.frame if len(kept) == len(self.frame) else self.frame.iloc[kept]
        task = self._choose_task(rows, columns, task, separator) if schema is None else schema.task
        codes = stratify_codes(rows, columns, task)
        divide = as_split(split, stratify=codes is not None)
        parts = _divide(divide, self.frame, kept, codes, seed)
        if schema is None:
            others = {*divide.columns, *([weight] if weight else [])} - {PART_COLUMN}
            unused = [*(ignore or ()), *sorted(others.difference(ignore or ()))]
            named = {"categorical": categorical, "continuous": continuous, "dates": dates, "ignore": unused}
            training = self.frame.iloc[parts.train].drop(columns=PART_COLUMN, errors="ignore")
            target_facts = fit_target(training, columns, task, separator, who=WHO)
            schema = self._fit(training, target_facts, named)
        self.schema = schema
        self._fill(parts, kept, {"test": test, "predict": predict})
        self._say(self.summary(), *telltales(self.schema, self.parts["train"]))

    def summary(self) -> str:
        """What became of every column, and how many rows each part has."""
        sizes = ", ".join(f"{name} {len(part.rows):,}" for name, part in self.parts.items())
        return f"{self.schema}\nrows: {sizes}"

    def show_batch(self, num_rows: int = SHOWN_ROWS) -> pd.DataFrame:
        """Raw values of the first training rows, as the network's columns, target first."""
        rows = next(iter(self.train_dataloader()))["index"][:num_rows].numpy()
        return self.frame.iloc[rows][[*self.schema.target.columns, *self.schema.inputs]]

    def baseline(self) -> dict[str, float]:
        """Validation metrics of the best answer that looks at no column: class shares, or the mean of the training rows."""
        if "val" not in self.parts:
            return {}
        task = self.schema.task
        targets = {name: self.parts[name].tensors["target"][self.parts[name].rows] for name in ("train", "val")}
        constant = torch.from_numpy(task.constant(targets["train"].numpy()))
        metrics = task.metrics()
        metrics.update(constant.expand(len(targets["val"]), -1).float(), targets["val"])
        return {f"val/{name}": float(value) for name, value in metrics.compute().items()}

    def _say(self, *messages: str) -> None:
        if self.verbose:
            for message in messages:
                rank_zero_only(print)(message)

    def _gather(self, source: Source, split: float | Split | None) -> pd.DataFrame:
        frame = self._read(source)
        return split.gather(frame, who=WHO, encoding=self.encoding) if isinstance(split, Split) else frame

    def _fit(self, training: pd.DataFrame, target: Target, named: Mapping[str, Sequence[str] | None]) -> Schema:
        """The facts of the training rows; `named` says which columns the user has named as what."""
        try:
            kinds, features = _fit_columns(training, target.columns, named)
        except TabvisionError:
            _fit_columns(self.frame, target.columns, named)  # the same complaint, with row numbers of the source
            raise
        self._say(*kinds.notes)
        return Schema(
            target=target,
            continuous=features.continuous,
            categorical=features.categorical,
            dates=features.dates,
            left_out=features.left_out,
        )

    def _fill(self, parts: Parts, kept: NDArray[np.int64], sources: Mapping[PartName, Source | None]) -> None:
        """Prepares the tensors of every part."""
        tensors = self._prepare(self.frame, kept)
        places: dict[PartName, NDArray[np.int64]] = {"train": parts.train, "val": parts.validation, "test": parts.test}
        self.parts = {name: Part(tensors, torch.from_numpy(rows)) for name, rows in places.items() if len(rows)}
        for name, source in sources.items():
            if source is not None:
                frame = self._read(source)
                if name == "test":
                    check_columns(frame, self.schema.target.columns, WHO)
                everything = np.arange(len(frame), dtype=np.int64)
                rows = self._rows_with_target(frame, self.schema.target.columns) if name == "test" else everything
                tensors = self._prepare(frame, rows, has_target=name == "test")
                self.parts[name] = Part(tensors, torch.from_numpy(rows))
        for name, part in self.parts.items():
            if "weight" in part.tensors and not part.tensors["weight"][part.rows].any():
                problem = f"the weights of all {len(part.rows):,} {name} rows are 0"
                raise BadValueError(WHO, problem, "Give some rows a weight above 0, or leave weight out")

    def _read(self, source: Source) -> pd.DataFrame:
        table = read_table(source, who=WHO, encoding=self.encoding)
        self._say(*table.notes)
        return table.frame

    def _rows_with_target(self, frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
        if self.missing_target not in ("error", "drop"):
            raise UnknownNameError(WHO, "missing_target", self.missing_target, ["error", "drop"])
        missing = missing_target(frame, columns)
        if self.missing_target == "error" or not missing.any():
            return np.arange(len(frame), dtype=np.int64)  # if some are missing, fitting the target says so
        self._say(f"{count(int(missing.sum()), 'row')} without a target left out.")
        return np.flatnonzero(~missing).astype(np.int64)

    def _choose_task(
        self, rows: pd.DataFrame, columns: Sequence[str], task: Task | str | None, separator: str | None
    ) -> Task:
        check_missing(rows, columns, separator, WHO)
        if isinstance(task, Task):
            return task
        if task is not None:
            return task_named(task)
        inferred, sentence = infer_task(rows, columns, separator, who=WHO)
        self._say(sentence)
        return inferred

    def _prepare(self, frame: pd.DataFrame, kept: NDArray[np.int64], *, has_target: bool = True) -> dict[str, Tensor]:
        """The frame as tensors. Rows without a target stay, so that numbers are the source's; nothing visits them."""
        continuous, categorical = to_arrays(self.schema, frame, who=WHO)
        tensors = {"continuous": torch.from_numpy(continuous), "categorical": torch.from_numpy(categorical)}
        if has_target:
            known = frame if len(kept) == len(frame) else frame.iloc[kept]
            encoded = encode_target(known, self.schema.target, who=WHO)
            target = np.zeros((len(frame), *encoded.shape[1:]), dtype=encoded.dtype)
            target[kept] = encoded
            tensors["target"] = torch.from_numpy(target)
            if self.weight is not None:
                tensors["weight"] = torch.from_numpy(row_weights(frame, self.weight, kept))
        return tensors


def _fit_columns(
    frame: pd.DataFrame, target: Sequence[str], named: Mapping[str, Sequence[str] | None]
) -> tuple[Kinds, Features]:
    """What each column is, and its facts over the rows of the frame."""
    kinds = infer_kinds(frame, target=target, who=WHO, **named)  # type: ignore[arg-type]  # its own names
    return kinds, fit_features(frame, kinds, who=WHO)


def _divide(
    split: Split, frame: pd.DataFrame, kept: NDArray[np.int64], codes: NDArray[np.int64] | None, seed: int
) -> Parts:
    """The row numbers of each part, as in the frame; only rows that are kept belong to one."""
    if len(kept) == len(frame):
        return split(frame, codes, seed=seed)
    if isinstance(split, IndexSplit):  # its numbers are those of the source
        whole = split(frame, None, seed=seed)
        return Parts(*(np.intersect1d(rows, kept) for rows in (whole.train, whole.validation, whole.test)))
    some = split(frame.iloc[kept], codes, seed=seed)
    return Parts(kept[some.train], kept[some.validation], kept[some.test])


def _target_columns(target: str | Sequence[str], schema: Schema | None) -> tuple[str, ...]:
    """The target as a tuple, which a schema that is used again must agree with."""
    if not isinstance(target, str) and not (
        isinstance(target, Sequence) and all(isinstance(name, str) for name in target)
    ):
        problem = f"target must be a column name or a list of them, got {target!r}"
        raise BadTypeError(WHO, problem, "Name the column to predict")
    columns = (target,) if isinstance(target, str) else tuple(target)
    if schema is not None and schema.target.columns != columns:
        known, other = (listed([repr(name) for name in names]) for names in (schema.target.columns, columns))
        problem = f"the schema predicts {known}, not {other}"
        raise BadValueError(WHO, problem, f"Pass target={known}, or leave schema out to fit a new one")
    return columns


def row_weights(frame: pd.DataFrame, column: str, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """The weight of each row in the loss.

    Args:
        frame: The table.
        column: Which of its columns.
        rows: Row numbers that count; others weigh 0, whatever stands there. None: all count.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: A weight that is missing, negative, infinite or no number.

    Example:
        >>> row_weights(pd.DataFrame({"w": [1, 2]}), "w").tolist()
        [1.0, 2.0]
    """
    if column not in frame.columns:
        raise MissingColumnsError(WHO, [column], frame.columns, "Name a column of weights")
    weights: NDArray[np.float32] = pd.to_numeric(frame[column], errors="coerce").to_numpy(
        dtype=np.float32, na_value=np.nan
    )
    if rows is not None and len(rows) < len(frame):
        weights[np.setdiff1d(np.arange(len(frame)), rows)] = 0
    wrong = ~np.isfinite(weights) | (weights < 0)
    if num_wrong := int(wrong.sum()):
        have = "has none such" if num_wrong == 1 else "have none such"
        problem = f"weights in {column!r} must be numbers from 0, but {count(num_wrong, 'row')} {have}"
        raise BadValueError(WHO, f"{problem}, first row {int(wrong.argmax())}", "Fill them in, or leave the rows out")
    return weights
