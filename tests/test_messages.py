"""What each room of the library says when it refuses, word by word: the tables are `messages.txt` in the rooms of tests.

A table begins with its imports. Then each call stands above the error that it ends in.
"""

import re
from pathlib import Path
from typing import Any

import pytest

TABLES = sorted(Path(__file__).parent.rglob("messages.txt"))
SPEAKER = re.compile(r"\w+: \w[\w, ]*: \S")  # BadValueError: OneCycle: div must ...


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.parent.name))
def test_what_is_refused_is_told_in_these_words(table: Path, subtests: pytest.Subtests) -> None:
    imports, calls, errors = read(table.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    exec(imports, names)

    for call, error in zip(calls, errors, strict=True):
        with subtests.test(call):
            assert told(call, names) == error
            assert SPEAKER.match(error), "who speaks is not told"
            assert error.endswith(".")


def read(table: str) -> tuple[str, list[str], list[str]]:
    """The imports of a table, its calls and their errors."""
    imports, _, rest = table.partition("\n\n")
    lines = [line for line in rest.splitlines() if line]
    errors = [line.strip() for line in lines if line.startswith("    ")]
    return imports, [line for line in lines if not line.startswith("    ")], errors


def told(call: str, names: dict[str, Any]) -> str:
    """The error that a call ends in, as Python prints it."""
    try:
        eval(call, names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def test_another_word_is_seen() -> None:
    assert told("int('a')", {}) == "ValueError: invalid literal for int() with base 10: 'a'"
    assert told("int('1')", {}) == "nothing was refused"
