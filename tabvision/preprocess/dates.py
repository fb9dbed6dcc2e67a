"""The step that cuts dates into parts."""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

import pandas as pd
from typing_extensions import override

from tabvision.preprocess.checks import free_name
from tabvision.preprocess.columns import read_column
from tabvision.preprocess.convert import as_moments
from tabvision.preprocess.datetimes import Parts, varying_parts
from tabvision.preprocess.step import Step
from tabvision.schema import DatePart


@final
class Dates(Step):
    """A date column becomes its parts, `{name}_{part}`, and itself goes.

    Only parts that vary in the training rows are kept, so hour and minute come with a time of day alone. Where
    training rows had gaps, `{name}_missing` marks them. Zones are read in UTC. A name that is taken gets `_2`.

    Args:
        columns: Dates, times, or text that writes ISO dates.

    Source:
        The parts are the pandas accessors' (`Series.dt`), the week ISO's, as in fastai's `add_datepart`; `elapsed` is
        seconds since 1970.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"sold": ["2020-02-28", "2020-02-29"]})
        >>> Dates(["sold"]).fit(frame).transform(frame)["sold_is_month_end"].tolist()
        [False, True]
    """

    facts: ClassVar[tuple[str, ...]] = ("names_",)
    names_: dict[str, dict[str, str]]  # of each date, of each of its parts (and "missing"): the new column

    @property
    def parts_(self) -> dict[str, tuple[DatePart, ...]]:
        """The parts of each date that varied in training."""
        self._check_fitted("parts_")
        return {
            date: tuple(cast("DatePart", part) for part in names if part != "missing")
            for date, names in self.names_.items()
        }

    @override
    def _fit(self, frame: pd.DataFrame) -> None:
        taken, names = set(frame.columns), {}
        for date in self.columns:
            parts = self._read(frame, date)
            wanted = [*varying_parts(parts), *(["missing"] if parts.gaps.any() else [])]
            names[date] = {part: free_name(f"{date}_{part}", taken) for part in wanted}
            taken |= set(names[date].values())
        self.names_ = names

    @override
    def _transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for date, names in self.names_.items():
            parts = self._read(frame, date)
            for part, name in names.items():
                new[name] = parts.gaps if part == "missing" else parts.rows(cast("DatePart", part))
        return frame.drop(columns=list(self.columns)).assign(**new)

    @staticmethod
    def _read(frame: pd.DataFrame, date: str) -> Parts:
        return Parts(as_moments(read_column(frame[date], date), date))
