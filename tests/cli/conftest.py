"""A working directory with a table in it, and a run on that table."""

from pathlib import Path

import pytest

from tests.made.tables import people
from tests.made.trained import copy_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table of people in it."""
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Path:
    """A finished run on that table, in the working directory."""
    return copy_run(folder)
