"""Errors: one sentence, catchable both ways, whole after a trip between processes."""

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tabvision.errors import (
    BadTypeError,
    BadValueError,
    MissingColumnsError,
    MissingFileError,
    TabvisionError,
    UnknownNameError,
    UnwritableFileError,
    accepting_who,
    closest,
    count,
    speaking,
)

ERRORS = [
    (BadValueError("must be 1, got 2", "Pass 1"), ValueError),
    (BadTypeError("must be a number, got 'x'", "Pass a number"), TypeError),
    (MissingFileError("no file at 'x'", "Pass a path"), FileNotFoundError),
    (UnwritableFileError("best.ckpt", OSError(28, "No space left on device")), OSError),
    (UnknownNameError("optimizer", "sdg", ["sgd", "adam"]), ValueError),
    (MissingColumnsError(["age"], ["Age"], "Add it"), ValueError),
]


@pytest.mark.parametrize(("error", "builtin"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_ours_and_the_builtin_that_users_expect(error: TabvisionError, builtin: type[Exception]) -> None:
    assert isinstance(error, TabvisionError)
    assert isinstance(error, builtin)


@pytest.mark.parametrize("error", [error for error, _ in ERRORS], ids=lambda value: type(value).__name__)
def test_an_error_says_the_same_after_pickling_and_keeps_its_speaker(error: TabvisionError) -> None:
    spoken = pickle.loads(pickle.dumps(error))
    with pytest.raises(type(error)), speaking("A"):
        raise spoken
    again = pickle.loads(pickle.dumps(spoken))

    assert str(again) == str(spoken) == f"A: {error}"
    assert again.speaker == "A"
    assert repr(again.args) == repr(error.args)
    assert str(error).endswith(".")


@pytest.mark.parametrize("value", ["b" * 10_000, "b " * 5_000, ["b" * 10_000] * 20, "b\n" * 5_000, "/b" * 5_000])
def test_a_long_value_is_cut_and_what_to_do_is_not(value: object) -> None:
    errors = [
        BadValueError(f"must be 1, got {value!r}", "Pass 1"),
        BadValueError(f"must be 1, got {value}", "Pass 1"),
        BadTypeError("Who", f"must be 1, got {value}", "Pass 1"),
        MissingFileError(f"no file {value}", "Pass 1"),
    ]
    for error in errors:
        assert len(str(error)) < 1_600
        assert str(error).endswith(". Pass 1.")
    assert len(str(UnknownNameError("column", value, ["a" * 10_000, "b"]))) < 1_600
    assert len(str(MissingColumnsError([str(value)], ["a"], "Pass 1"))) < 1_600


@pytest.mark.parametrize("control", ["\x1b[31m", "\n", "\r", "\x07", "\x9b", "\u202e", "\u2028", "\udc80"])
def test_a_control_character_is_shown_as_its_escape(control: str) -> None:
    error = BadValueError(f"no column a{control}b", "Pass \N{CJK UNIFIED IDEOGRAPH-8077}")

    assert str(error).isprintable()
    assert control.encode("unicode_escape").decode() in str(error)
    assert str(error).endswith("Pass \N{CJK UNIFIED IDEOGRAPH-8077}.")


def test_a_name_too_long_for_a_file_is_told_by_every_entry(tmp_path: Path) -> None:
    @speaking("Reader")
    def read(path: Path) -> bytes:
        return path.read_bytes()  # `exists` has no error for such a name since Python 3.14

    with pytest.raises(BadValueError, match=r"^Reader: the name '.*a…a*' is too long for a file\. Check the path\.$"):
        read(tmp_path / ("a" * 5_000))


def refuse() -> None:
    raise BadValueError("must be 1, got 2", "Pass 1")


def test_the_outermost_speaker_wins_also_over_a_thread_and_beside_a_kept_name() -> None:
    with (
        pytest.raises(BadValueError, match=r"^Outer: must be 1, got 2\. Pass 1\.$"),
        speaking("Outer"),
        speaking("Inner"),
    ):
        refuse()

    with pytest.raises(BadValueError, match=r"^Data, titles: "), speaking("Data"), speaking("Data, titles", keep=True):
        refuse()

    with ThreadPoolExecutor(1) as pool, pytest.raises(BadValueError, match=r"^Outer: "), speaking("Outer"):
        pool.submit(refuse).result()


def test_a_decorated_method_speaks_as_the_class_of_its_object() -> None:
    class Base:
        @speaking()
        def run(self) -> None:
            refuse()

    class Own(Base):
        pass

    with pytest.raises(BadValueError, match=r"^Own: "):
        Own().run()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BadValueError("A", "must be 1, got 2", "Pass 1"), "A: must be 1, got 2. Pass 1."),
        (MissingFileError("A", "no file at 'x'", "Pass a path"), "A: no file at 'x'. Pass a path."),
        (UnknownNameError("A", "color", "rod", ["red"]), "A: no color named 'rod'. Choices: red."),
        (MissingColumnsError("A", ["b"], ["c"], "Add it"), "A: the frame lacks 1 column: 'b'. Add it."),
    ],
)
def test_an_error_that_is_given_its_speaker_first_keeps_it(error: TabvisionError, sentence: str) -> None:
    with pytest.raises(type(error)), speaking("Outer"):
        raise pickle.loads(pickle.dumps(error))

    assert str(error) == sentence


def test_functions_that_took_who_take_it_for_one_more_version() -> None:
    with (
        pytest.warns(DeprecationWarning, match="`who` will be removed in 0.3"),
        pytest.raises(BadValueError, match=r"^here: "),
    ):
        accepting_who(speaking("refuse")(refuse))(who="here")  # type: ignore[call-arg]


def test_close_names_come_first_and_may_differ_in_case() -> None:
    assert str(UnknownNameError("optimizer", "sdg", ["adam", "sgd"])).endswith("Choices: sgd, adam.")
    assert closest("AGE", ["age", "wage"]) == "age"
    assert closest("age", ["AGE", "wage"]) == "AGE"
    assert closest("zzz", ["age"]) is None
    assert closest("age", (f"column {number}" if number < 100_000 else "age" for number in itertools.count())) is None


def test_many_missing_columns_are_counted_in_the_plural_and_cut() -> None:
    text = str(MissingColumnsError([f"x{i}" for i in range(20)], ["y"], "Add them"))
    assert "lacks 20 columns" in text
    assert "and 12 more" in text
    assert (count(0, "row"), count(1, "row"), count(2, "row")) == ("0 rows", "1 row", "2 rows")
