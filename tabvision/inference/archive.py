"""Checks of a checkpoint's zip archive and of the plain data in it, before anything large is made of either.

torch writes archives whose entries are stored, not compressed. So an honest one holds no more than its own length, and
one that would expand is told by its directory alone.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

from torch import Tensor

from tabvision.errors import BadValueError

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 100
PASS_ANOTHER = "Copy the file again, or pass another one"


def check_archive(content: bytes, name: str, who: str) -> None:
    """Refuses what is no zip archive as torch writes it.

    Raises:
        BadValueError: Empty, no archive, damaged, or one that would expand to more than the file holds.
    """
    if not content:
        raise BadValueError(who, f"{name} is empty (0 bytes)", PASS_ANOTHER)
    if not content.startswith(b"PK"):
        raise BadValueError(who, f"{name} is damaged or no checkpoint (no zip archive)", PASS_ANOTHER)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _check_entries(entries, content, name, who)
            damaged = archive.testzip()  # torch itself does not look at the checksums
    except BadValueError:
        raise
    except Exception as error:  # zipfile raises whatever the damaged bytes lead to
        problem = f"{name} is damaged or no checkpoint ({type(error).__name__})"
        raise BadValueError(who, problem, PASS_ANOTHER) from error
    if damaged is not None:
        raise BadValueError(who, f"{name} is damaged (the checksum of {damaged!r} is wrong)", PASS_ANOTHER)


def _check_entries(entries: Sequence[zipfile.ZipInfo], content: bytes, name: str, who: str) -> None:
    stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
    if not stored or len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > len(content):
        problem = f"{name} would expand to more than its {len(content):,} bytes, as no Trainer writes it"
        raise BadValueError(who, problem, "Do not use it; ask for the original checkpoint")


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
            raise BadValueError(who, problem, "Do not use it; ask for the original checkpoint")
        waiting += [(item, depth + 1) for item in items if not isinstance(item, str | int | float)]


def _check_tensor(value: object, budget: int, name: str, who: str) -> None:
    if isinstance(value, Tensor) and value.numel() * value.element_size() > budget:
        problem = f"{name} holds a tensor of shape {tuple(value.shape)}, more than the file has bytes"
        raise BadValueError(who, problem, "Do not use it; ask for the original checkpoint")
