"""Sentences on columns that hide a mistake: copies of the target, and values that are nearly alike."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.data.leakage import log_leakage, log_similar_labels

Said = Callable[[TabularDataModule], list[str]]


def made_of(frame: pd.DataFrame, target: str = "paid") -> TabularDataModule:
    return TabularDataModule(frame, target, split=None, verbose=False)


@pytest.fixture
def frame() -> pd.DataFrame:
    """Forty people, of whom nothing tells the pay."""
    random = np.random.default_rng(0)
    job, paid = random.choice(["cook", "nurse"], 40), random.choice(["no", "yes"], 40)
    return pd.DataFrame({"job": job, "age": random.normal(size=40), "paid": paid, "pay": random.normal(size=40)})


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """What is logged about leakage."""

    def messages(data: TabularDataModule) -> list[str]:
        log_leakage(data.schema, data.parts["train"])
        return caplog.messages

    return messages


def test_a_renamed_class_is_named_with_what_to_do(frame: pd.DataFrame, said: Said) -> None:
    notes = said(made_of(frame.assign(**{"has paid": frame["paid"].map({"no": "n", "yes": "y"})})))

    (note,) = notes
    assert note.startswith("Note: 'has paid' determines the target in every training row.")
    assert note.endswith("leave it out: ignore=['has paid'] (--ignore 'has paid').")


def test_a_rescaled_number_is_named(frame: pd.DataFrame, said: Said) -> None:
    notes = said(made_of(frame.assign(cents=frame["pay"] * 100 + 7), "pay"))

    assert [note.split()[1] for note in notes] == ["'cents'"]


@pytest.mark.parametrize("target", ["paid", "pay"])
def test_columns_that_tell_something_but_not_all_are_not_named(target: str, frame: pd.DataFrame, said: Said) -> None:
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
