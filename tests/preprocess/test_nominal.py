"""Whole numbers that name something are found, and numbers that say something by their size are not."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.preprocess import Kinds, infer_kinds
from tabvision.preprocess.nominal import with_nominal

DRAW = np.random.default_rng(0)
ROWS = 600
SUBJECT = DRAW.integers(0, 50, ROWS) * 7 + 1000
SKILL = dict(zip(range(1000, 1350, 7), DRAW.normal(size=50), strict=True))
EFFECT = np.array([SKILL[each] for each in SUBJECT])
NOISE = DRAW.normal(size=(ROWS, 3))
AGE = DRAW.integers(18, 80, ROWS)
FRAME = pd.DataFrame({"subject": SUBJECT, "age": AGE, "size": NOISE[:, 1], "color": list("abc") * 200})


def names(frame: pd.DataFrame, target: Any, **choices: Any) -> tuple[str, ...]:
    return with_nominal(infer_kinds(frame, target=[]), frame, np.asarray(target), **choices).nominal


@pytest.mark.parametrize(
    "target",
    [
        EFFECT + 0.5 * NOISE[:, 0],
        np.stack([NOISE[:, 0], EFFECT], axis=1),
        (EFFECT + 0.5 * NOISE[:, 0] > 0).astype(np.int64),
        np.digitize(EFFECT, np.quantile(EFFECT, np.linspace(0, 1, 15)[1:-1])),
    ],
    ids=["number", "numbers", "two classes", "more classes than are looked at"],
)
def test_a_number_whose_single_values_tell_is_a_name(target: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tabvision"):
        assert names(FRAME, target) == ("subject",)

    assert "'subject': integers that name something" in caplog.text


def test_a_number_that_tells_by_its_size_is_none() -> None:
    curves: list[Any] = [AGE / 20, np.sin(AGE / 15), (AGE > 40) * 2.0, (AGE > 40).astype(np.int64), NOISE[:, 2]]

    for target in curves:
        wavy = target if target.dtype.kind == "i" else target + 0.3 * NOISE[:, 0]
        assert names(FRAME, wavy) == ()


def test_a_number_that_says_what_a_category_says_is_none() -> None:
    frame = FRAME.assign(who=[f"subject {number}" for number in SUBJECT])

    assert names(frame, EFFECT + 0.5 * NOISE[:, 0]) == ()


def test_what_the_user_states_to_be_a_number_is_one() -> None:
    assert names(FRAME, EFFECT, stated=["subject"]) == ()


def test_missing_rows_text_and_dates_beside_it_change_nothing() -> None:
    frame = FRAME.assign(
        subject=FRAME["subject"].astype("Int64").mask(FRAME.index % 9 == 0),
        size=FRAME["size"].mask(FRAME.index % 7 == 0),
        day=pd.Timestamp("2024-01-01") + pd.to_timedelta(FRAME.index, unit="D"),
        empty=pd.Categorical(["x", None] * 300),
    )
    priced = frame.assign(subject=("$" + frame["subject"].astype("string")).fillna(""))

    assert names(frame, EFFECT + 0.5 * NOISE[:, 0]) == ("subject",)
    assert names(priced, EFFECT + 0.5 * NOISE[:, 0]) == ("subject",)


def test_a_number_that_stands_for_its_group_is_none_if_whole_groups_are_held_out() -> None:
    shop = DRAW.integers(0, 30, ROWS)
    target = EFFECT + 1.5 * np.random.default_rng(1).normal(size=30)[shop] + 0.3 * NOISE[:, 0]
    frame = FRAME.assign(card=FRAME["subject"] * 3 + 5, shop=shop)

    assert names(frame, target) == ("subject", "card", "shop")
    assert names(frame, target, group="subject") == ("shop",)


def test_few_rows_and_values_that_hardly_repeat_prove_nothing() -> None:
    once = pd.DataFrame({"subject": DRAW.permutation(10 * ROWS)[:ROWS], "size": NOISE[:, 1]})

    assert names(once, EFFECT) == ()
    assert names(FRAME[:20], EFFECT[:20]) == ()
    assert with_nominal(Kinds(continuous=("subject",)), FRAME[:0], EFFECT[:0]).nominal == ()


def test_a_constant_target_and_a_table_of_many_columns_are_fine() -> None:
    wide = pd.concat([FRAME, pd.DataFrame(DRAW.normal(size=(ROWS, 900))).add_prefix("x")], axis=1)

    assert names(FRAME, np.ones(ROWS)) == ()
    assert names(wide, EFFECT) == ("subject",)
