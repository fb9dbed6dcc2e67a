"""`tabvision export`, as a user types it."""

from pathlib import Path

import pytest

from tabvision.cli import export
from tabvision.errors import BadValueError
from tabvision.inference import OnnxPredictor
from tests.made.commands import run
from tests.made.trained import raw, trained


def test_a_file_is_written_and_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(export, trained("binary")[0], "--out", tmp_path / "model.onnx")

    assert len(OnnxPredictor(tmp_path / "model.onnx").predict(raw())) == 40
    out = capsys.readouterr().out
    assert "bytes written, its predictions differ from the checkpoint's by" in out
    assert "OnnxPredictor(" in out


def test_a_file_that_is_there_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_text("mine")

    with pytest.raises(BadValueError, match="is a file already"):
        run(export, trained("binary")[0], "--out", tmp_path / "model.pt2")

    run(export, trained("binary")[0], "--out", tmp_path / "model.pt2", "--overwrite")
    assert (tmp_path / "model.pt2").stat().st_size > 1_000
