"""The first pass over a table larger than memory: what every column is, which part each row is in, and all facts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.counter_random import uniforms
from tabvision.data.rows import check_reserved, chosen_task, reserved_columns, rows_with_target, schema_of_features
from tabvision.data.splits.base import PartOf, Rows, Split, StratifiedSplit, as_split, check_fractions, first_of_each
from tabvision.data.splits.given import PART_COLUMN, SourceSplit
from tabvision.data.splits.ordered import GroupSplit, TimeSplit
from tabvision.data.tables.blocks import TableBlocks, TextAsNumbers, named_file
from tabvision.data.tables.text_file import TextFormat
from tabvision.data.targets import check_columns, encode_target, fit_target, infer_task
from tabvision.errors import BadValueError, TabvisionError
from tabvision.logs import notes_at
from tabvision.preprocess import Columns, infer_kinds
from tabvision.preprocess.column_types import MAX_INTEGER_CATEGORIES, Kinds
from tabvision.preprocess.columns import Text
from tabvision.preprocess.fit import RunningFeatures
from tabvision.preprocess.running import Moments, RowSample
from tabvision.schema import JoinedLabels, Schema, Target
from tabvision.tasks import Task
from tabvision.tasks.base import TargetFacts

MAX_SAMPLE = 1_000_000  # rows by which medians and bins are computed
_MAX_CELLS = 30_000_000  # of that sample, so that it takes 240 MB at most
_SHOWN = 50_000  # raw rows of each part that are kept as they are
PARTS = ("train", "val", "test", "calibration")  # by their codes
LEFT_OUT = 255  # the code of a row without a target


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """What a table is prepared by: arguments of `TabularDataModule`.

    Args:
        part: The part of all rows, of a source of test rows or of rows to predict; None to split them.
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


@final
class KindsRefuted(Exception):  # noqa: N818 - a signal to infer again, and no error
    """Rows show that a column is of another kind than was inferred.

    Args:
        rows: These rows.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        super().__init__()
        self.rows = rows


@final
class RawSample:
    """Some rows of each part as they stand in the files, at random, and their positions among the kept rows.

    Args:
        texts: Columns that are read as categories, and are text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = dict.fromkeys(texts, "str")
        self._samples = [RowSample(_SHOWN) for _ in PARTS]
        self._frames: list[list[pd.DataFrame]] = [[] for _ in PARTS]

    def add(self, frame: pd.DataFrame, codes: NDArray[np.uint8], numbers: Rows, positions: Rows) -> None:
        """Add the kept rows of a block."""
        for code in np.unique(codes).tolist():
            rows = np.flatnonzero(codes == code)
            stays, is_kept = self._samples[code].add(numbers[rows])
            if stays is not None and self._frames[code]:
                self._frames[code] = [joined(self._frames[code])[stays]]
            new = frame.iloc[rows[is_kept]].set_axis(pd.Index(positions[rows[is_kept]]))
            self._frames[code].append(new.astype(self._texts))

    def save(self, folder: Path) -> None:
        """Write the rows of each part, their positions among the kept rows, and their parts."""
        frames = [joined(each) for each in self._frames if each]
        codes = np.repeat([code for code, each in enumerate(self._frames) if each], [len(each) for each in frames])
        whole = joined(frames)
        order = np.argsort(whole.index.to_numpy())
        np.save(folder / "sample.npy", whole.index.to_numpy()[order])
        np.save(folder / "sample_parts.npy", codes[order])
        whole.iloc[order].reset_index(drop=True).to_feather(folder / "sample.feather")


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several frames; categories of different levels stay categories.

    Example:
        >>> frames = [pd.DataFrame({"a": pd.Categorical([each])}) for each in "xy"]
        >>> joined(frames)["a"].cat.categories.tolist()
        ['x', 'y']
    """
    found = pd.concat(frames) if len(frames) > 1 else frames[0]
    for name in found:
        if isinstance(frames[0][name].dtype, pd.CategoricalDtype) and found[name].dtype != frames[0][name].dtype:
            each = [frame[name] for frame in frames if len(frame)]
            found[name] = pd.api.types.union_categoricals(each, ignore_order=True)
    return found


@final
class _RunningTarget:
    """The target over the training rows: rows of the sample, each class with its count, and moments of numbers."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.rows: pd.DataFrame | None = None
        self._counts: pd.Series | None = None
        self._moments = Moments()

    def add(self, frame: pd.DataFrame, stays: NDArray[np.bool_] | None, is_kept: NDArray[np.bool_]) -> None:
        """Add the training rows of a block; `stays` and `is_kept` are those of the sample."""
        rows = frame[list(self.target.columns)]
        kept = rows[is_kept]
        self.rows = kept if self.rows is None else joined([self.rows if stays is None else self.rows[stays], kept])
        if not self.target.task.is_classes:
            self._moments.add(encode_target(rows, self.target).astype(np.float64))
        elif len(self.target.columns) == 1:
            values, separator = rows.iloc[:, 0], self.target.separator
            if separator is not None:
                values = values.astype("str").str.split(separator, regex=False).explode().str.strip()
            counts = values.value_counts()
            self._counts = counts if self._counts is None else self._counts.add(counts, fill_value=0)

    def fitted(self, num_rows: int, *, is_stated: bool) -> Target:
        """Return the facts of the target in all training rows; `is_stated` is that of `fit_target`."""
        target, frame = self.target, self.rows
        assert frame is not None, "there are training rows"
        columns, separator = target.columns, target.separator
        if len(frame) == num_rows:
            return fit_target(frame, columns, target.task, separator, is_stated=is_stated)
        if self._counts is not None:
            values = self._counts.index if separator is None else [separator.join(self._counts.index)]
            every = pd.DataFrame({columns[0]: pd.Series(values, dtype=frame[columns[0]].dtype)})
            frame = every if separator is None else pd.concat([frame, every])
        found = fit_target(frame, columns, target.task, separator, is_stated=is_stated)
        counts = np.empty(0, dtype=np.int64)
        if self._counts is not None and separator is None:
            counts = np.bincount(encode_target(frame, found), self._counts.to_numpy(float), len(found.classes))
        moments = self._moments
        std = np.sqrt(moments.squares / max(1, moments.number))
        facts = TargetFacts(counts.astype(np.int64), moments.mean, std, moments.low, moments.high)
        with notes_at(False):
            found = fit_target(frame, columns, target.task.refit(facts), separator, is_stated=is_stated)
        return replace(found, task=found.task.refit(facts))

    def distinct(self) -> pd.DataFrame | None:
        """Return a row for each class; None if rows have no single class each."""
        if self._counts is None or self.target.separator is not None or self.rows is None:
            return None
        name = self.target.columns[0]
        return pd.DataFrame({name: pd.Series(self._counts.index, dtype=self.rows[name].dtype)})


@final
class Scan:
    """Reads all rows once, and knows then the schema and the part of each row.

    Args:
        settings: How the table is prepared.
        codes: A file for the part of each row.

    Raises:
        BadValueError: The table cannot be trained on as it is; the sentence names file and row.
    """

    def __init__(self, settings: TableSettings, codes: Path) -> None:
        self.settings, self._file = settings, codes
        known = settings.schema.known_columns if settings.schema else {}
        if settings.separator is not None:
            known = {**known, **dict.fromkeys(settings.target, JoinedLabels([""]))}
        self._sources = settings.split.sources if isinstance(settings.split, SourceSplit) else ()
        self.tables = [TableBlocks(source, known, **settings.form) for source in (settings.source, *self._sources)]
        for other in self.tables[1:]:
            other.known = self.tables[0].known  # a column is text in all, or in none
        self._refuting: list[pd.DataFrame] = []
        self._classes: pd.DataFrame | None = None
        self._head = self._read_head()
        self.sizes = np.zeros(len(PARTS), dtype=np.int64)
        self.num_all = 0
        self.columns: list[str] = []  # those that are read
        self.categories: list[str] = []  # those of text that are categories
        self._check: _KindsCheck | None = None
        self._first_kinds = Kinds()

    def column(self, name: str) -> Iterator[pd.Series]:
        """Yield the values of a column, for a split."""
        return (frame[name] for _, frame, _ in self.blocks([name]))

    def num_rows(self) -> int:
        """Return the number of rows, for a split."""
        return sum(table.num_rows() for table in self.tables)

    def head(self) -> pd.DataFrame:
        """Return the first rows of blocks all over the table that have a target."""
        return self._head.iloc[self._rows_to_keep(self._head, self.settings.task)]

    def _rows_to_keep(self, frame: pd.DataFrame, task: Task | None) -> Rows:
        settings = self.settings
        if settings.part == "predict":
            return np.arange(len(frame), dtype=np.int64)
        check_columns(frame, settings.target)
        return rows_with_target(frame, settings.target, settings.missing_target, task)

    @contextmanager
    def checking(self, frame: pd.DataFrame) -> Iterator[None]:
        """Raise `KindsRefuted` in place of an error, as `_KindsCheck.checking` does."""
        with nullcontext() if self._check is None else self._check.checking(frame):
            yield

    def infer_with(self, rows: pd.DataFrame) -> None:
        """Have the next `run` infer kinds with further rows."""
        self._refuting.append(rows)

    def run(self) -> Schema:
        """Read the rows, again from the first if some show that a column is not what it seemed, and return the schema."""
        for _ in range(3 * len(self._head.columns) + 3):
            try:
                with notes_at(not self._refuting and self._classes is None):
                    return self._run()
            except TextAsNumbers:
                self._head = self._read_head()
            except KindsRefuted as refuted:
                self.infer_with(refuted.rows)
        problem = f"the kinds of its columns change again and again, lastly in row {self._refuting[-1].index[0]}"
        raise BadValueError(problem, "Name columns in categorical=, continuous=, dates= or ignore=")

    def blocks(
        self, columns: Sequence[str] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[tuple[Path, pd.DataFrame, Rows]]:
        """Yield the file, the rows and the row numbers of each block; see `TableBlocks.read`."""
        start = 0
        for position, table in enumerate(self.tables):
            for file, frame in table.read(columns, categories):
                rows = np.arange(start, start + len(frame), dtype=np.int64)
                start += len(frame)
                if len(frame):
                    is_one = len(self.tables) == 1
                    yield file, frame if is_one else frame.assign(**{PART_COLUMN: position}), rows

    def _columns_to_read(self, inputs: Collection[str]) -> list[str]:
        """Return these columns, and those of target, split, weight and draws."""
        settings = self.settings
        of_split = (*getattr(settings.split, "columns", ()), getattr(settings.split, "column", None))
        needed = {*inputs, *settings.target, settings.weight, settings.sampler, *of_split}
        return [name for name in self.tables[0].names if name in needed]

    def _read_head(self) -> pd.DataFrame:
        while True:
            try:
                frames = [
                    block.frame.assign(**({PART_COLUMN: at} if self._sources else {}))
                    for at, table in enumerate(self.tables)
                    for block in table.head()
                ]
            except TextAsNumbers:
                continue
            found = joined(frames)
            self._head_numbers = found.index.to_numpy()
            found = found.reset_index(drop=True)
            if not len(found):
                raise BadValueError("the files have columns but no rows", "Pass data with at least one row")
            return found

    def _run(self) -> Schema:
        settings, numbers = self.settings, self._rows_to_keep(self._head, self.settings.task)
        head = self._head.iloc[numbers]
        task, divide = self._task_and_split(head)
        part_of, reserved = self._part_of(divide, task), reserved_columns(divide, settings.weight, settings.sampler)
        if settings.schema is not None:
            self.columns, self.categories = self._columns_to_read(settings.schema.inputs), []
            self._read_all(part_of, task, lambda _frame, _numbers: None)
            self._check_parts(divide)
            return settings.schema
        training = np.flatnonzero(part_of(head, self._head_numbers[numbers]) == 0)
        training = training if len(training) else np.arange(len(head))
        kinds = self._kinds(head, training, reserved)
        if isinstance(divide, StratifiedSplit) or settings.calibration is not None:
            part_of = self._part_of(divide, task)  # that of the head knows which classes it has seen
        left_out = {it.name for it in kinds.left_out if it.reason not in _MAY_VARY}
        self.columns = self._columns_to_read({*self.tables[0].names} - left_out)
        plain = {*self.columns}.difference(settings.target, reserved, [getattr(divide, "column", None)])
        texts = {name for name in plain if isinstance(head[name].dtype, pd.StringDtype)}
        self.categories = [name for name in kinds.categorical if name in texts]
        max_sample = _MAX_CELLS // max(1, len(kinds.continuous) + len(kinds.dates))
        features = RunningFeatures(kinds, min(MAX_SAMPLE, max(10_000, max_sample)))
        seen = _RunningTarget(Target(columns=settings.target, task=task, separator=settings.separator))
        named = {name.rpartition("=")[0] or name for names in settings.named.values() for name in names or ()}
        inferred = {*self.columns, *(it.name for it in kinds.left_out)} - named
        self._check = check = _KindsCheck(kinds, head.iloc[training], inferred)
        self._read_all(part_of, task, lambda frame, rows: seen.add(frame, *check.added(features, frame, rows)))
        self._check_parts(divide)
        self._check_task(task, head, seen.distinct())
        target = seen.fitted(features.num_rows, is_stated=settings.task is not None)
        target = replace(target, num_rows=features.num_rows + self._num_validating(divide))
        every = pd.DataFrame(columns=self.tables[0].names)
        return schema_of_features(features.features(Columns(every)), target, reserved, settings.form)

    def _num_validating(self, divide: Split) -> int:
        """Return the number of validation rows that are drawn from the source."""
        return 0 if isinstance(divide, SourceSplit) else int(self.sizes[PARTS.index("val")])

    def _task_and_split(self, head: pd.DataFrame) -> tuple[Task, Split]:
        settings = self.settings
        targets = head if self._classes is None else joined([head[[*settings.target]], self._classes])
        task = (
            settings.schema.task
            if settings.schema
            else chosen_task(targets, settings.target, settings.task, settings.separator)
        )
        stratify = settings.split is not None and task.stratify_codes(head, settings.target) is not None
        divide = as_split(settings.split, stratify=stratify)
        return task.for_later_rows() if isinstance(divide, TimeSplit) else task, divide

    def _read_all(self, part_of: PartOf, task: Task, add: Callable[[pd.DataFrame, Rows], None]) -> None:
        """Read all rows, write the part of each, and add those that train."""
        self.sizes, self.num_all = np.zeros(len(PARTS), dtype=np.int64), 0
        with self._file.open("wb") as written:
            for file, frame, numbers in self.blocks(self.columns, self.categories):
                codes = np.full(len(frame), LEFT_OUT, dtype=np.uint8)
                with named_file(file):
                    kept = self._rows_to_keep(frame, task)
                    codes[kept] = part_of(frame.iloc[kept], numbers[kept]) if len(kept) else 0
                    rows = np.flatnonzero(codes == 0)
                    if len(rows):
                        add(frame.iloc[rows], numbers[rows])
                written.write(codes.tobytes())
                self.sizes += np.bincount(codes[codes != LEFT_OUT], minlength=len(PARTS))
                self.num_all += len(frame)

    def _check_task(self, task: Task, head: pd.DataFrame, classes: pd.DataFrame | None) -> None:
        """Raise `KindsRefuted` if the target has classes that the head lacks, with which it is of another kind."""
        if self.settings.task is not None or classes is None or self._classes is not None:
            return
        target = self.settings.target
        with notes_at(False):
            inferred, _ = infer_task(joined([head[[*target]], classes]), target)
        if type(inferred) is not type(task):
            self._classes = classes
            raise KindsRefuted(head.iloc[:1])

    def _kinds(self, head: pd.DataFrame, training: Rows, reserved: Mapping[str, str]) -> Kinds:
        """Return the kinds of the columns, by the first rows of blocks all over the table, and rows that refuted kinds."""
        settings = self.settings
        features = [name for kind, names in settings.named.items() if kind != "ignore" for name in names or ()]
        check_reserved(head, reserved, settings.target, features)
        ignored = [*dict.fromkeys([*(settings.named.get("ignore") or ()), *reserved])]
        options: Any = {**settings.named, "ignore": ignored, "day_first": settings.day_first}
        frame = head.drop(columns=PART_COLUMN, errors="ignore")
        if not self._refuting:
            self._first_kinds = infer_kinds(Columns(frame).take(training), target=settings.target, **options)
            return self._first_kinds
        options["ignore"] = [name for name in ignored if name in self.columns]
        training = np.concatenate([training, len(frame) + np.arange(sum(map(len, self._refuting)))])
        frame = joined([each[self.columns] for each in (frame, *self._refuting)]).reset_index(drop=True)
        kinds = infer_kinds(Columns(frame).take(training), target=settings.target, **options)
        unread = [it for it in self._first_kinds.left_out if it.name not in self.columns]
        order = {name: position for position, name in enumerate(self.tables[0].names)}
        return replace(kinds, left_out=tuple(sorted([*kinds.left_out, *unread], key=lambda it: order[it.name])))

    def _part_of(self, divide: Split, task: Task) -> PartOf:
        """Return the part of each row, a share of the training rows kept apart for calibration."""
        share, seed = self.settings.calibration, self.settings.seed
        part_of = divide.by_block(self, self.settings.target, seed=seed)
        if share is None:
            return part_of
        check_fractions(share, 0.0)
        if isinstance(divide, TimeSplit | GroupSplit):
            problem = (
                f"calibration rows of a prepared table are drawn at random, and it is split by {type(divide).__name__}"
            )
            raise BadValueError(problem, "Calibrate with the validation rows, or with a table of their own")

        target, is_first = self.settings.target[0], first_of_each()

        def with_calibration(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            codes = part_of(frame, rows)
            training = np.flatnonzero(codes == 0)
            is_apart = uniforms(seed, 1, rows[training], 1)[:, 0] < share
            if task.is_classes and self.settings.separator is None:  # every class keeps a row in training
                is_apart &= ~is_first(frame[target].iloc[training])
            codes[training[is_apart]] = PARTS.index("calibration")
            return codes

        return with_calibration

    def _check_parts(self, divide: Split) -> None:
        train, validation, test, _ = self.sizes.tolist()
        share, test_share = getattr(divide, "share", 0), getattr(divide, "test_share", 0)
        for name, rows, wanted in (
            ("training", train, True),
            ("validation", validation, share),
            ("test", test, test_share),
        ):
            if wanted and not rows:
                problem = f"the {name} part of {self.sizes.sum():,} rows would be empty"
                raise BadValueError(problem, "Pass more rows, or another fraction (split=, --validation)")


_MAY_VARY = ("constant", "no value in any row")  # reasons to leave a column out that later rows may refute


@final
class _KindsCheck:
    """Looks in every block for rows that refute the kinds of columns.

    Args:
        kinds: The kinds.
        head: The rows that they were inferred from.
        inferred: The columns whose kind the user did not name.
    """

    def __init__(self, kinds: Kinds, head: pd.DataFrame, inferred: set[str]) -> None:
        self._kinds, self._inferred = kinds, inferred
        self._constants = {
            it.name: head[it.name] for it in kinds.left_out if it.reason in _MAY_VARY and it.name in inferred
        }
        self._few = [
            name
            for name in kinds.categorical
            if name in inferred
            and pd.api.types.is_numeric_dtype(head[name])
            and not pd.api.types.is_bool_dtype(head[name])
        ]
        self._new: dict[str, list[Any]] = {name: [] for name in self._few}
        self._known = {name: set(head[name].dropna().unique().tolist()) for name in self._few}

    def added(
        self, features: RunningFeatures, frame: pd.DataFrame, numbers: Rows
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
        """Add training rows to the facts, and return which rows the sample keeps.

        Raises:
            KindsRefuted: Some rows refute a kind.
        """
        for name, values in self._constants.items():
            first = values.dropna().head(1)
            differs = frame[name].notna() if first.empty else frame[name].isna() | (frame[name] != first.iloc[0])
            if differs.any():
                raise KindsRefuted(frame[differs].head(1))
        with self.checking(frame):
            kept = features.add(Columns(frame), numbers)
        for name in self._few:
            if not self._known[name].issuperset(features.vocabulary(name)):
                self._look_at_numbers(frame, name)
        return kept

    def _look_at_numbers(self, frame: pd.DataFrame, name: str) -> None:
        """Remember rows with whole numbers that are new; raise if they are too many, or no whole numbers."""
        values = frame[name].dropna()
        new = values[~values.isin(self._known[name])].drop_duplicates()
        self._known[name] |= set(new.tolist())
        if len(new):
            self._new[name].append(frame.loc[new.index].head(MAX_INTEGER_CATEGORIES + 1))
        is_float = pd.api.types.is_float_dtype(values) and bool((values % 1 != 0).any())
        if is_float or (len(self._known[name]) > MAX_INTEGER_CATEGORIES and self._new[name]):
            raise KindsRefuted(joined(self._new[name]) if self._new[name] else frame[frame[name] % 1 != 0].head(1))

    @contextmanager
    def checking(self, frame: pd.DataFrame) -> Iterator[None]:
        """Raise `KindsRefuted` in place of an error, if text does not read as the numbers or dates of its column."""
        try:
            yield
        except TabvisionError:
            rows = [
                _first_unread(frame, read, name, self._kinds.formats.get(name, usual))
                for kind, read, usual in (
                    ("continuous", Columns.numbers, "strict"),
                    ("dates", Columns.timestamps, "iso"),
                )
                for name in getattr(self._kinds, kind)
                if name in self._inferred and isinstance(Columns(frame).read(name), Text)
            ]
            if any(map(len, rows)):
                raise KindsRefuted(joined(rows)) from None
            raise


def _first_unread(frame: pd.DataFrame, read: Callable[..., object], name: str, form: str) -> pd.DataFrame:
    """Return the first row of which a column cannot be read; none if all can.

    Example:
        >>> _first_unread(pd.DataFrame({"x": ["1", "2", "?", "4"]}), Columns.numbers, "x", "strict")["x"].tolist()
        ['?']
    """

    def fails(rows: pd.DataFrame) -> bool:
        try:
            read(Columns(rows), name, form)
        except TabvisionError:
            return True
        return False

    if not fails(frame):
        return frame.iloc[:0]
    while len(frame) > 1:
        first, second = frame.iloc[: len(frame) // 2], frame.iloc[len(frame) // 2 :]
        frame = first if fails(first) else second
    return frame
