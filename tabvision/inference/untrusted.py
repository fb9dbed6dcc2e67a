"""Checks of a checkpoint's zip archive and of the plain data in it, before anything large is made of either.

torch writes archives whose entries are stored, not compressed. So an honest one holds no more than its own length, and
one that would expand is told by its directory alone.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

from torch import Tensor

from tabvision.errors import BadValueError, TabvisionError
from tabvision.inference.pickled import ASK_FOR_THE_ORIGINAL, check_pickle

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 100
PICKLE = "data.pkl"
PASS_ANOTHER = "Copy the file again, or pass another one"


def plain_archive(content: bytes, name: str, who: str) -> io.BytesIO:
    """The archive, written anew with what was checked and nothing else.

    torch reads archives with a library of its own, which does not look at checksums and may see other entries than Python
    does where an archive was made for that. It gets this copy, in which both see the same.

    Raises:
        BadValueError: Empty, no archive, damaged, one that would expand to more than the file holds, or one whose pickle
            holds more than plain data.
    """
    if not content:
        raise BadValueError(who, f"{name} is empty (0 bytes)", PASS_ANOTHER)
    if not content.startswith(b"PK"):
        raise BadValueError(who, f"{name} is damaged or no checkpoint (no zip archive)", PASS_ANOTHER)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_entries(archive.infolist(), content, name, who)
            return _copied(archive, name, who)
    except TabvisionError:
        raise
    except Exception as error:  # zipfile raises whatever the damaged bytes lead to
        reason = str(error) if "Bad CRC" in str(error) else type(error).__name__
        problem = f"{name} is damaged or no checkpoint ({reason})"
        raise BadValueError(who, problem, PASS_ANOTHER) from error


def _copied(archive: zipfile.ZipFile, name: str, who: str) -> io.BytesIO:
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as written:
        for entry in archive.infolist():
            data = archive.read(entry)  # compares the checksum
            if entry.filename.lower().endswith(PICKLE):
                check_pickle(data, name, who)
            written.writestr(entry.filename, data)
    copy.seek(0)
    return copy


def _check_entries(entries: Sequence[zipfile.ZipInfo], content: bytes, name: str, who: str) -> None:
    stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
    if not stored or len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > len(content):
        problem = f"{name} would expand to more than its {len(content):,} bytes, as no Trainer writes it"
        raise BadValueError(who, problem, ASK_FOR_THE_ORIGINAL)
    names = {entry.filename.lower() for entry in entries}  # torch's library does not tell upper from lower case
    if len(names) < len(entries):
        raise BadValueError(who, f"{name} holds one entry twice, as no Trainer writes it", ASK_FOR_THE_ORIGINAL)


def check_plain(data: object, budget: int, name: str, who: str) -> None:
    """Refuses plain data that is deeper or larger, written out, than a file of that many bytes can honestly hold.

    Lists that hold the same list many times, and those many times again, take a few bytes and never end.

    Raises:
        BadValueError: Too deep, too large, or a tensor that is larger than the file.
    """
    waiting, seen = [(data, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping):
            items = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            items = list(value)
        else:
            _check_tensor(value, budget, name, who)
            continue
        seen += len(items)
        if depth > MAX_DEPTH or seen > budget:
            problem = f"the facts in {name} are nested deeper or hold more than the file itself"
            raise BadValueError(who, problem, ASK_FOR_THE_ORIGINAL)
        waiting += [(item, depth + 1) for item in items if not isinstance(item, str | int | float)]


def _check_tensor(value: object, budget: int, name: str, who: str) -> None:
    if isinstance(value, Tensor) and value.numel() * value.element_size() > budget:
        problem = f"{name} holds a tensor of shape {tuple(value.shape)}, more than the file has bytes"
        raise BadValueError(who, problem, ASK_FOR_THE_ORIGINAL)
