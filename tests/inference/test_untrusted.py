"""Archives and nested facts that would grow are told before they do."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
import torch

from tabvision.errors import BadValueError
from tabvision.inference.untrusted import check_plain, plain_archive
from tests.inference.trained import trained


def zipped(content: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("archive/data.pkl", content)
    return file.getvalue()


def test_what_a_trainer_wrote_is_taken() -> None:
    content = trained("binary")[0].read_bytes()

    copy = torch.load(plain_archive(content, "it"), weights_only=True)

    original = torch.load(io.BytesIO(content), weights_only=True)
    assert repr(copy) == repr(original)


def test_a_compressed_archive_is_not_unpacked() -> None:
    bomb = zipped(bytes(50_000_000), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000

    with pytest.raises(BadValueError, match=r"it would expand to more than its \d\d,\d{3} bytes, as no Trainer"):
        plain_archive(bomb, "it")


def test_a_directory_that_names_one_content_many_times_is_refused() -> None:
    content = bytearray(zipped(bytes(1_000)))
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start:end]
    tail = bytearray(content[end:])
    tail[8:12] = (50).to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) * 50).to_bytes(4, "little")

    with pytest.raises(BadValueError, match="would expand to more than its"):
        plain_archive(bytes(content[:start] + entry * 50 + tail), "it")


def test_a_wrong_checksum_is_told() -> None:
    content = zipped(b"A" * 1_000).replace(b"AAAA", b"AABA", 1)

    with pytest.raises(
        BadValueError, match=r"it is damaged or not a checkpoint \(Bad CRC-32 for file 'archive/data.pkl'\)"
    ):
        plain_archive(content, "it")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b"\x80\x02}q\x00.", "no zip"), (b"PK\x03\x04", "damaged")]
)
def test_what_is_no_archive_is_told(content: bytes, problem: str) -> None:
    with pytest.raises(BadValueError, match=problem):
        plain_archive(content, "it")


@pytest.mark.parametrize("second", ["archive/data.pkl", "archive/DATA.PKL"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(second: str) -> None:
    """Which of the two torch reads is up to a library that does not tell upper from lower case."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02].")
        archive.writestr(second, b"\x80\x02}.")

    with pytest.raises(BadValueError, match="it holds one entry twice, as no Trainer writes it"):
        plain_archive(file.getvalue(), "it")


def test_only_what_was_checked_is_read_of_two_archives_in_one_file() -> None:
    """Python reads the second, with shifted places; another library may take the places as they stand, in the first."""
    evil, good = zipped(b"\x80\x02cos\nsystem\n."), zipped(b"\x80\x02}q\x00.\x00\x00\x00")

    copy = plain_archive(evil + good, "it").getvalue()

    assert b"system" not in copy
    assert zipfile.ZipFile(io.BytesIO(copy)).read("archive/data.pkl") == b"\x80\x02}q\x00.\x00\x00\x00"


def test_ordinary_facts_are_taken() -> None:
    check_plain({"a": [1, 2, {"b": (True, None, "text")}], "w": torch.zeros(3)}, 1_000, "it")


def laughing() -> Any:
    """Ten lists of the same ten lists of the same … : a few hundred bytes, 10**12 values written out."""
    found: Any = "ha"
    for _ in range(12):
        found = [found] * 10
    return found


def itself() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> Any:
    found: Any = 1
    for _ in range(150):
        found = {"a": found}
    return found


@pytest.mark.parametrize("make", [laughing, itself, deep])
def test_facts_without_end_are_refused(make: Any) -> None:
    with pytest.raises(BadValueError, match=r"are nested deeper or hold more than the file itself. Do not use it"):
        check_plain({"hyper_parameters": make()}, 1_000, "it")


def test_a_tensor_larger_than_its_file_is_refused() -> None:
    wide = torch.zeros(1).expand(10**12)  # one number, shown a great many times

    with pytest.raises(BadValueError, match=r"it holds a tensor of shape \(1000000000000,\), more than the file has"):
        check_plain({"state_dict": {"w": wide}}, 1_000, "it")
