"""Notes are printed once, by rank zero, and only where the user has no handler that shows them."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

from tabvision.logs import notes_at

LOGGER = logging.getLogger("tabvision")


@pytest.fixture(params=["tabvision", None])
def console(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    """A logger with a handler of the user's that writes to the console."""
    logger, handler = logging.getLogger(request.param), logging.StreamHandler(sys.__stderr__)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_note_is_printed_as_a_plain_sentence_and_a_detail_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.info("3 rows without a target left out.")
    assert capsys.readouterr().out == "3 rows without a target left out.\n"

    LOGGER.debug("a detail")
    assert not capsys.readouterr().out


def test_a_note_is_cut_where_a_name_is_long_and_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.info("'%s' is constant.\nand \x1b[31mred", "n" * 3_000)

    first, second = capsys.readouterr().out.splitlines()
    assert (len(first) < 250, second) == (True, r"and \x1b[31mred")


def test_quiet_code_keeps_its_notes_but_not_its_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with notes_at(verbose=False):
        LOGGER.info("kept back")
        with notes_at(verbose=True):
            LOGGER.info("kept back as well: what is outside decides")
        LOGGER.warning("shown")
    with notes_at(verbose=True):
        LOGGER.info("shown again")

    assert capsys.readouterr().out == "shown\nshown again\n"


def test_an_error_inside_a_silent_block_ends_the_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), notes_at(verbose=False):
        _ = 1 / 0
    LOGGER.info("heard")

    assert capsys.readouterr().out == "heard\n"


@pytest.mark.usefixtures("console")
def test_nothing_is_said_twice_where_the_user_has_a_handler(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.info("once, by the user's own handler")

    assert not capsys.readouterr().out


def test_a_file_of_the_user_gets_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.FileHandler(tmp_path / "log.txt")
    LOGGER.addHandler(handler)
    try:
        LOGGER.info("in both")
    finally:
        LOGGER.removeHandler(handler)
        handler.close()

    assert capsys.readouterr().out == (tmp_path / "log.txt").read_text() == "in both\n"


def test_only_rank_zero_speaks_as_lightning_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    LOGGER.info("from rank one")
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    LOGGER.info("from rank zero")

    assert capsys.readouterr().out == "from rank zero\n"


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_only_rank_zero_speaks_as_the_launcher_counts(variable: str) -> None:
    code = """
import sys, logging, tabvision.logs
assert not {"torch", "pytorch_lightning"} & set(sys.modules)
logging.getLogger("tabvision").info("heard")
"""
    for rank, expected in (("0", "heard\n"), ("1", "")):
        environment = {**os.environ, variable: rank}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == expected


def test_a_level_that_the_user_has_set_stays() -> None:
    code = """
import logging
logging.getLogger("tabvision").setLevel(logging.WARNING)
import tabvision.logs
logging.getLogger("tabvision").info("not asked for")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not done.stdout


def test_letters_that_the_output_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252", write_through=True))

    LOGGER.info("a column 職業, a band ä.")

    assert written.getvalue().decode("cp1252").rstrip() == "a column \\u8077\\u696d, a band ä."
