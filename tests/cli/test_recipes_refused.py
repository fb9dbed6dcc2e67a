"""A recipe given to a command that takes a checkpoint constructs nothing."""

from pathlib import Path

import pytest

from tabvision.cli import main
from tests.made.pairs import make_frame

COMMANDS = {
    "predict": ["rows.csv", "--out", "answers.csv"],
    "calibrate": ["rows.csv", "--out", "new.ckpt"],
    "export": ["--out", "net.onnx"],
    "serve": ["--port", "0"],
    "report": ["rows.csv", "--out", "report.html"],
}


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.ckpt", "recipe.onnx"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe_is_not_read_as_one(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_frame().to_csv("rows.csv", index=False)
    Path(name).write_text(
        "model:\n  class_path: os.mkdir\n  init_args:\n    path: ran\n!!python/object/apply:os.mkdir ['ran']\n"
    )

    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main([command, name, *COMMANDS[command]]))

    assert ended.value.code not in (0, None)
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "rows.csv"])
