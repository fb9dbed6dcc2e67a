"""`tabvision lr-find`: where a drawing can be written is asked before anything is opened."""

from pathlib import Path

import pytest

from tabvision.cli import main
from tests.cli.test_run import interrupted
from tests.made.tables import people


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


SLOW = """
import time
from pathlib import Path

from tabvision.modules import TabularModule


class Slow(TabularModule):
    def training_step(self, *arguments):
        Path("started").touch()
        time.sleep(0.2)
        return super().training_step(*arguments)
"""


@pytest.mark.usefixtures("run")
def test_ctrl_c_in_the_midst_of_a_sweep_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    recipe = Path("runs/people/recipe.yaml").read_text(encoding="utf-8")
    Path("slow.yaml").write_text(recipe.replace("tabvision.modules.TabularModule", "slow.Slow"), encoding="utf-8")
    Path("slow.py").write_text(SLOW, encoding="utf-8")

    status, error = interrupted("lr-find", "--config", "slow.yaml", until="started")

    assert (status, error) == (130, "tabvision: stopped; no network was saved yet")
