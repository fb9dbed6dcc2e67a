"""Points that cannot be learned are refused in a sentence, and those out of view are left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, TabvisionError
from tabvision.tasks import Points, Target
from tests.made.points import COLUMNS, make, spotted


def test_a_point_has_both_coordinates_and_one_that_was_cut_none() -> None:
    frame = pd.DataFrame({"x": [1.0, None, 2.0], "y": [1.0, None, None]})
    with pytest.raises(
        BadValueError,
        match="'x' and 'y' must both hold a number or both be empty, got 1 row with only one, first row 2",
    ):
        Points().encode(frame, Target(columns=("x", "y"), task=Points()))

    view = np.diag([10.0, 10.0, 1.0])[None]
    found = Points().to_view(np.array([[9.0, 0.0, 11.0, 0.0]]), view, cut=True)
    assert found[0, :2].tolist() == pytest.approx([0.9, 0.0])
    assert np.isnan(found[0, 2:]).all()


@pytest.mark.parametrize(
    ("target", "change", "kind", "sentence"),
    [
        (COLUMNS[:3], {}, BadValueError, "points need two columns each, x then y, got 3: red_x"),
        (["red_x", "rod_y"], {}, MissingColumnsError, "rod_y"),
        (["red_x", "file"], {}, BadTypeError, "needs numbers"),
        (COLUMNS, {"red_x": np.inf}, BadValueError, "red_x"),
        (COLUMNS, dict.fromkeys(COLUMNS, np.nan), BadValueError, "no training row has a point"),
        (
            COLUMNS,
            dict.fromkeys(COLUMNS, 0.5),
            BadValueError,
            "all points lie between 0.5 and 0.5, so they are not pixels",
        ),
    ],
)
def test_bad_points_are_refused_in_a_sentence(
    tmp_path: Path, target: Any, change: dict[str, float], kind: type[TabvisionError], sentence: str
) -> None:
    frame = spotted(tmp_path, 4).assign(**change)

    with pytest.raises(kind, match=sentence):
        make(frame, target)


def test_a_table_without_images_has_no_points() -> None:
    frame = pd.DataFrame({"a": range(10), "x": range(10), "y": range(10)})

    with pytest.raises(BadValueError, match="points need images to lie in"):
        TabularDataModule(frame, ["x", "y"], task="points", verbose=False)
