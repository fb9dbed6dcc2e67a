"""README.md and the guides are executed: their Python and shell blocks, in order, in a folder that looks like a checkout."""

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tabvision.cli import main
from tests.made.ratings import made_ratings, made_titles
from tests.made.sweeps import slow_but

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHECKOUT_FOLDERS = ("datamodules", "models", "benchmarks")  # what a reader in a clone has around them
MAX_SECONDS = 300  # stops a block that hangs; says nothing about speed

PYTHON = {"python"}
SHELL = {"bash", "sh", "shell", "console"}
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^`]*$")
COMMAND = re.compile(r"tabvision [^|&;<>$`\\]*")  # alone in its line
NOT_RUN = re.compile(r"^<!-- not run:(?P<reason>.*)-->$")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line of code, `not_run` the reason why it is left out."""

    language: str
    code: str
    line: int
    not_run: str | None = None


def write_ratings() -> None:
    """Ratings of films, their titles, and pairs to answer."""
    columns = {"who": "user", "stars": "rating"}
    made_ratings().assign(who=lambda table: table["who"] - 99).rename(columns=columns).to_csv(
        "ratings.csv", index=False
    )
    made_titles().to_csv("films.csv", index=False)
    pd.DataFrame({"user": [1, 2, 999], "film": [3, 4, 5]}).to_csv("pairs.csv", index=False)


def write_people() -> None:
    """A table of people, of whom nothing tells the pay, so that fits stop early."""
    paid = np.random.default_rng(0).permutation(["no", "yes"] * 20)
    pd.DataFrame({"age": range(20, 60), "job": ["cook", "nurse"] * 20, "paid": paid}).to_csv("people.csv", index=False)


def write_photos() -> None:
    """A folder of photos, one folder a class."""
    for number in range(8):
        folder = Path("photos", ("cat", "dog")[number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(number)
        Image.fromarray(draw.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")


GUIDES = {
    "docs/ratings.md": write_ratings,
    "docs/tables.md": write_people,
    "docs/images.md": write_photos,
    "docs/staged-training.md": write_photos,
}
ELSEWHERE = (
    "docs/deploy.md",
    "docs/from-fastai.md",
    "docs/lessons/",
    "benchmarks/",
    "models/",
)  # a test, or a tool, of their own
FIRST_HOUR = "docs/first-hour.md"
MAKE_THEIR_DATA = [
    "README.md",
    FIRST_HOUR,
    "docs/interpret.md",
    "docs/large-tables.md",
    "docs/photo-and-table.md",
    "docs/your-own-part.md",
]


@pytest.mark.skipif(not README.exists(), reason="README.md is not written yet")
@pytest.mark.parametrize("name", slow_but(["docs/images.md"], [*MAKE_THEIR_DATA, *GUIDES]))
def test_a_document_runs_as_it_stands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_like_a_checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    if name in GUIDES:
        GUIDES[name]()

    found = find_blocks((ROOT / name).read_text(encoding="utf-8"), name)
    blocks = [block for block in found if block.not_run is None]

    assert blocks
    run_blocks(blocks, name)
    if name == FIRST_HOUR:
        assert told_metrics(name) == pytest.approx(written_metrics(Path("runs/churn/metrics.json")), abs=0.02)


def told_metrics(name: str) -> list[float]:
    """The numbers of the tables of metrics that a document says were printed."""
    rows = re.findall(
        r"^(?:accuracy|auroc|f1|loss) +([\d.]+) +([\d.]+)$", (ROOT / name).read_text(encoding="utf-8"), re.M
    )
    return [float(number) for row in rows for number in row]


def written_metrics(path: Path) -> list[float]:
    """The same numbers as the command wrote them; another processor may stop the training an epoch sooner."""
    parts = json.loads(path.read_text(encoding="utf-8"))["metrics"].values()
    return [metric[key] for part in parts for metric in part.values() for key in ("model", "naive")]


def test_each_document_with_blocks_is_executed_here_or_by_a_test_of_its_own() -> None:
    documents = [
        *ROOT.glob("*.md"),
        *(path for folder in ("docs", "benchmarks", "models") for path in ROOT.glob(f"{folder}/**/*.md")),
    ]
    names = {path.relative_to(ROOT).as_posix() for path in documents if find_blocks(path.read_text(encoding="utf-8"))}

    assert {name for name in names if not name.startswith(ELSEWHERE)} == {*MAKE_THEIR_DATA, *GUIDES}


CLAIM = re.compile(r"\d (?:times|%)|\bin \d[\d.]* m?s\b")  # 1.4 times as fast, 95 %, in 0.45 ms
LINK = re.compile(r"\[([^\]]*)\]\((?:benchmarks/RESULTS|models/[\w/]*)\.md[^)]*\)")


def test_a_claim_in_the_readme_is_the_text_of_a_link_to_its_measured_result() -> None:
    text = README.read_text(encoding="utf-8")
    linked = " ".join(LINK.findall(text))

    assert CLAIM.search(linked)
    assert sorted(CLAIM.findall(text)) == sorted(CLAIM.findall(linked))


def look_like_a_checkout(folder: Path) -> None:
    for name in CHECKOUT_FOLDERS:
        if (ROOT / name).is_dir():
            (folder / name).symlink_to(ROOT / name)


def find_blocks(text: str, document: str = "README") -> list[Block]:
    """The Python and shell blocks of a Markdown text, in order.

    Raises:
        ValueError: A fence is never closed, or a block is left out without a reason.
    """
    found: list[Block] = []
    lines = text.splitlines()
    place, not_run = 0, None
    while place < len(lines):
        line = lines[place]
        place += 1
        if mark := NOT_RUN.match(line.strip()):
            not_run = _reason(mark["reason"], place, document)
        elif fence := FENCE.match(line):
            end = _closing(lines, place, fence["indent"], document)
            if fence["language"] in PYTHON | SHELL:
                code = "\n".join(line.removeprefix(fence["indent"]) for line in lines[place:end])
                found.append(Block(fence["language"], code, place + 1, not_run))
            place, not_run = end + 1, None
        elif line.strip():
            not_run = None  # the comment speaks of the block right after it
    return found


def _reason(text: str, line: int, document: str) -> str:
    if not text.strip():
        raise ValueError(f"{document}, line {line}: a block is left out without a reason. Write <!-- not run: why -->.")
    return text.strip()


def _closing(lines: list[str], start: int, indent: str, document: str) -> int:
    for place in range(start, len(lines)):
        if lines[place].rstrip() == f"{indent}```":
            return place
    raise ValueError(f"{document}, line {start}: the fence is never closed. Close it with ```.")


def run_blocks(blocks: list[Block], document: str = "README") -> None:
    """Runs blocks in the working directory; Python blocks share their names, as one script would."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        if block.language in PYTHON:
            run_python(block, names, document)
        else:
            run_shell(block, document)


def run_python(block: Block, names: dict[str, object], document: str = "README") -> None:
    # tracebacks show the document's own lines; this file's `from __future__` imports are not the reader's
    code = compile("\n" * (block.line - 1) + block.code, document, "exec", dont_inherit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a reader's Python does not turn warnings into errors
        exec(code, names)


def run_shell(block: Block, document: str = "README") -> None:
    script = block.code
    if block.language == "console":  # commands follow a prompt, the rest is what they print
        script = "\n".join(line.removeprefix("$ ") for line in script.splitlines() if line.startswith("$ "))
    for is_command, group in groupby(script.splitlines(), lambda line: COMMAND.fullmatch(line) is not None):
        lines = list(group)
        if is_command:
            run_commands(lines, document)
        else:
            run_bash("\n".join(lines), block.line, document)


def run_commands(lines: Iterable[str], document: str) -> None:
    """Runs lines with one command each in this process: to import the libraries anew takes longer than most commands."""
    for line in lines:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert main(shlex.split(line, comments=True)[1:]) == 0, f"{document}: {line}"


def run_bash(script: str, line: int, document: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MAX_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{document}, line {line}: the block failed.\n{script}\n{done.stdout[-4000:]}"


# The extractor and the runners, held to what they promise.


def test_blocks_come_in_order_with_their_lines() -> None:
    text = "# Title\n```python\na = 1\n\nb = 2\n```\ntext\n```yaml\nkey: 1\n```\n```bash\necho hi\n```\n```\nplain\n```"

    assert find_blocks(text) == [Block("python", "a = 1\n\nb = 2", 3), Block("bash", "echo hi", 12)]


def test_a_block_in_a_list_loses_its_indent() -> None:
    assert find_blocks("- item\n\n  ```python\n  if True:\n      x = 1\n  ```") == [
        Block("python", "if True:\n    x = 1", 4)
    ]


def test_a_comment_leaves_out_the_block_right_after_it_only() -> None:
    text = "<!-- not run: needs the network -->\n\n```bash\ncurl\n```\n```bash\ntrue\n```\n"

    assert [block.not_run for block in find_blocks(text)] == ["needs the network", None]


def test_a_comment_followed_by_text_leaves_out_nothing() -> None:
    assert find_blocks("<!-- not run: old -->\ntext\n```bash\ntrue\n```")[0].not_run is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<!-- not run: -->\n```bash\ntrue\n```", "line 1: a block is left out without a reason"),
        ("text\n```python\na = 1", "line 2: the fence is never closed"),
    ],
)
def test_a_malformed_readme_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        find_blocks(text)


def test_blocks_share_names_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run_blocks(
        [
            Block("python", "a = 1", 1),
            Block("python", "from pathlib import Path\nPath('made').write_text(str(a + 1))", 2),
            Block("console", "$ test -f made\noutput, not a command\n$ cp made copied", 3),
        ]
    )

    assert (tmp_path / "copied").read_text() == "2"


@pytest.mark.parametrize("script", ["false\ntrue", "echo $UNSET_NAME", "false | true"])
def test_a_failing_shell_block_fails(script: str) -> None:
    with pytest.raises(AssertionError, match="README, line 7: the block failed"):
        run_shell(Block("bash", script, 7))


@pytest.mark.parametrize(
    "script", ["true\ntabvision predict none.ckpt rows.csv --out a.csv  # why", "tabvision predict none.ckpt | cat"]
)
def test_a_failing_command_fails_in_this_process_and_in_a_shell(script: str) -> None:
    with pytest.raises(AssertionError, match=r"README.*\n?.*tabvision predict none.ckpt"):
        run_shell(Block("bash", script, 7))


def test_a_failing_python_block_names_its_line_in_the_readme() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(Block("python", "x = 1\n1 / 0", 40), {})

    assert caught.traceback[-1].lineno == 40  # counted from zero: line 41


def test_shell_blocks_use_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run_shell(Block("sh", "command -v python > found", 1))

    assert Path((tmp_path / "found").read_text().strip()).parent == Path(sys.executable).parent
