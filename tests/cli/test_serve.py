"""`tabvision serve`: what is typed reaches the server; the server itself is tested in tests/serving."""

from pathlib import Path

import pytest

from tabvision.cli import serve
from tabvision.errors import BadValueError, MissingFileError
from tests.made.commands import run


def test_a_checkpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no checkpoint at"):
        run(serve, tmp_path / "nowhere.ckpt", "--port", 0)


def test_a_wrong_port_is_told() -> None:
    with pytest.raises(BadValueError, match="port must lie in 0 to 65535, got 99999"):
        run(serve, "a.ckpt", "--port", 99999)


@pytest.mark.parametrize("words", [["--max-rows", "0"], ["--port", "x"], ["--max-megabytes", "a"]])
def test_what_is_no_number_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(serve, "a.ckpt", *words)

    assert "tabvision serve: argument" in capsys.readouterr().err
