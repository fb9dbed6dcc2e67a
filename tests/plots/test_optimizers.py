"""The race is drawn to its end."""

import numpy as np
import pytest

from tabvision.errors import BadTypeError, BadValueError
from tabvision.plots import optimizer_race
from tabvision.scratch import optimizer_race as race


def test_each_optimizer_is_a_line_that_ends_where_it_arrived() -> None:
    frame = race(max_epochs=300)

    _, bottom = optimizer_race(frame).axes

    lines = [line for line in bottom.lines if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
    for line, (name, rows) in zip(lines, frame.groupby("optimizer", sort=False), strict=True):
        assert line.get_label() == f"{name}, {rows['epoch'].max()} epochs"
        np.testing.assert_array_equal(line.get_ydata(), rows["intercept"])


@pytest.mark.parametrize(("wrong", "error"), [(["slope"], BadTypeError), ([], BadValueError)])
def test_what_is_no_race_is_refused(wrong: list[str], error: type[Exception]) -> None:
    frame = race(max_epochs=1)

    with pytest.raises(error, match=r"scratch\.optimizer_race"):
        optimizer_race(frame.drop(columns=wrong) if wrong else frame.iloc[:0])
