"""Errors: one sentence, catchable both ways, whole after a trip between processes."""

import pickle

import pytest

from tabvision.errors import (
    BadTypeError,
    BadValueError,
    MissingColumnsError,
    MissingFileError,
    TabvisionError,
    UnknownNameError,
    closest,
    count,
)

ERRORS = [
    (BadValueError("A", "must be 1, got 2", "Pass 1"), ValueError),
    (BadTypeError("A", "must be a number, got 'x'", "Pass a number"), TypeError),
    (MissingFileError("A", "no file at 'x'", "Pass a path"), FileNotFoundError),
    (UnknownNameError("A", "optimizer", "sdg", ["sgd", "adam"]), ValueError),
    (MissingColumnsError("A", ["age"], ["Age"], "Add it"), ValueError),
]


@pytest.mark.parametrize(("error", "builtin"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_ours_and_the_builtin_that_users_expect(error: TabvisionError, builtin: type[Exception]) -> None:
    assert isinstance(error, TabvisionError)
    assert isinstance(error, builtin)


@pytest.mark.parametrize("error", [error for error, _ in ERRORS], ids=lambda value: type(value).__name__)
def test_an_error_says_the_same_after_pickling(error: TabvisionError) -> None:
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(error).startswith("A: ")
    assert str(error).endswith(".")


def test_close_names_come_first() -> None:
    assert str(UnknownNameError("A", "optimizer", "sdg", ["adam", "sgd"])).endswith("Choices: sgd, adam.")


def test_many_missing_columns_are_counted_and_cut() -> None:
    text = str(MissingColumnsError("A", [f"x{i}" for i in range(20)], ["y"], "Add them"))

    assert "lacks 20 columns" in text
    assert "and 12 more" in text


def test_close_names_differ_in_case_only() -> None:
    assert closest("AGE", ["age", "wage"]) == "age"
    assert closest("zzz", ["age"]) is None


def test_counts_take_the_plural() -> None:
    assert (count(0, "row"), count(1, "row"), count(2, "row")) == ("0 rows", "1 row", "2 rows")
