"""The promises of a preprocessing step, and the chain of several.

A step is fitted on training rows, takes a frame and gives a frame, never changes the one it was given, and goes to and
from plain JSON data. What it learnt is in attributes that end in an underscore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias, final

import pandas as pd
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError, speaking
from tabvision.preprocess.checks import check_frame, check_has, check_rows

Fact: TypeAlias = Any  # plain data: numbers, text, and dicts and tuples of them


class Step(ABC):
    """One step: columns in, other columns out.

    Args:
        columns: The columns it works on; the others pass through.
    """

    facts: ClassVar[tuple[str, ...]]  # the attributes that fitting sets

    @speaking()
    def __init__(self, columns: Sequence[str]) -> None:
        if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
            remedy = "Pass a list such as ['age', 'size']"
            raise BadTypeError(f"columns must be a list of names, got {columns!r}", remedy)
        self.columns = tuple(columns)

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learns from the training rows.

        Raises:
            MissingColumnsError: Columns are not there.
            BadValueError: No rows, or values that cannot be worked with.
        """
        check_frame(frame)
        check_has(frame, self.columns)
        check_rows(frame)
        self._fit(frame)
        return self

    @speaking()
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A new frame with the columns worked on.

        Raises:
            BadValueError: Not fitted yet.
            MissingColumnsError: Columns are not there.
        """
        self._check_fitted("transform")
        check_has(frame, self.columns)
        return self._transform(frame)

    @abstractmethod
    def _fit(self, frame: pd.DataFrame) -> None:
        """Sets the facts; the columns are there and there is at least one row."""

    @abstractmethod
    def _transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A new frame; the columns are there."""

    def to_dict(self) -> dict[str, Any]:
        """The fitted step as plain JSON data."""
        self._check_fitted("to_dict")
        facts = {name: _as_json(getattr(self, name)) for name in self.facts}
        return {"step": type(self).__name__, "columns": list(self.columns), **facts}

    @staticmethod
    @speaking("Step")
    def from_dict(data: Mapping[str, Any]) -> Step:
        """The step that `to_dict` wrote.

        Raises:
            BadValueError: Facts are missing or unknown.
            UnknownNameError: No step has that name.
        """
        if not isinstance(data, Mapping):
            raise BadTypeError(f"a step must be an object, got {type(data).__name__}", "Pass what to_dict wrote")
        kinds = {kind.__name__: kind for kind in Step.__subclasses__()}
        if (name := data.get("step")) not in kinds:
            raise UnknownNameError("step", name, kinds)
        return kinds[name]._from_facts(data)  # noqa: SLF001 - our own class's

    @classmethod
    def _from_facts(cls, data: Mapping[str, Any]) -> Step:
        wanted = {"step", "columns", *cls.facts}
        if odd := sorted(wanted ^ set(data)):
            raise BadValueError(f"facts missing or unknown: {odd}", f"Pass what to_dict wrote: {sorted(wanted)}")
        step = cls(data["columns"])
        for name in cls.facts:
            setattr(step, name, _from_json(data[name]))
        return step

    def _check_fitted(self, asked: str) -> None:
        if not all(hasattr(self, name) for name in self.facts):
            raise BadValueError(f"{asked} was called before fit", "Call fit(frame) with training rows first")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.columns)})"


@final
class Chain(Step):
    """Several steps, each fitted on what the one before gives.

    Args:
        steps: In the order they are applied.

    Example:
        >>> import pandas as pd
        >>> from tabvision.preprocess import FillMissing, Standardize
        >>> chain = Chain([FillMissing(["x"]), Standardize(["x"])]).fit(pd.DataFrame({"x": [1.0, None, 3.0]}))
        >>> chain.transform(pd.DataFrame({"x": [None, 2.0]}))["x"].tolist()
        [0.0, 0.0]
    """

    facts: ClassVar[tuple[str, ...]] = ()

    @speaking()
    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__(())
        if odd := [step for step in steps if not isinstance(step, Step)]:
            raise BadTypeError(f"steps must be preprocessing steps, got {odd[0]!r}", "Pass such as [Dates(['sold'])]")
        self.steps = tuple(steps)

    @override
    def _fit(self, frame: pd.DataFrame) -> None:
        for step in self.steps:
            frame = step.fit(frame).transform(frame)

    @override
    def _transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy(deep=False)
        for step in self.steps:
            frame = step.transform(frame)
        return frame

    @override
    def to_dict(self) -> dict[str, Any]:
        return {"step": "Chain", "steps": [step.to_dict() for step in self.steps]}

    @classmethod
    @override
    def _from_facts(cls, data: Mapping[str, Any]) -> Step:
        if set(data) != {"step", "steps"}:
            raise BadValueError(f"facts missing or unknown: {sorted(data)}", "Pass what to_dict wrote")
        return cls([Step.from_dict(step) for step in data["steps"]])

    @override
    def __repr__(self) -> str:
        return f"Chain({list(self.steps)})"


def _as_json(value: Fact) -> Fact:
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Fact) -> Fact:
    if isinstance(value, Mapping):
        return {name: _from_json(item) for name, item in value.items()}
    return tuple(_from_json(item) for item in value) if isinstance(value, list | tuple) else value
