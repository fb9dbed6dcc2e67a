"""The schema: everything that a fitted datamodule has learned about its data, as plain data.

A module is built from a schema and saves it in its hyperparameters, so a checkpoint is all that is needed to read raw rows
and answer in the user's own labels. Nothing here needs torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias, cast, get_args, runtime_checkable

from msgspec import Meta

from tabvision import schema_text
from tabvision.errors import BadTypeError, count, speaking
from tabvision.plain import Label as Label  # noqa: PLC0414 - exported from here too
from tabvision.plain import NumberFormat as NumberFormat  # noqa: PLC0414 - same
from tabvision.plain import from_plain
from tabvision.schema_formats import accepting_spread, read_facts
from tabvision.tasks import Target as Target  # noqa: PLC0414 - same
from tabvision.tasks import Task

DatePart = Literal[
    "year", "month", "week", "day", "weekday", "day_of_year", "hour", "minute", "elapsed",
    "is_month_start", "is_month_end", "is_quarter_start", "is_quarter_end", "is_year_start", "is_year_end",
]  # fmt: skip
UnixUnit = Literal["s", "ms", "us", "ns"]
DateOrder = Literal["d/m/Y", "m/d/Y", "Y/m/d", "d/m/y", "m/d/y", "y/m/d", "d month Y", "Ymd"]
DateFormat = Literal["iso", DateOrder, UnixUnit]
Resize = Literal["crop", "squish", "pad"]
_ANY_RANGE = (-30.0, 0.0, 30.0)  # in standard deviations


@accepting_spread
@dataclass(frozen=True, kw_only=True)
class Continuous:
    """A number that the network reads.

    Args:
        name: The prepared column.
        source: The raw column that it is computed from.
        mean: Mean over the training rows, after filling.
        std: Standard deviation over the training rows, after filling; 1 for a constant column.
        fill: The training median, which replaces missing values.
        had_missing: Whether values were missing in training; if so, an extra categorical column marks them.
        bins: Edges of bins in standardized units, ascending: the values that many rows share, and quantiles of the rest.
        part: Which part of a date it is; None for a raw number.
        low: The smallest training value, if recorded.
        high: The largest training value, if recorded.
        atoms: Values that a large fraction of the training rows share, such as 0, if recorded.
        text: How text is read: "strict" and "lenient" read 1234.5; "1,234" allows thousands separators; "1.234,5" has a
            decimal comma; "h:m:s" is a duration or time of day, read as seconds; "$", "€", "£", "¥" and "%" expect that sign,
            and a decimal comma if a comma follows it; "1.5 kg" and "1,5 kg" expect that unit, with a decimal point or comma.
            Text in any other form counts as missing, except that "strict" raises an error.
    """

    name: str
    source: str
    mean: float
    std: float
    fill: float
    had_missing: bool = False
    bins: tuple[float, ...] = ()
    part: DatePart | None = None
    low: float | None = None
    high: float | None = None
    atoms: tuple[float, ...] = ()
    text: NumberFormat = "strict"

    @property
    def edges(self) -> tuple[float, ...]:
        """The bins: none for a constant column, two that cover any number for one whose range was not recorded."""
        return self.bins if self.bins or self.low is not None else _ANY_RANGE

    def describe(self) -> str:
        """Return the statistics for a printed schema."""
        missing = f", missing filled with {self.fill:.4g}" if self.had_missing else ""
        written = {"strict": "", "lenient": ", text read as numbers"}.get(self.text, f", text read as {self.text}")
        return f"mean {self.mean:.4g}, std {self.std:.4g}{missing}{written}"


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """A category that the network embeds.

    Args:
        name: The prepared column.
        source: The raw column that it is computed from.
        vocabulary: The values, in order; the value at index i has code i + 1, and code 0 is missing or unseen.
        ordered: Whether the order is the user's own (an ordered pandas category).
        titles: Readable names in the order of the vocabulary, such as film titles; empty if there are none.
        part: Which part of a date it is, "missing" for the indicator of a missing number or date, "value" for the values of a
            nominal number, or None for a raw category.
        text: How text is matched with the vocabulary: exactly.
        width: Embedding width, recorded when a network has grown; None for the network's own rule.
        unseen: The expected fraction of new rows with a value not seen in training, by the Good-Turing estimate: the fraction
            of training rows whose value occurs only once. 0 if it is small.
    """

    name: str
    source: str
    vocabulary: tuple[Label, ...]
    ordered: bool = False
    titles: tuple[str, ...] = ()
    part: DatePart | Literal["missing", "value"] | None = None
    text: Literal["exact"] = "exact"
    width: Annotated[int, Meta(ge=1)] | None = None
    unseen: Annotated[float, Meta(ge=0, le=1)] = 0.0

    @property
    def cardinality(self) -> int:
        """Number of codes, including the code of missing or unseen values."""
        return len(self.vocabulary) + 1

    def describe(self) -> str:
        """Return the size and the start of the vocabulary for a printed schema."""
        number = f"{count(len(self.vocabulary), 'value')}{', in order' if self.ordered else ''}"
        return f"{number}: {schema_text.some_labels(self.vocabulary, 4)}"


@dataclass(frozen=True, kw_only=True)
class Date:
    """A date column, split into parts, each of which becomes a number or a category.

    Args:
        name: The raw column.
        parts: The parts that vary in training.
        first: The earliest training value as ISO text, if recorded.
        last: The latest training value as ISO text, if recorded.
        format: The format of dates in text, optionally with a time: "iso" is 2024-12-31 (or 2024-12, 2024Q4); "d month Y"
            has the English name of the month, such as 31-Dec-24 or December 31, 2024; "Ymd" is a whole number such as
            20241231 or 202412; "s", "ms", "us" and "ns" are Unix time, counted in that unit since 1970; the others give the
            order of day, month and year (Y: four digits, y: two), separated by slashes, periods or hyphens.
        tz_aware: Whether all training values had a time zone (True) or none (False), if recorded.
    """

    name: str
    parts: tuple[DatePart, ...]
    first: str | None = None
    last: str | None = None
    format: DateFormat = "iso"
    tz_aware: bool | None = None

    @property
    def is_unix(self) -> bool:
        """Whether the column holds Unix time."""
        return self.format in get_args(UnixUnit)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, from torchvision


@accepting_spread
@dataclass(frozen=True, kw_only=True)
class Image:
    """The image that the network sees.

    Args:
        name: The raw column that holds the file's path; "image" for a folder without a table.
        size: (height, width) in pixels of the network's input.
        resize: How an image of another shape is resized for predictions: "crop" scales the shorter side and takes the
            center, "squish" scales both sides, "pad" scales the longer side and mirrors the rest.
        mean: Mean of each channel, for values in [0, 1]; empty to use the mean of the network's pretrained weights.
        std: Standard deviation of each channel; empty if `mean` is.
        channels: Number of channels that the network reads: 3 for red, green and blue, 1 for gray.
        value_range: The stored values that become black and white, as (lowest, highest): one pair for all channels, or one
            for each. Empty for the whole range of 8 or 16 bits.
        others: Further raw columns of paths, for more images of the same row, which are processed in the same way.
        optional: Whether a row may lack its images; the network then learns to answer without them.
    """

    name: str = "image"
    size: tuple[int, int]
    resize: Resize = "crop"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: Annotated[int, Meta(ge=1, le=4096)] = 3
    value_range: tuple[tuple[float, float], ...] = ()
    others: tuple[str, ...] = ()
    optional: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns of paths, in the order in which the network receives the images of a row."""
        return (self.name, *self.others)

    def describe(self) -> str:
        """Return what the network sees of an image, for a printed schema."""
        height, width = self.size
        parts = [f"{height} x {width} pixels", self.resize]
        parts += [] if self.channels == 3 else [count(self.channels, "channel")]
        if self.value_range:
            (low, high), *others = self.value_range
            parts.append("a range of values for each" if others else f"values {low:.6g} to {high:.6g}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A column that the network does not use, and the reason."""

    name: str
    reason: str


class JoinedLabels(tuple[str, ...]):
    """The labels of a target whose cells join several; a row with an empty cell or null has none of them."""

    __slots__ = ()


class Percents(tuple[str, ...]):
    """Marks a column of percents, with no known texts: 12% is read as 12, even where a spreadsheet stores it as 0.12."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Everything that a fitted datamodule has learned about its data.

    Args:
        target: The columns to predict, and the task.
        continuous: Numbers that the network reads, in the order of `batch["continuous"]`.
        categorical: Categories that the network embeds, in the order of `batch["categorical"]`.
        dates: Date columns, which are split into parts.
        left_out: Columns not used, and why.
        image: The image of each row, or None.
        na_values: The words in a text file that mark a missing value, if the user named them.

    Example:
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=38.0)
        >>> schema = Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,))
        >>> Schema.from_dict(schema.to_dict()) == schema
        True
    """

    FORMAT: ClassVar[int] = 2

    target: Target
    continuous: tuple[Continuous, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    dates: tuple[Date, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    image: Image | None = None
    na_values: tuple[str, ...] | None = None

    @property
    def task(self) -> Task:
        """The kind of target."""
        return self.target.task

    @property
    def classes(self) -> tuple[Label, ...]:
        """The user's labels in code order; empty for numbers."""
        return self.target.classes

    @property
    def is_of_images(self) -> bool:
        """Whether a row is an image, rather than table columns that may include image paths."""
        return self.image is not None and not self.image.optional

    @property
    def inputs(self) -> tuple[str, ...]:
        """The raw columns that prediction needs, without repeats."""
        columns: tuple[Continuous | Categorical, ...] = (*self.continuous, *self.categorical)
        image = () if self.image is None else self.image.columns
        return (*dict.fromkeys(column.source for column in columns), *image)

    @property
    def text_columns(self) -> frozenset[str]:
        """The raw columns to read from a file as text, even if all their values happen to look like numbers."""
        return frozenset(name for name, texts in self.known_columns.items() if texts is not None)

    @property
    def known_columns(self) -> dict[str, tuple[str, ...] | None]:
        """The raw columns and the target, with the texts that each may hold, or None if it is not text.

        The texts of a target of joined labels are `JoinedLabels`; those of a column such as 12% are `Percents`.
        """
        known: dict[str, tuple[str, ...] | None] = dict.fromkeys((*self.inputs, *self.target.columns))
        named = [(column.source, column.vocabulary) for column in self.categorical]
        if len(self.target.columns) == 1:
            named.append((self.target.columns[0], self.target.classes))
        written = [(column.source, column.text) for column in self.continuous]
        written += zip(self.target.columns, self.target.text, strict=False)
        known |= {name: () for name, form in written if form.endswith((",", ",5"))}  # 1.234 is not a float there
        known |= {name: Percents() for name, form in written if form.startswith("%")}
        if self.image is not None:
            known |= dict.fromkeys(self.image.columns, ())
        for name, labels in named:
            texts = tuple(label for label in labels if isinstance(label, str))
            if labels and len(texts) == len(labels):
                known[name] = texts
        if self.target.separator is not None:
            known[self.target.columns[0]] = JoinedLabels((*map(str, self.target.classes), ""))
        return known

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> Schema:
        """Return the schema with the image's mean and standard deviation filled in, unless it already has them."""
        if self.image is None or self.image.mean:
            return self
        image = dataclasses.replace(self.image, mean=tuple(mean), std=tuple(std))
        return dataclasses.replace(self, image=image)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain JSON data, without facts at their defaults."""
        facts: dict[str, Any] = {name: list(map(_shallow, getattr(self, name))) for name in _LISTS if name != "images"}
        facts["images"] = [] if self.image is None else [_shallow(self.image)]
        target = {**_shallow(self.target), "task": self.target.task.to_dict()}
        words = {} if self.na_values is None else {"na_values": list(self.na_values)}
        found = {name: columns for name, columns in facts.items() if columns}
        return {"format": self.FORMAT, "target": target, **found, **words}

    @classmethod
    @speaking("Schema")
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Return the schema that `to_dict` wrote, in this version or an earlier one.

        Raises:
            BadTypeError: The data is not an object.
            BadValueError: The format is newer, or facts are missing, unknown or of the wrong type.
        """
        known = {name: [field.name for field in dataclasses.fields(kind)] for name, kind in _LISTS.items()}
        known["target"] = [field.name for field in dataclasses.fields(Target)]
        facts = read_facts(data, cls.FORMAT, known)
        return from_plain(facts, cls, lambda _, task: Task.from_dict(cast("Mapping[str, Any]", task)))

    def __str__(self) -> str:
        """Return a short table with a line for each raw column, showing only some of each kind if there are many."""
        return schema_text.as_text(self)

    def _repr_html_(self) -> str:
        """Return the same table as HTML for a notebook."""
        return schema_text.as_html(self)

    def column_uses(self) -> list[tuple[str, str, str]]:
        """Return the name, use and facts of every raw column, however many there are.

        Example:
            >>> from tabvision.tasks import Regression
            >>> Schema(target=Target(columns=("pay",), task=Regression(mean=(0.0,), spread=(1.0,)))).column_uses()
            [('pay', 'target', 'regression, 1 number')]
        """
        return schema_text.column_uses(self)


def grown_widths(schema: Schema) -> dict[int, int]:
    """Return the embedding widths that were recorded when a network grew, by the category's position."""
    return {position: it.width for position, it in enumerate(schema.categorical) if it.width is not None}


_LISTS: dict[str, type[Any]] = {
    "continuous": Continuous,
    "categorical": Categorical,
    "dates": Date,
    "left_out": LeftOut,
    "images": Image,
}


@runtime_checkable
class HasSchema(Protocol):
    """Any object with a schema, such as a datamodule."""

    @property
    def schema(self) -> Schema:
        """The schema."""


SchemaSource: TypeAlias = Schema | HasSchema | dict[str, Any]


def schema_of(source: SchemaSource) -> Schema:
    """Return the schema to build a module from.

    Args:
        source: A schema, the dict it was saved as, or an object with a schema.

    Raises:
        BadTypeError: It is something else.
        BadValueError: The dict has a newer format, or was not written by `Schema.to_dict`.
    """
    if isinstance(source, dict):
        return Schema.from_dict(source)
    found = source if isinstance(source, Schema) else getattr(source, "schema", None)
    if not isinstance(found, Schema):
        raise BadTypeError(f"a schema is needed, got {type(source).__name__}", "Pass data.schema, or the datamodule")
    return found


def _shallow(facts: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    """Return a dataclass as a dict, without facts at their defaults; not recursive, since a task converts itself."""
    values = {field.name: (getattr(facts, field.name), field.default) for field in dataclasses.fields(facts)}
    return {name: list(it) if isinstance(it, tuple) else it for name, (it, default) in values.items() if it != default}
