"""Words of the command line as values, or a sentence of what they must be."""

import argparse
from collections.abc import Callable

import pytest

from tabvision.cli.arguments import fraction, names, seed, size, whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age", ["age"]),
        ("age, job,", ["age", "job"]),
        ('"last, first",age', ["last, first", "age"]),
        ('" age",job', [" age", "job"]),
        ("", []),
    ],
)
def test_names_are_parted_by_commas_outside_quotes(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (names, "a\rb", "must be column names such as a,b, got 'a"),
        (whole, "0", "must be a whole number from 1, got '0'"),
        (whole, "two", "must be a whole number from 1, got 'two'"),
        (seed, "-3", "must be a whole number from 0 to 4294967295, got '-3'"),
        (seed, "4294967296", "must be a whole number from 0 to 4294967295"),
        (fraction, "1", r"must be a fraction in \(0, 1\), got '1'"),
        (fraction, "nan", r"must be a fraction in \(0, 1\), got 'nan'"),
        (fraction, "half", r"must be a fraction in \(0, 1\), got 'half'"),
        (size, "0x3", "must be pixels such as 224 or 192x256, got '0x3'"),
        (size, "1x2x3", "must be pixels"),
        (size, "big", "must be pixels"),
    ],
)
def test_a_word_that_means_nothing_is_a_sentence(read: Callable[[str], object], text: str, sentence: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=sentence):
        read(text)
