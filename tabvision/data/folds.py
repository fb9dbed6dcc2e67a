"""Divide the training rows of a datamodule into folds; each member of a network leaves out one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tabvision.data.base import DataPart
from tabvision.data.loaders import with_tensor
from tabvision.data.splits.base import PartName, Split
from tabvision.data.splits.ordered import TimeSplit
from tabvision.data.splits.random import GroupSplit, assign_folds
from tabvision.schema import Schema


class FoldedRows:
    """A mixin to divide a datamodule's training rows into folds; the datamodule sets `_divide`, its split."""

    schema: Schema
    frame: pd.DataFrame
    seed: int
    parts: dict[PartName, DataPart]
    _divide: Split
    _folds: Tensor
    _fold_loader: Any = None  # a datamodule may cache it here until the folds change

    @property
    def may_fold(self) -> bool:
        """Whether training rows may be divided at random, as with any split but a `TimeSplit`."""
        return not isinstance(self._divide, TimeSplit)

    def use_folds(self, num_folds: int, seed: int | None = None) -> None:
        """Assign each training row a fold; training batches hold it as `fold`.

        Folds are stratified by class, and a `GroupSplit` keeps each group in one fold. They depend only on the seed and the
        training rows.

        Args:
            num_folds: Number of folds.
            seed: Determines the folds; None for the datamodule's.
        """
        tensors, rows = self.parts["train"]
        self._folds = self._assigned(num_folds, self.seed if seed is None else seed)
        self.parts["train"] = DataPart(self.with_folds(tensors), rows)
        self._fold_loader = None

    @property
    def _is_stratified(self) -> bool:
        return self.schema.task.is_classes and self.parts["train"].tensors["target"].ndim == 1

    def _assigned(self, num_folds: int, seed: int) -> Tensor:
        """Return the fold of each training row, (N,) for the N rows of the tensors."""
        tensors, rows = self.parts["train"]
        codes, groups = tensors["target"][rows].numpy() if self._is_stratified else None, None
        if isinstance(self._divide, GroupSplit):
            groups = self.frame[self._divide.column].to_numpy()[tensors["index"][rows].numpy()]
        found = torch.full((len(tensors["index"]),), -1)
        found[rows] = torch.from_numpy(assign_folds(len(rows), num_folds, seed=seed, codes=codes, groups=groups))
        return found

    def leave_folds(self) -> None:
        """Train without folds again; `fold_loader` still loads them."""
        tensors, rows = self.parts["train"]
        self.parts["train"] = DataPart(with_tensor(tensors, "fold", None), rows)
        self._fold_loader = None

    def with_folds(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of training rows with the folds from `use_folds`."""
        return with_tensor(tensors, "fold", self._folds)
