"""The first pass over a table larger than memory: find the kind of each column, the part of each row, and all facts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_fraction
from tabvision.counter_random import uniforms
from tabvision.data.prepared.facts import MAY_VARY, KindsCheck, RunningTarget, joined, text_of_numbers
from tabvision.data.rows import (
    chosen_task,
    reserved_columns,
    rows_with_target,
    schema_of_features,
    taken,
)
from tabvision.data.splits.base import FRACTION, PartOf, Rows, Split, first_of_each
from tabvision.data.splits.given import PART_COLUMN, SourceSplit
from tabvision.data.splits.ordered import TimeSplit
from tabvision.data.splits.random import GroupSplit, StratifiedSplit, as_split
from tabvision.data.table_settings import TableSettings
from tabvision.data.tables.blocks import ReadAgain, TableBlocks, named_file
from tabvision.data.targets import check_columns, fit_target, missing_cells, number_formats
from tabvision.errors import BadValueError
from tabvision.logs import notes_at
from tabvision.preprocess import Columns
from tabvision.preprocess.column_types import Kinds
from tabvision.preprocess.fit import RunningFeatures
from tabvision.schema import LeftOut, Schema, Target
from tabvision.tasks import Task

MAX_SAMPLE = 1_000_000  # rows from which to compute medians and bins
_MAX_CELLS = 30_000_000  # numbers in that sample, so that it takes at most 240 MB
_MAX_PASSES = 100  # every pass but the last ends at rows that refute the kind of a column
PARTS = ("train", "val", "test", "calibration")  # a part's code is its position here
LEFT_OUT = 255  # the code of a row without a target


@final
class Scan:
    """Read all rows once to fit the schema and to determine the part of each row.

    Kinds and task are inferred from a few rows. Later rows that refute them become `evidence`: kinds and task are inferred
    again with these rows, and the table is read again.

    Raises:
        BadValueError: The table cannot be trained on as it is; the message names the file and row.
    """

    def __init__(self, settings: TableSettings, codes: Path) -> None:
        self.settings, self._file = settings, codes
        known = settings.known_columns(settings.schema)
        sources = settings.split.sources if isinstance(settings.split, SourceSplit) else ()
        self.tables = [TableBlocks(source, known, **settings.form) for source in (settings.source, *sources)]
        for other in self.tables[1:]:
            other.known = self.tables[0].known  # a column is text in every table or in none
        self._evidence: list[tuple[pd.DataFrame, bool]] = []  # rows, and whether they are training rows
        self._left_out: tuple[LeftOut, ...] = ()
        self.sizes = np.zeros(len(PARTS), dtype=np.int64)
        self.num_all = 0
        self.columns: list[str] = []  # the columns to read
        self.categories: list[str] = []  # the text columns to read as categories

    def run(self) -> Schema:
        """Read the rows, starting over if some show that a column is not what it seemed, and return the schema."""
        for _ in range(_MAX_PASSES):
            known = dict(self.tables[0].known)
            try:
                with notes_at(not self._evidence):
                    return self._run()
            except ReadAgain as again:
                texts = dict.fromkeys(self.categories, "str")
                rows = [(frame.astype(texts), is_training) for frame, is_training in again.evidence]
                # no evidence of a column that is now known to be text, perhaps by the block that was read ahead
                self._evidence = [*self._evidence, *rows] if known == self.tables[0].known else []
        problem = f"the kinds of its columns keep changing, most recently in row {self._evidence[-1][0].index[0]}"
        raise BadValueError(problem, "State them with categorical=, continuous=, dates= or ignore=")

    def column(self, name: str) -> Iterator[pd.Series]:
        """Yield the values of a column, for a split."""
        return (frame[name] for _, frame, _ in self.blocks([name]))

    def num_rows(self) -> int:
        """Return the number of rows, for a split."""
        return sum(table.num_rows() for table in self.tables)

    def blocks(
        self, columns: Sequence[str] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[tuple[Path, pd.DataFrame, Rows]]:
        """Yield the file, rows and row numbers of each block; see `TableBlocks.read`."""
        start = 0
        for position, table in enumerate(self.tables):
            for file, frame in table.read(columns, categories):
                rows = np.arange(start, start + len(frame), dtype=np.int64)
                start += len(frame)
                if len(frame):
                    yield file, self._with_part(frame, position), rows

    def _with_part(self, frame: pd.DataFrame, position: int) -> pd.DataFrame:
        return frame if len(self.tables) == 1 else frame.assign(**{PART_COLUMN: position})

    def _rows_to_keep(self, frame: pd.DataFrame, task: Task | None) -> Rows:
        settings = self.settings
        if settings.part == "predict":
            return np.arange(len(frame), dtype=np.int64)
        check_columns(frame, settings.target)
        return rows_with_target(frame, settings.target, settings.missing_target, task)

    def _read_head(self) -> tuple[pd.DataFrame, Rows]:
        """Return the first rows of blocks all over the table, those with a target, and their row numbers."""
        frames = [
            self._with_part(frame, at) for at, table in enumerate(self.tables) for frame in table.head() if len(frame)
        ]
        if not frames:
            raise BadValueError("the files have columns but no rows", "Pass data with at least one row")
        head = joined(frames)
        kept = self._rows_to_keep(head, self.settings.task)
        return head.iloc[kept].reset_index(drop=True), head.index.to_numpy()[kept]

    def _run(self) -> Schema:
        settings = self.settings
        head, numbers = self._read_head()
        task, divide = self._task_and_split(head)
        part_of, reserved = self._part_of(divide, task), reserved_columns(divide, settings.weight, settings.sampler)
        if settings.schema is not None:
            self._set_columns(settings.schema.inputs, [])
            self._read_all(part_of, task, lambda _columns, _training, _numbers: None)
            self._check_parts(divide)
            return settings.schema
        is_training = part_of(head, numbers) == 0
        is_training |= not is_training.any()
        kinds = self._kinds(head, is_training, reserved)
        if isinstance(divide, StratifiedSplit) or settings.calibration is not None:
            part_of = self._part_of(divide, task)  # start over: this one has already seen classes in the head
        digits = self._set_columns_of(kinds, head, task, {*reserved, getattr(divide, "column", None)})
        rows = joined([head[is_training], *(it for it, trains in self._evidence if trains)])
        check = KindsCheck(settings, kinds, task, rows, digits)
        kinds = self._with_nominal(kinds, rows, task)
        max_sample = _MAX_CELLS // max(1, len(kinds.continuous) + len(kinds.dates))
        features = RunningFeatures(kinds, min(MAX_SAMPLE, max(10_000, max_sample)))
        text = () if task.is_classes else number_formats(rows, settings.target)
        seen = RunningTarget(Target(columns=settings.target, task=task, separator=settings.separator, text=text))

        def add(columns: Columns, training: Rows, numbers: Rows) -> None:
            check.look_at(columns, training)
            kept = features.add(columns if len(training) == len(columns) else columns.take(training), numbers[training])
            seen.add(taken(columns.frame[[*settings.target]], training), kept)

        self._read_all(part_of, task, add)
        self._check_parts(divide)
        target = seen.fitted(head.dtypes, features.num_rows, is_stated=settings.task is not None)
        target = settings.with_counts(target, divide, features.num_rows, int(self.sizes[PARTS.index("val")]))
        every = pd.DataFrame(columns=self.tables[0].names)
        return schema_of_features(features.features(Columns(every)), target, reserved, settings.form)

    def _set_columns_of(self, kinds: Kinds, head: pd.DataFrame, task: Task, raw: Collection[object]) -> list[str]:
        """Set the columns to read, all but those left out for good; text is read as categories, except for `raw`.

        Returns:
            The text columns that so far hold only numbers, but are not read as numbers or dates.
        """
        every = joined([head, *(it for it, _ in self._evidence)])
        used = {*kinds.continuous, *kinds.dates, *self.settings.target, *raw}
        digits = [name for name in text_of_numbers(every) if name not in used]
        left_out = {it.name for it in kinds.left_out if it.reason not in MAY_VARY and it.name not in digits}
        settings = self.settings
        texts = [*kinds.categorical, *(settings.target if task.is_classes and settings.separator is None else ())]
        texts = [name for name in texts if isinstance(head[name].dtype, pd.StringDtype) and name not in raw]
        self._set_columns({*self.tables[0].names} - left_out, texts)
        return digits

    def _set_columns(self, inputs: Collection[str], categories: Collection[str]) -> None:
        """Set the columns to read: these, and the columns of the target, split, weight and sampler."""
        settings = self.settings
        of_split = (*getattr(settings.split, "columns", ()), getattr(settings.split, "column", None))
        needed = {*inputs, *settings.target, settings.weight, settings.sampler, *of_split}
        self.columns = [name for name in self.tables[0].names if name in needed]
        self.categories = [name for name in self.columns if name in categories]

    def _task_and_split(self, head: pd.DataFrame) -> tuple[Task, Split]:
        settings = self.settings
        if settings.schema:
            task = settings.schema.task
        else:
            rows = joined([frame[[*settings.target]] for frame in (head, *(it for it, _ in self._evidence))])
            self._look_for_another_target(rows)
            task = chosen_task(rows, settings.target, settings.task, settings.separator)
        stratify = settings.split is not None and task.stratify_codes(head, settings.target) is not None
        divide = as_split(settings.split, stratify=stratify)
        return task.for_later_rows() if isinstance(divide, TimeSplit) else task, divide

    def _look_for_another_target(self, rows: pd.DataFrame) -> None:
        """If the first rows have one target, raise `ReadAgain` at the first other: the table may be sorted by it."""
        (name, *others), settings = self.settings.target, self.settings
        if settings.task is not None or others or rows[name].nunique() != 1:
            return
        value = rows[name].dropna().iloc[0]
        for _, frame, _ in self.blocks():
            is_other = ~missing_cells(frame[name]) & (frame[name].astype(rows[name].dtype) != value).to_numpy()
            if is_other.any():
                self.columns = self.columns or self.tables[0].names
                raise ReadAgain([(frame[is_other].head(1), True)])

    def _read_all(self, part_of: PartOf, task: Task, add: Callable[[Columns, Rows, Rows], None]) -> None:
        """Read all rows, write the part of each, and pass the kept rows, the training ones and row numbers to `add`."""
        self.sizes, self.num_all = np.zeros(len(PARTS), dtype=np.int64), 0
        with self._file.open("wb") as written:
            for file, frame, every in self.blocks(self.columns, self.categories):
                codes = np.full(len(frame), LEFT_OUT, dtype=np.uint8)
                with named_file(file):
                    kept = self._rows_to_keep(frame, task)
                    if len(kept):
                        rows, numbers = taken(frame, kept), every[kept]
                        codes[kept] = parts = part_of(rows, numbers)
                        add(Columns(rows), np.flatnonzero(parts == 0), numbers)
                        self.sizes += np.bincount(parts, minlength=len(PARTS))
                written.write(codes.tobytes())
                self.num_all += len(frame)

    def _kinds(self, head: pd.DataFrame, is_training: NDArray[np.bool_], reserved: Mapping[str, str]) -> Kinds:
        """Infer the kinds of the columns from the first rows of blocks all over the table, and from the evidence."""
        frame, unread = head.drop(columns=PART_COLUMN, errors="ignore"), tuple[LeftOut, ...]()
        if self._evidence:  # evidence lacks the columns that were left out for good
            unread = tuple(it for it in self._left_out if it.name not in self.columns)
            frame = joined([each[self.columns] for each in (head, *(it for it, _ in self._evidence))])
            is_training = np.concatenate([is_training, *(np.full(len(it), trains) for it, trains in self._evidence)])
        columns = Columns(frame.reset_index(drop=True)).take(np.flatnonzero(is_training))
        kinds = self.settings.kinds_of(columns, reserved, self.columns if self._evidence else None)
        left_out = sorted([*kinds.left_out, *unread], key=lambda it: self.tables[0].names.index(it.name))
        self._left_out = tuple(left_out)
        return replace(kinds, left_out=self._left_out)

    def _with_nominal(self, kinds: Kinds, rows: pd.DataFrame, task: Task) -> Kinds:
        """Return the kinds with the nominal numbers found in some training rows."""
        settings = self.settings
        try:
            target = fit_target(rows, settings.target, task, settings.separator, is_stated=settings.task is not None)
        except BadValueError:
            return kinds  # these rows all have one class
        return settings.with_nominal(kinds, Columns(rows), target)

    def _part_of(self, divide: Split, task: Task) -> PartOf:
        """Return the function that assigns parts to rows, a fraction of the training rows going to calibration."""
        share, seed = self.settings.calibration, self.settings.seed
        part_of = divide.by_block(self, self.settings.target, seed=seed)
        if share is None:
            return part_of
        check_fraction("calibration", share, "()", remedy=FRACTION)
        if isinstance(divide, TimeSplit | GroupSplit):
            kind = type(divide).__name__
            problem = f"calibration rows of a prepared table are drawn at random, which a {kind} does not allow"
            raise BadValueError(problem, "Calibrate on the validation rows, or on a separate table")

        target, is_first = self.settings.target[0], first_of_each()

        def with_calibration(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            codes = part_of(frame, rows)
            training = np.flatnonzero(codes == 0)
            is_apart = uniforms(seed, 1, rows[training], 1)[:, 0] < share
            if task.is_classes and self.settings.separator is None:  # keep a training row of every class
                is_apart &= ~is_first(frame[target].iloc[training])
            codes[training[is_apart]] = PARTS.index("calibration")
            return codes

        return with_calibration

    def _check_parts(self, divide: Split) -> None:
        wanted = (1, getattr(divide, "share", 0), getattr(divide, "test_share", 0))
        for name, rows, is_wanted in zip(("training", "validation", "test"), self.sizes.tolist(), wanted, strict=False):
            if is_wanted and not rows:
                problem = f"the {name} part of {self.sizes.sum():,} rows would be empty"
                raise BadValueError(problem, "Pass more rows, or another fraction (split=, --validation)")
