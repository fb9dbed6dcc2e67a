"""The schema: every fact that a fitted datamodule knows, as plain data.

A module is built from it, saves it in its hyperparameters, and can therefore read raw rows and answer in the user's own
labels from a checkpoint alone. Nothing here needs torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from tabvision.errors import count, speaking
from tabvision.plain import Label as Label  # noqa: PLC0414 - exported from here too
from tabvision.plain import from_plain
from tabvision.schema_formats import accepting_spread, read_facts
from tabvision.tasks import Target as Target  # noqa: PLC0414 - likewise
from tabvision.tasks import Task

DatePart = Literal[
    "year", "month", "week", "day", "weekday", "day_of_year", "hour", "minute", "elapsed",
    "is_month_start", "is_month_end", "is_quarter_start", "is_quarter_end", "is_year_start", "is_year_end",
]  # fmt: skip
Resize = Literal["crop", "squish", "pad"]
MAX_PRINTED_COLUMNS = 40
MAX_PRINTED_NAME, MAX_PRINTED_WIDTH = 32, 80  # letters of a column's name and of a line


@accepting_spread
@dataclass(frozen=True, kw_only=True)
class Continuous:
    """A number that the network reads.

    Args:
        name: The prepared column.
        source: The raw column it comes from.
        mean: Over the training rows, after filling.
        std: Standard deviation over the training rows, after filling; 1 for a constant column.
        fill: What a missing value becomes: the training median.
        had_missing: Whether training rows lacked values; then an indicator, a category of its own, marks them.
        bins: Rising edges, in standardized units, that cut the training rows into equal fractions.
        part: The part of the date it is; None for a raw number.
        low: The smallest training value, if it was recorded.
        high: The largest training value, likewise.
        atoms: Values that a large fraction of the training rows has, such as 0, if they were recorded.
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


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """A category that the network looks up.

    Args:
        name: The prepared column.
        source: The raw column it comes from.
        vocabulary: The values, in order; the value at index i has code i + 1, code 0 is missing or unseen.
        ordered: Whether the order is the user's own (an ordered pandas category).
        titles: Readable names in the order of the vocabulary, such as a film's; empty where there are none.
        part: The part of the date it is, or "missing" for the indicator of a missing number or date; None for a raw category.
        text: How text finds its value: letter for letter.
    """

    name: str
    source: str
    vocabulary: tuple[Label, ...]
    ordered: bool = False
    titles: tuple[str, ...] = ()
    part: DatePart | Literal["missing"] | None = None
    text: Literal["exact"] = "exact"

    @property
    def cardinality(self) -> int:
        """Number of codes, the one for missing or unseen counted."""
        return len(self.vocabulary) + 1


@dataclass(frozen=True, kw_only=True)
class Date:
    """A date column, cut into parts that are numbers or categories of their own.

    Args:
        name: The raw column.
        parts: The parts that vary in training.
        first: The earliest training value as ISO text, if it was recorded.
        last: The latest training value, likewise.
        format: How text writes the date: "iso" is 2024-12-31, with a time or without.
    """

    name: str
    parts: tuple[DatePart, ...]
    first: str | None = None
    last: str | None = None
    format: Literal["iso"] = "iso"


IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of ImageNet's photos


@accepting_spread
@dataclass(frozen=True, kw_only=True)
class Image:
    """The picture that the network looks at.

    Args:
        name: The raw column that holds the file's path; "image" where there is a folder and no table.
        size: (height, width) in pixels, as the network gets it.
        resize: How a picture of another shape is brought to that size for an answer: "crop" scales the shorter side and
            takes the center, "squish" scales both sides, "pad" scales the longer side and mirrors the rest.
        mean: Of each channel, of values in [0, 1]; empty where a network's weights are to decide.
        std: Standard deviation of each channel, likewise.
        channels: Red, green and blue.
        value_range: The lowest and the highest value of a channel before normalization.
    """

    name: str = "image"
    size: tuple[int, int]
    resize: Resize = "crop"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: Literal[3] = 3
    value_range: tuple[Literal[0], Literal[255]] = (0, 255)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A column that the network does not see, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Everything a fitted datamodule knows of its data.

    Args:
        target: What is predicted.
        continuous: Numbers the network reads, in the order of `batch["continuous"]`.
        categorical: Categories the network looks up, in the order of `batch["categorical"]`.
        dates: Date columns, cut into parts before anything else.
        left_out: Columns not used, and why.
        image: The picture of each row, or None.

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

    @property
    def task(self) -> Task:
        """The kind of target."""
        return self.target.task

    @property
    def classes(self) -> tuple[Label, ...]:
        """The user's labels in code order; empty for numbers."""
        return self.target.classes

    @property
    def inputs(self) -> tuple[str, ...]:
        """The raw columns a frame must have to be predicted, each once."""
        columns: tuple[Continuous | Categorical, ...] = (*self.continuous, *self.categorical)
        picture = () if self.image is None else (self.image.name,)
        return (*dict.fromkeys(column.source for column in columns), *picture)

    @property
    def text_columns(self) -> frozenset[str]:
        """The raw columns that hold text; in a file whose rows happen to look like numbers they are text all the same."""
        named = [(column.source, column.vocabulary) for column in self.categorical]
        if len(self.target.columns) == 1:
            named.append((self.target.columns[0], self.target.classes))
        return frozenset(name for name, labels in named if labels and all(isinstance(label, str) for label in labels))

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> Schema:
        """The schema with the picture's mean and standard deviation filled in where they are left to the weights."""
        if self.image is None or self.image.mean:
            return self
        image = dataclasses.replace(self.image, mean=tuple(mean), std=tuple(std))
        return dataclasses.replace(self, image=image)

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain JSON data; a fact at its default is left out."""
        facts: dict[str, Any] = {name: list(map(_shallow, getattr(self, name))) for name in _LISTS if name != "images"}
        facts["images"] = [] if self.image is None else [_shallow(self.image)]
        target = {**_shallow(self.target), "task": self.target.task.to_dict()}
        return {"format": self.FORMAT, "target": target, **{name: found for name, found in facts.items() if found}}

    @classmethod
    @speaking("Schema")
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """The schema that `to_dict` wrote, in this version or an earlier one.

        Raises:
            BadTypeError: Not an object.
            BadValueError: A newer format, or facts that are missing, unknown or of the wrong kind.
        """
        known = {name: [field.name for field in dataclasses.fields(kind)] for name, kind in _LISTS.items()}
        known["target"] = [field.name for field in dataclasses.fields(Target)]
        return from_plain(read_facts(data, cls.FORMAT, known), cls, _decode_task)

    def __str__(self) -> str:
        """A short table: one line a column of the user's; each kind of many columns is cut."""
        dates = {date.name for date in self.dates}
        lists = {
            "target": [(", ".join(self.target.columns), self._describe_target())],
            "date": [(date.name, self._describe_date(date.name)) for date in self.dates],
            "categorical": [(it.name, _describe_vocabulary(it)) for it in self.categorical if it.source not in dates],
            "continuous": [(it.name, _describe_number(it)) for it in self.continuous if it.source not in dates],
            "image": [] if self.image is None else [(self.image.name, _describe_image(self.image))],
            "left out": [(it.name, it.reason) for it in self.left_out],
        }
        is_long = sum(map(len, lists.values())) > MAX_PRINTED_COLUMNS
        most = MAX_PRINTED_COLUMNS // 4 if is_long else MAX_PRINTED_COLUMNS
        shown = [(name, kind, facts) for kind, rows in lists.items() for name, facts in _first(rows, most)]
        width = min(MAX_PRINTED_NAME, max(len(_on_one_line(name)) for name, _, _ in shown))
        lines = [f"{_cut(_on_one_line(name), width):<{width}}  {kind:<11}  {facts}" for name, kind, facts in shown]
        return "\n".join(_cut(_on_one_line(line), MAX_PRINTED_WIDTH).rstrip() for line in lines)

    def _describe_target(self) -> str:
        task = self.target.task
        if task.is_classes:
            number = count(len(self.classes), "class").replace("classs", "classes")
            return f"{task.name}, {number}: {_some_labels(self.classes, 6)}"
        return f"{task.name}, {count(len(self.target.columns), 'number')}"

    def _describe_date(self, name: str) -> str:
        """The parts that were made of a date."""
        columns: tuple[Continuous | Categorical, ...] = (*self.continuous, *self.categorical)
        parts = [str(column.part) for column in columns if column.source == name]
        return f"{count(len(parts), 'part')}: {', '.join(parts)}"


_LISTS: dict[str, type[Any]] = {
    "continuous": Continuous,
    "categorical": Categorical,
    "dates": Date,
    "left_out": LeftOut,
    "images": Image,
}


def _shallow(facts: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    """A dataclass as a dict without what is at its default, tuples as lists; not recursive, since tasks write themselves."""
    values = {field.name: (getattr(facts, field.name), field.default) for field in dataclasses.fields(facts)}
    return {name: list(it) if isinstance(it, tuple) else it for name, (it, default) in values.items() if it != default}


def _decode_task(kind: type, data: object) -> object:
    if kind is Task:
        return Task.from_dict(cast("Mapping[str, Any]", data))
    raise NotImplementedError(kind)


def _describe_vocabulary(column: Categorical) -> str:
    number = f"{count(len(column.vocabulary), 'value')}{', in order' if column.ordered else ''}"
    return f"{number}: {_some_labels(column.vocabulary, 4)}"


def _some_labels(labels: Sequence[Label], most: int) -> str:
    """The first labels; those of which spaces or commas would mislead stand in quotes."""
    shown = [repr(it) if isinstance(it, str) and (it != it.strip() or "," in it) else str(it) for it in labels[:most]]
    return ", ".join(shown) + (", …" if len(labels) > most else "")


def _describe_number(column: Continuous) -> str:
    missing = f", missing filled with {column.fill:.4g}" if column.had_missing else ""
    return f"mean {column.mean:.4g}, std {column.std:.4g}{missing}"


def _describe_image(image: Image) -> str:
    height, width = image.size
    return f"{height} x {width} pixels, {image.resize}"


def _first(rows: Sequence[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    if len(rows) <= most:
        return list(rows)
    return [*rows[:most], ("…", f"and {count(len(rows) - most, 'more column')}")]


def _on_one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
