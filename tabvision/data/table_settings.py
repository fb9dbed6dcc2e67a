"""The settings of a table, and how they apply to its training rows, shared by in-memory and prepared tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import pandas as pd

from tabvision.data.rows import check_reserved
from tabvision.data.splits.base import Split
from tabvision.data.splits.given import SourceSplit
from tabvision.data.splits.ordered import TimeSplit
from tabvision.data.splits.random import GroupSplit
from tabvision.data.tables.cells import Known
from tabvision.data.tables.text_file import TextFormat
from tabvision.data.targets import encode_target
from tabvision.preprocess import Columns, infer_kinds
from tabvision.preprocess.column_types import Kinds, date_format_of
from tabvision.preprocess.nominal import with_nominal
from tabvision.schema import JoinedLabels, Schema, Target
from tabvision.tasks import Task


@final
@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How to read and split a table, and what its columns are: the arguments of `TabularDataModule`.

    Args:
        part: The part of all rows in a source of test rows or of rows to predict; None to split the rows.
    """

    source: Any
    target: tuple[str, ...]
    named: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    task: Task | None = None
    separator: str | None = None
    split: Any = None
    weight: str | None = None
    sampler: str | None = None
    seed: int = 0
    schema: Schema | None = None
    form: TextFormat = field(default_factory=TextFormat)
    missing_target: str = "error"
    day_first: bool = False
    calibration: float | None = None
    part: str | None = None

    def known_columns(self, schema: Schema | None) -> Known:
        """Return the columns of text files that are known to be text or not, from a schema or as joined labels."""
        if schema is not None:
            return schema.known_columns
        return {} if self.separator is None else dict.fromkeys(self.target, JoinedLabels([""]))

    def kinds_of(self, columns: Columns, reserved: Mapping[str, str], read: Collection[str] | None = None) -> Kinds:
        """Infer the kinds of the columns from the training rows.

        Args:
            columns: The training rows, or some of them.
            reserved: Columns that are not features, with their purpose.
            read: The columns that are still read, if some have been left out for good.
        """
        features = [name for kind, names in self.named.items() if kind != "ignore" for name in names or ()]
        check_reserved(columns.frame, reserved, self.target, features)
        ignored = dict.fromkeys([*(self.named.get("ignore") or ()), *reserved])
        options: Any = {**self.named, "ignore": [name for name in ignored if read is None or name in read]}
        options["continuous"] = [*(self.named.get("continuous") or ()), *self._times(columns)]
        return infer_kinds(columns, target=self.target, day_first=self.day_first, **options)

    def with_nominal(self, kinds: Kinds, columns: Columns, target: Target) -> Kinds:
        """Add nominal numbers to the kinds, as `nominal.with_nominal` finds them; find none if errors are relative."""
        if target.task.is_relative:
            return kinds
        encoded = encode_target(columns.raw(self.target), target)
        group = self.split.column if isinstance(self.split, GroupSplit) else None
        stated = [*(self.named.get("continuous") or ()), *self._times(columns)]
        return with_nominal(kinds, columns, encoded, stated=stated, group=group)

    def _times(self, columns: Columns) -> list[str]:
        """Return the `TimeSplit` column if it is numeric: as a category, even of few years, no later one would be known."""
        name = self.split.column if isinstance(self.split, TimeSplit) else None
        if name is None or name not in columns.frame.columns:
            return []
        values = columns.raw([name])[name]
        is_named = any(name in (each, each.partition("=")[0]) for names in self.named.values() for each in names or ())
        is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        is_number = is_number and not date_format_of(name, columns.read_all(name))
        return [name] if is_number and not is_named and values.nunique() > 1 else []

    def with_counts(self, target: Target, divide: Split, num_training: int, num_validation: int) -> Target:
        """Add the number of rows in the source to the target; drop frequencies if rows are weighted or resampled."""
        num_rows = num_training + (0 if isinstance(divide, SourceSplit) else num_validation)
        frequencies = () if self.sampler or self.weight else target.frequencies
        return replace(target, num_rows=num_rows, frequencies=frequencies)
