"""A LightningDataModule for tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from tabvision.data.base import Part, PartName, TensorDataModule
from tabvision.data.sources import Source, read_table
from tabvision.data.splits import Split, as_split
from tabvision.data.targets import (
    check_columns,
    check_missing,
    encode_target,
    fit_target,
    infer_task,
    missing_target,
    stratify_codes,
)
from tabvision.errors import BadValueError, MissingColumnsError, UnknownNameError, count
from tabvision.preprocess import fit_features, infer_kinds, to_arrays
from tabvision.schema import Schema
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
        schema: Facts to use in place of fitting new ones: `module.schema` of a trained module.
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
        ('binary', 3, torch.Size([4, 1]))
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
        columns = (target,) if isinstance(target, str) else tuple(target)
        own_split = split if isinstance(split, Split) else None
        frame = self._read(source)
        self.frame = frame if own_split is None else own_split.gather(frame, who=WHO, encoding=encoding)
        check_columns(self.frame, columns, WHO)
        kept = self._rows_with_target(self.frame, columns)
        rows = self.frame if len(kept) == len(self.frame) else self.frame.iloc[kept]
        task = schema.task if schema is not None else self._choose_task(rows, columns, task, separator)
        codes = stratify_codes(rows, columns, task)
        divide = as_split(split, stratify=codes is not None)
        divided = divide(rows, codes, seed=seed)
        if schema is None:
            training = rows.iloc[divided.train]
            not_features = [*(ignore or ()), *divide.columns, *([weight] if weight else [])]
            kinds = infer_kinds(
                training,
                target=columns,
                categorical=categorical,
                continuous=continuous,
                dates=dates,
                ignore=not_features,
                who=WHO,
            )
            self._say(*kinds.notes)
            features = fit_features(training, kinds, who=WHO)
            target_facts = fit_target(training, columns, task, separator, who=WHO)
            schema = Schema(
                target=target_facts,
                continuous=features.continuous,
                categorical=features.categorical,
                dates=features.dates,
                left_out=features.left_out,
            )
        self.schema = schema
        tensors = self._prepare(self.frame, kept)
        places = {"train": divided.train, "val": divided.validation, "test": divided.test}
        self.parts = {name: Part(tensors, torch.from_numpy(kept[place])) for name, place in places.items() if len(place)}
        self._add_source("test", test)
        self._add_source("predict", predict)
        self._say(self.summary())

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

    def _add_source(self, name: PartName, source: Source | None) -> None:
        if source is not None:
            frame = self._read(source)
            rows = np.arange(len(frame), dtype=np.int64)
            has_target = name == "test" or all(column in frame.columns for column in self.schema.target.columns)
            rows = self._rows_with_target(frame, self.schema.target.columns) if name == "test" else rows
            tensors = self._prepare(frame, rows, has_target=has_target and name == "test")
            self.parts[name] = Part(tensors, torch.from_numpy(rows))

    def _prepare(self, frame: pd.DataFrame, kept: NDArray[np.int64], *, has_target: bool = True) -> dict[str, Tensor]:
        """The frame as tensors. Rows without a target stay, so that row numbers are those of the source; nothing visits them."""
        continuous, categorical = to_arrays(self.schema, frame, who=WHO)
        tensors = {"continuous": torch.from_numpy(continuous), "categorical": torch.from_numpy(categorical)}
        if has_target:
            known = frame if len(kept) == len(frame) else frame.iloc[kept]
            encoded = encode_target(known, self.schema.target, who=WHO)
            target = np.zeros((len(frame), *encoded.shape[1:]), dtype=encoded.dtype)
            target[kept] = encoded
            tensors["target"] = torch.from_numpy(target)
            if self.weight is not None:
                tensors["weight"] = torch.from_numpy(row_weights(frame, self.weight))
        return tensors


def row_weights(frame: pd.DataFrame, column: str) -> NDArray[np.float32]:
    """The weight of each row in the loss.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: A weight that is missing, negative, infinite or no number.

    Example:
        >>> row_weights(pd.DataFrame({"w": [1, 2]}), "w").tolist()
        [1.0, 2.0]
    """
    if column not in frame.columns:
        raise MissingColumnsError(WHO, [column], frame.columns, "Name a column of weights")
    weights = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float32, na_value=np.nan)
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        problem = f"weights in {column!r} must be numbers from 0, but {count(int(wrong.sum()), 'row')} have none such"
        raise BadValueError(WHO, f"{problem}, first row {int(wrong.argmax())}", "Fill them in, or leave the rows out")
    return weights
