"""Text that can be read only once: a pipe is a file like others."""

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tabvision.data.tables.read import read_frame
from tabvision.errors import BadValueError


def piped(tmp_path: Path, name: str, content: bytes) -> Path:
    """A named pipe into which another thread writes."""
    os.mkfifo(tmp_path / name)
    threading.Thread(target=lambda: (tmp_path / name).write_bytes(content), daemon=True).start()
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows", b"a,b\n1,\n2,x\n"),
        ("rows.tsv", b"a\tb\n1\t\n2\tx\n"),
        ("rows.csv.gz", gzip.compress(b"a,b\n1,\n2,x\n", mtime=0)),
        ("rows.jsonl", b'{"a": 1}\n{"a": 2, "b": "x"}\n'),
    ],
)
def test_a_named_pipe_is_read(name: str, content: bytes, tmp_path: Path) -> None:
    frame = read_frame(piped(tmp_path, name, content))

    assert frame["a"].tolist() == [1, 2]
    assert frame["b"].fillna("-").tolist() == ["-", "x"]


def test_a_short_row_of_a_pipe_is_found(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"line 3 of '.*rows' has 1 field"):
        read_frame(piped(tmp_path, "rows", b"a,b\n1,2\n3\n"))


def test_utf_16_without_a_byte_order_mark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,b\n1,2\n".encode("utf-16-le"))

    with pytest.raises(BadValueError, match="is not UTF-16"):
        read_frame(tmp_path / "a.csv", encoding="utf-16")
    assert read_frame(tmp_path / "a.csv", encoding="utf-16-le").to_dict("list") == {"a": [1], "b": [2]}


def test_standard_input_is_read() -> None:
    code = "from tabvision.data.tables.read import read_frame; print(read_frame('/dev/stdin').shape)"

    done = subprocess.run([sys.executable, "-c", code], input=b"a,b\n1,2\n,3\n", capture_output=True, check=True)

    assert done.stdout == b"(2, 2)\n"
