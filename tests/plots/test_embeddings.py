"""Maps whose labels do not overlap, and bars in order."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tabvision.errors import BadTypeError, BadValueError
from tabvision.plots import bias_bars, embedding_map


def crowd(rows: int = 200) -> pd.DataFrame:
    points = np.random.default_rng(0).normal(size=(rows, 3))
    frame = pd.DataFrame(points, columns=["axis_1", "axis_2", "axis_3"])
    frame.insert(0, "title", [f"A title of some length {number}" for number in range(rows)])
    frame.attrs["shares"] = [0.5, 0.25, 0.125]
    return frame


def test_labels_cover_neither_each_other_nor_the_frame() -> None:
    figure = embedding_map(crowd(), max_labels=200)

    plane = figure.axes[0]
    boxes, inside = [text.get_window_extent() for text in plane.texts], plane.get_window_extent()
    assert len(boxes) > 20
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(inside.contains(*corner) for box in boxes for corner in (box.p0, box.p1))


def test_every_row_is_drawn_and_the_ends_of_both_axes_are_named() -> None:
    frame = crowd()

    plane = embedding_map(frame, axes=(1, 2)).axes[0]

    drawn = plane.collections[0].get_offsets()
    np.testing.assert_array_equal(drawn, frame[["axis_1", "axis_2"]])
    named = {text.get_text() for text in plane.texts}
    ends = {frame["title"][frame[axis].agg(end)] for axis in ("axis_1", "axis_2") for end in ("idxmin", "idxmax")}
    assert ends <= named


def test_axes_say_how_much_of_the_variance_they_hold() -> None:
    plane = embedding_map(crowd(), axes=(3, 1)).axes[0]

    assert plane.get_xlabel() == "principal axis 3 (12% of the variance)"
    assert plane.get_ylabel() == "principal axis 1 (50% of the variance)"


def test_labels_may_be_left_out_and_long_ones_are_cut() -> None:
    frame = crowd(3).assign(title=["x" * 80, "costs $5 or $6", "c"])

    texts = [text.get_text() for text in embedding_map(frame).axes[0].texts]

    assert not embedding_map(frame, max_labels=0).axes[0].texts
    assert "x" * 33 + "…" in texts
    assert r"costs \$5 or \$6" in texts


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(BadTypeError, match="the frame lacks 'axis_4'"):
        embedding_map(crowd(), axes=(1, 4))

    with pytest.raises(BadValueError, match="max_labels must be at least 0, got -1"):
        embedding_map(crowd(), max_labels=-1)

    with pytest.raises(BadTypeError, match="the frame lacks 'bias'"):
        bias_bars(crowd())
    with pytest.raises(BadValueError, match="k must be at least 1, got 0"):
        bias_bars(pd.DataFrame({"film": [1], "bias": [0.5]}), 0)


def test_bars_are_the_lowest_and_the_highest_in_order() -> None:
    frame = pd.DataFrame({"film": range(50), "bias": np.random.default_rng(0).permutation(50) - 25.0})

    plane = bias_bars(frame, 3).axes[0]

    assert [bar.get_width() for bar in plane.patches] == [-25, -24, -23, 22, 23, 24]  # type: ignore[attr-defined]
    names = [int(label.get_text()) for label in plane.get_yticklabels()]
    assert frame["bias"][names].tolist() == [-25, -24, -23, 22, 23, 24]
    assert plane.patches[3].get_y() - plane.patches[2].get_y() == 2  # type: ignore[attr-defined]  # a gap for the rest


def test_few_rows_are_all_drawn_without_a_gap() -> None:
    plane = bias_bars(pd.DataFrame({"film": [1, 2, 3], "bias": [0.1, 0.2, 0.3]}), 3).axes[0]

    assert np.diff([bar.get_y() for bar in plane.patches]).tolist() == [1, 1]  # type: ignore[attr-defined]


def test_any_title_is_drawn_without_a_warning(tmp_path: Path) -> None:
    labels = ["電影 Heat", "Tom &\nJerry\t2", "Cost: 5 $ or $x^2$", "🎬 " * 30, "\x07bell", ""]
    frame = pd.DataFrame({"film": range(6), "title": labels, "bias": np.arange(6) / 10 - 0.2})
    axes = frame.assign(axis_1=[0.0, 1.0, 2.0] * 2, axis_2=np.arange(6.0))

    for figure in (bias_bars(frame, title="".join(labels)), embedding_map(axes, title="".join(labels))):
        figure.savefig(tmp_path / "image.png")


@pytest.mark.parametrize("draw", [embedding_map, bias_bars])
def test_what_is_no_frame_or_an_empty_one_is_refused(draw: Callable[[Any], Figure]) -> None:
    with pytest.raises(BadTypeError, match=f"{draw.__name__}: a frame is needed, got ndarray"):
        draw(np.zeros((3, 3)))
    with pytest.raises(BadValueError, match="the frame has no rows"):
        draw(pd.DataFrame({"bias": [], "axis_1": [], "axis_2": []}))
