"""The sentences for everyone, word for word, of a good model, of one that is no better than a guess, and of a single row."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tabvision.inference import Results
from tabvision.report import summarize
from tests.made.results import results_of

GOLDEN = Path(__file__).with_name("golden")
KINDS = {"numbers": ["regression", "several", "points"], "classes": ["binary", "hundred"], "labels": ["multilabel"]}


def useless(results: Results) -> Results:
    """The same answer to every row."""
    return dataclasses.replace(results, predictions=np.repeat(results.predictions[:1], len(results), axis=0))


@pytest.mark.parametrize("name", KINDS)
def test_the_sentence_is_the_golden_one(name: str) -> None:
    made = [
        each
        for results in map(results_of, KINDS[name])
        for each in (results, useless(results), results.take(np.array([1])))
    ]

    lines = [summarize(each)["answer"] for each in made]

    assert lines == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines()
