"""`tabvision lr-find`: where a drawing can be written is asked before anything is opened."""

from pathlib import Path

import pytest

from tabvision.cli import main


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("curve.xyz", "the name must end in .png or .svg or .pdf, got 'curve.xyz'. Choose another name."),
        ("gone/curve.png", "there is no folder 'gone' to write to. Create it first."),
        ("there.svg", "'there.svg' is a file already. Choose another name, or overwrite it"),
    ],
)
def test_a_place_where_nothing_can_be_drawn_is_refused(
    path: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.svg").write_text("kept")

    assert main(["lr-find", "--config", "none.yaml", "--plot", path]) == 2

    assert f"tabvision lr-find: {sentence}" in capsys.readouterr().err
    assert Path("there.svg").read_text() == "kept"


def test_a_drawing_that_may_be_overwritten_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.svg").write_text("old")

    assert main(["lr-find", "--config", "none.yaml", "--plot", "there.svg", "--overwrite"]) == 2

    assert "none.yaml" in capsys.readouterr().err
