"""Sentences on columns that hide a mistake: copies of the target, and values that are nearly alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.data.leakage import leakage_notes, log_similar_labels


def made_of(frame: pd.DataFrame, target: str = "paid") -> TabularDataModule:
    return TabularDataModule(frame, target, split=None, verbose=False)


@pytest.fixture
def frame() -> pd.DataFrame:
    """Forty people, of whom nothing tells the pay."""
    random = np.random.default_rng(0)
    job, paid = random.choice(["cook", "nurse"], 40), random.choice(["no", "yes"], 40)
    return pd.DataFrame({"job": job, "age": random.normal(size=40), "paid": paid, "pay": random.normal(size=40)})


def said(data: TabularDataModule) -> list[str]:
    return leakage_notes(data.schema, data.parts["train"])


def test_a_renamed_class_is_named_with_what_to_do(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    renamed = frame.assign(**{"has paid": frame["paid"].map({"no": "n", "yes": "y"})})

    (note,) = said(made_of(renamed))

    assert note.startswith("'has paid' determines the target in every training row.")
    assert note.endswith("leave it out: ignore=['has paid'] (--ignore 'has paid').")
    assert f"Note: {note}" not in caplog.messages
    TabularDataModule(renamed, "paid", split=None)
    assert f"Note: {note}" in caplog.messages


def test_a_rescaled_number_is_named(frame: pd.DataFrame) -> None:
    notes = said(made_of(frame.assign(cents=frame["pay"] * 100 + 7), "pay"))

    assert [note.split()[0] for note in notes] == ["'cents'"]


@pytest.mark.parametrize("target", ["paid", "pay"])
def test_columns_that_tell_something_but_not_all_are_not_named(target: str, frame: pd.DataFrame) -> None:
    noisy = frame.assign(cents=frame["pay"] + 0.01 * frame["age"], often=frame["paid"])
    noisy.loc[0, "often"] = "no" if noisy.loc[0, "often"] == "yes" else "yes"

    assert said(made_of(noisy, target)) == []


def test_classes_and_categories_that_are_nearly_alike_are_named(
    frame: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    frame.loc[::4, "paid"] = "yes "
    frame.loc[::5, "job"] = "Cook"

    log_similar_labels(made_of(frame).schema)

    assert caplog.messages == [
        "Note: 'yes' and 'yes ' of 'paid' differ only in spaces or letter case, and count as two.",
        "Note: 'Cook' and 'cook' of 'job' differ only in spaces or letter case, and count as two.",
    ]


def test_values_that_differ_and_numbers_are_not_named(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    log_similar_labels(made_of(frame.assign(floor=np.arange(40) % 5)).schema)

    assert not caplog.messages


def test_the_notes_are_printed(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    frame.loc[::4, "paid"] = "yes "

    TabularDataModule(frame, "paid", split=None)

    assert "of 'paid' differ only in spaces" in capsys.readouterr().out


def shop(rows: int = 600) -> pd.DataFrame:
    """Shoppers of whom three numbers, a kind and a date tell something of what they spend and whether they come again."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame(random.normal(size=(rows, 3)), columns=["age", "size", "visits"])
    frame["kind"] = random.choice(list("wxyz"), rows)
    frame["since"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, rows), unit="D")
    frame["spent"] = np.exp(frame["age"] + random.normal(0, 0.2, rows))
    return frame.assign(again=np.where(frame["size"] + random.normal(0, 0.2, rows) > 0, "yes", "no"))


@pytest.mark.parametrize(
    ("target", "leak"),
    [
        ("spent", lambda frame, _: np.log(frame["spent"])),
        ("spent", lambda frame, _: frame["spent"].round(2)),
        ("spent", lambda frame, random: frame["spent"] * random.normal(1, 0.005, len(frame))),
        ("again", lambda frame, random: (frame["again"] == "yes") * 5 + random.normal(0, 0.1, len(frame))),
        ("again", lambda frame, random: frame["again"] + random.integers(0, 8, len(frame)).astype(str)),
        ("again", lambda frame, random: pd.Timestamp("2023-01-01") + pd.to_timedelta(
            (frame["again"] == "yes") * 400 + random.integers(0, 300, len(frame)), unit="D")),
    ],
)  # fmt: skip
def test_a_column_that_nearly_gives_the_target_by_any_curve_is_named(
    target: str, leak: Callable[[pd.DataFrame, np.random.Generator], Any]
) -> None:
    frame = shop()
    assert said(made_of(frame, target)) == []

    (note,) = said(made_of(frame.assign(leak=leak(frame, np.random.default_rng(1))), target))

    assert note.startswith("'leak' alone nearly gives the target.")
    assert note.endswith("leave it out: ignore=['leak'] (--ignore leak).")


def test_a_column_that_rises_with_the_rows_or_names_each_row_is_no_hint() -> None:
    walk = np.random.default_rng(0).normal(size=2_000).cumsum()
    kind = np.repeat(["a", "b"], 1_000)
    frame = pd.DataFrame({"hour": np.arange(2_000) * 1.5, "name": [f"n{it % 1_900}" for it in range(2_000)]})

    assert said(made_of(frame.assign(walk=walk), "walk")) == []
    assert said(made_of(frame.assign(kind=kind), "kind")) == []


def bikes(rows: int = 300) -> pd.DataFrame:
    """Rides of which the count is that of casual and registered riders together."""
    random = np.random.default_rng(3)
    casual, registered = random.poisson(np.exp(random.normal([[3], [5]], 1, (2, rows))))
    frame = pd.DataFrame({"temperature": random.normal(size=rows), "casual": casual, "registered": registered})
    return frame.assign(id=np.arange(rows) + 1e9, count=casual + registered)


def test_columns_that_add_up_to_the_target_are_named() -> None:
    (note,) = said(made_of(bikes(), "count"))

    assert note.startswith("'casual' + 'registered' add up to the target in nearly every training row.")
    assert note.endswith("leave out what is not: ignore=['casual'] (--ignore casual).")


def test_three_columns_with_signs_are_named_even_if_a_row_in_two_hundred_is_wrong() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).lognormal(3, 1, (600, 5)).round(2), columns=list("abcde"))
    frame["profit"] = (frame["a"] - frame["b"] - frame["d"]).round(2)
    frame.loc[[5, 300, 599], "profit"] += 50

    (note,) = said(made_of(frame, "profit"))

    assert note.startswith("'a' - 'b' - 'd' add up to the target")


def test_a_sum_is_found_with_missing_parts_and_among_many_columns() -> None:
    frame = pd.concat([bikes(), pd.DataFrame(np.random.default_rng(1).normal(size=(300, 400))).add_prefix("x")], axis=1)
    frame.loc[:1, "casual"] = np.nan

    assert len(said(made_of(frame, "count"))) == 1


@pytest.mark.parametrize("copy", [{"pay": 1.0}, {"pay": -1.0}])
def test_a_column_that_is_nearly_the_target_is_named(copy: dict[str, float]) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 3)), columns=["age", "size", "pay"])
    frame["copied"] = frame["pay"] * copy["pay"]
    frame.loc[:2, "copied"] = 7.0

    assert said(made_of(frame, "pay"))[0].startswith(f"{'- ' if copy['pay'] < 0 else ''}'copied' is the target")


def test_a_category_that_nearly_renames_the_classes_is_named() -> None:
    paid = np.random.default_rng(0).choice(["no", "yes"], 400)
    frame = pd.DataFrame({"paid": paid, "sent": np.where(paid == "yes", "y", "n"), "age": np.arange(400.0) % 17})
    frame.loc[0, "sent"] = {"y": "n", "n": "y"}[str(frame.loc[0, "sent"])]

    assert "'sent' determines the target in nearly every training row" in said(made_of(frame))[0]


def random_table(seed: int) -> pd.DataFrame:
    """Numbers, counts or mostly zeros, of which no column has to do with another; `y` is one of them."""
    random = np.random.default_rng(seed)
    rows, columns = int(random.integers(3, 400)), int(random.integers(2, 60))
    shape, kind = (rows, columns), seed % 4
    if kind == 0:
        values = random.normal(size=shape)
    elif kind == 1:
        values = random.poisson(random.choice([0.05, 1.0, 30.0]), shape).astype(float)
    elif kind == 2:
        values = random.integers(0, 2, shape).astype(float)
    else:
        values = np.exp(random.normal(0, 3, shape)).round(1) * (random.random(shape) < 0.1)
    values[0, -1] += 5  # the target varies
    return pd.DataFrame(values, columns=[f"x{column}" for column in range(columns - 1)] + ["y"])


def no_alarms(seeds: range) -> None:
    for seed in seeds:
        frame = random_table(seed)
        names = [name for name in frame if name != "y"]
        data = TabularDataModule(frame, "y", task="regression", continuous=names, split=None, verbose=False)
        assert leakage_notes(data.schema, data.parts["train"]) == [], seed


@pytest.mark.slow
def test_tables_of_random_numbers_give_no_false_alarm() -> None:
    no_alarms(range(48))


@pytest.mark.parametrize("rows", [2, 3, 30])
def test_a_target_of_two_values_and_a_single_column_are_no_leak(rows: int) -> None:
    frame = pd.DataFrame({"x": np.arange(float(rows)) ** 2, "y": [4.0] * (rows - 1) + [5.0]})

    assert said(TabularDataModule(frame, "y", task="regression", continuous=["x"], split=None, verbose=False)) == []
