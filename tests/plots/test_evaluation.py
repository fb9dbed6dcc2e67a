"""Figures of what a model learned show the numbers of their frames, whatever the labels hold."""

import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from tabvision.errors import BadTypeError, BadValueError
from tabvision.plots import confusion_matrix, effects, importance, reliability, residuals, slices, threshold_curves

HOSTILE = ["<script>alert(1)</script>", "العربية", "😀 $x$ \\frac{", "a\nvery long name " * 9]


def confusion_of(classes: list[Any]) -> pd.DataFrame:
    counts = np.random.default_rng(0).integers(0, 9, (len(classes), len(classes)))
    return pd.DataFrame(counts, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


def importances(columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"column": columns, "importance": np.arange(len(columns)) / 3, "std": 0.1})


def effects_of(values: list[Any], answers: list[Any]) -> pd.DataFrame:
    parts = [pd.DataFrame({"x": values, "answer": answer, "mean": 0.5, "low": 0.4, "high": 0.6}) for answer in answers]
    return pd.concat(parts, ignore_index=True)


def reliabilities(rows: int) -> pd.DataFrame:
    confidence = np.linspace(0.1, 0.9, rows)
    return pd.DataFrame({"confidence": confidence, "accuracy": confidence**2, "rows": range(1, rows + 1)})


def residuals_of(names: list[Any], rows: int = 30) -> pd.DataFrame:
    target = np.arange(rows, dtype=float)
    frame = pd.DataFrame({"target": target, "prediction": target * 0.9, "residual": target * 0.1})
    return pd.concat([frame.assign(name=name) for name in names])


def curves(labels: list[Any]) -> pd.DataFrame:
    threshold = np.arange(1, 100) / 100
    frame = pd.DataFrame({"threshold": threshold, "precision": threshold, "recall": 1 - threshold, "f1": 0.5})
    return pd.concat([frame.assign(label=label) for label in labels])


def sliced(values: list[Any]) -> pd.DataFrame:
    frame = pd.DataFrame({"job": values, "rows": 5, "error": 0.5, "low": 0.2, "high": 0.8})
    frame.attrs.update(error="error rate", overall=0.3)
    return frame


def of_names(names: list[Any]) -> list[Figure]:
    """Every figure with these as its labels."""
    return [
        confusion_matrix(confusion_of(names), title=str(names[0])),
        importance(importances(names), title=str(names[0])),
        effects(effects_of(names, names), title=str(names[0])),
        effects(effects_of([1.0, 2.0], names), title=str(names[0])),
        residuals(residuals_of(names), title=str(names[0])),
        threshold_curves(curves(names), title=str(names[0])),
        slices(sliced(names), title=str(names[0])),
    ]


def drawn(figure: Figure) -> str:
    """The figure as SVG."""
    figure.savefig(buffer := io.StringIO(), format="svg")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "names",
    [
        ["one"],
        pytest.param([*HOSTILE, None, 1.5, True, pd.Timestamp("2024-01-31")], marks=pytest.mark.slow),
        pytest.param([f"class {index}" for index in range(40)], marks=pytest.mark.slow),
    ],
)
def test_every_figure_can_be_drawn_with_one_name_many_or_hostile_ones(names: list[Any]) -> None:
    for figure in of_names(names):
        assert len(drawn(figure)) < 400_000
        if None in names:
            figure.savefig(io.BytesIO(), format="png")  # for which letters are looked up in fonts


def test_figures_have_no_background() -> None:
    for figure in of_names(["a", "b"]):
        parts: list[Any] = [figure, *figure.axes]
        assert {to_rgba(part.get_facecolor())[3] for part in parts} == {0}


def test_missing_and_infinite_numbers_leave_gaps() -> None:
    for figure in (
        importance(importances(["a", "b"]).assign(importance=[np.nan, 1], std=np.nan)),
        effects(effects_of([1.0, 2.0], ["a"]).assign(mean=np.nan)),
        reliability(reliabilities(3).assign(accuracy=np.nan)),
        residuals(residuals_of(["a"]).assign(target=np.nan, residual=np.nan)),
        residuals(residuals_of(["a"], rows=1)),
        threshold_curves(curves(["a"]).assign(f1=np.nan)),
        slices(sliced(["a", "b"]).assign(low=-np.inf, high=np.inf)),
        confusion_matrix(confusion_of(["a", "b"]) * np.nan),
    ):
        assert drawn(figure)


def test_of_a_hundred_classes_few_are_named_and_no_cell_is_written() -> None:
    (axes,) = confusion_matrix(confusion_of(list(range(100)))).axes

    assert 20 <= len(axes.get_xticklabels()) <= 40
    assert not axes.texts


def test_fractions_are_written_with_two_digits() -> None:
    frame = pd.DataFrame([[0.875, 0.125], [0.0, 1.0]], ["no", "yes"], ["no", "yes"])

    (axes,) = confusion_matrix(frame).axes

    assert [text.get_text() for text in axes.texts] == ["0.88", "0.12", "0", "1"]


def test_the_most_important_columns_are_drawn_from_the_top() -> None:
    (axes,) = importance(importances(list("abcde")), k=3).axes

    assert [text.get_text() for text in axes.get_yticklabels()] == ["e", "d", "c"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_of_many_answers_those_that_change_most_are_drawn() -> None:
    frame = effects_of([1.0, 2.0], list(range(12)))
    frame["mean"] = [0.0, 1.0] * 12 * frame["answer"]

    (axes,) = effects(frame).axes

    assert [line.get_label() for line in axes.get_lines()] == [str(answer) for answer in range(4, 12)]
    assert axes.get_title() == "the 8 of 12 answers that change most"


def test_categories_of_a_column_stand_side_by_side() -> None:
    (axes,) = effects(effects_of(["cook", None], ["no", "yes"])).axes

    assert [text.get_text() for text in axes.get_xticklabels()] == ["cook", "missing"]


def test_many_rows_are_drawn_by_a_selection() -> None:
    cloud, histogram = residuals(residuals_of(["pay"], rows=50_000)).axes

    assert 2_000 <= len(np.atleast_1d(cloud.get_lines()[0].get_xdata())) <= 4_000
    assert sum(patch.get_height() for patch in histogram.patches) == 50_000  # type: ignore[attr-defined]


def test_six_of_many_labels_have_curves() -> None:
    figure = threshold_curves(curves(list(range(8))))

    assert sum(bool(axes.get_lines()) for axes in figure.axes) == 6
    assert figure.get_suptitle() == "6 of 8 labels"


def test_slices_of_all_columns_are_named_by_column_and_value() -> None:
    frame = sliced(["cook"]).rename(columns={"job": "slice"}).assign(column="job", rows=1_200)
    frame.attrs.update(overall=0.3)

    (axes,) = slices(frame).axes

    assert [text.get_text() for text in axes.get_yticklabels()] == ["job: cook (1,200)"]
    overall = axes.get_lines()[-1]
    assert (overall.get_label(), list(np.atleast_1d(overall.get_xdata()))) == ("all rows", [0.3, 0.3])


@pytest.mark.parametrize(
    "draw", [confusion_matrix, importance, effects, reliability, residuals, threshold_curves, slices]
)
def test_what_is_no_such_frame_is_refused(draw: Callable[[Any], Figure]) -> None:
    with pytest.raises(BadTypeError, match=f"{draw.__name__}: a frame is needed, got ndarray"):
        draw(np.zeros((3, 3)))
    if draw is not confusion_matrix:
        with pytest.raises(BadTypeError, match="the frame lacks '"):
            draw(pd.DataFrame({"a": [1]}))
    with pytest.raises(BadValueError, match="the frame has no rows"):
        draw(FRAMES[draw.__name__].head(0))


FRAMES = {
    "confusion_matrix": confusion_of(["a"]),
    "importance": importances(["a"]),
    "effects": effects_of([1], ["a"]),
    "reliability": reliabilities(1),
    "residuals": residuals_of(["a"]),
    "threshold_curves": curves(["a"]),
    "slices": sliced(["a"]),
}


def test_names_of_classes_below_a_matrix_do_not_overlap() -> None:
    for classes in (
        [f"{each}{'m' * 15}" for each in "abc"],
        [f"{each}{'m' * 25}" for each in "ab"],
        ["no", "yes"],
    ):
        figure = confusion_matrix(confusion_of(classes))
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
