"""Divide the training rows of a datamodule into folds, each of which one member of a network does not learn from."""

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
    """What a datamodule needs to divide its training rows into folds; it sets the split that made its parts."""

    schema: Schema
    frame: pd.DataFrame
    seed: int
    parts: dict[PartName, DataPart]
    _divide: Split
    _folds: Tensor
    _fold_loader: Any = None  # of a datamodule that keeps it while the folds are the same

    @property
    def may_fold(self) -> bool:
        """Whether training rows may be divided at random: not with a `TimeSplit`."""
        return not isinstance(self._divide, TimeSplit)

    def use_folds(self, num_folds: int, seed: int | None = None) -> None:
        """Give each training row a fold, `fold` in a training batch.

        Folds are stratified by class, and with a `GroupSplit` a group is in one fold. They depend on nothing but the seed and
        the training rows.

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
        """Return the fold of each row that trains, (N,) for the N rows of the tensors."""
        tensors, rows = self.parts["train"]
        codes, groups = tensors["target"][rows].numpy() if self._is_stratified else None, None
        if isinstance(self._divide, GroupSplit):
            groups = self.frame[self._divide.column].to_numpy()[tensors["index"][rows].numpy()]
        found = torch.full((len(tensors["index"]),), -1)
        found[rows] = torch.from_numpy(assign_folds(len(rows), num_folds, seed=seed, codes=codes, groups=groups))
        return found

    def leave_folds(self) -> None:
        """Train without folds again; `fold_loader` goes on loading them."""
        tensors, rows = self.parts["train"]
        self.parts["train"] = DataPart(with_tensor(tensors, "fold", None), rows)
        self._fold_loader = None

    def with_folds(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of training rows with the folds of `use_folds`."""
        return with_tensor(tensors, "fold", self._folds)
