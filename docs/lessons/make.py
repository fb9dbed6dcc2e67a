"""Run the lessons: write what their blocks print below them, draw their pictures, or write them as notebooks.

    python docs/lessons/make.py                     every lesson; `make lessons` does the same
    python docs/lessons/make.py 03 04               those whose names begin with these
    python docs/lessons/make.py --notebooks FOLDER  .ipynb files with one cell for each block

A lesson is Markdown: a ```python block is a cell, a ```text block right below it is what that cell printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).resolve().parent
CELL = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def lessons() -> list[Path]:
    """Return the lessons in order."""
    return sorted(FOLDER.glob("[0-9]*.md"))


def run(text: str, name: str = "lesson") -> str:
    """Run the cells of a lesson in the working directory, and return the lesson with what each cell printed."""
    names: dict[str, object] = {"__name__": "__main__"}

    def executed(cell: re.Match[str]) -> str:
        line = text.count("\n", 0, cell.start("code"))
        printed = io.StringIO()
        with redirect_stdout(printed):
            # tracebacks show the lesson's own lines; this file's `from __future__` imports are not the reader's
            exec(compile("\n" * line + cell["code"], name, "exec", dont_inherit=True), names)
        output = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
        return f"```python\n{cell['code']}```\n" + (f"\n```text\n{output}\n```\n" if output else "")

    return CELL.sub(executed, text)


def notebook(text: str) -> dict[str, Any]:
    """Return the lesson as a notebook without outputs, which appear when a reader runs it."""
    cells: list[dict[str, Any]] = []
    start = 0
    for cell in CELL.finditer(text):
        cells += [_cell("markdown", text[start : cell.start()]), _cell("code", cell["code"])]
        start = cell.end()
    cells.append(_cell("markdown", text[start:]))
    cells = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells) if cell["source"]]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str) -> dict[str, Any]:
    of_code: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source.strip(), **of_code}


def main() -> None:
    """Run the chosen lessons, or write them as notebooks."""
    parser = argparse.ArgumentParser(description="Run the lessons, or write them as notebooks.")
    parser.add_argument("names", nargs="*", help="beginnings of the names of lessons; all by default")
    parser.add_argument("--notebooks", type=Path, metavar="FOLDER", help="write notebooks there, and run nothing")
    arguments = parser.parse_args()
    chosen = [path for path in lessons() if not arguments.names or path.name.startswith(tuple(arguments.names))]
    if arguments.notebooks:
        (arguments.notebooks / "pictures").mkdir(parents=True, exist_ok=True)  # where their cells write
        for path in chosen:
            target = arguments.notebooks / f"{path.stem}.ipynb"
            target.write_text(json.dumps(notebook(path.read_text(encoding="utf-8")), indent=1), encoding="utf-8")
        return
    for path in chosen:
        with TemporaryDirectory() as folder:  # for what a lesson writes besides its pictures
            Path(folder, "pictures").symlink_to(FOLDER / "pictures")
            os.chdir(folder)
            path.write_text(run(path.read_text(encoding="utf-8"), path.name), encoding="utf-8")
            os.chdir(FOLDER)


if __name__ == "__main__":
    main()
