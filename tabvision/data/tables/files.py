"""Find the files of a table: one, several, a glob, or a folder of them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard
from urllib.parse import unquote

import pandas as pd

from tabvision.data.tables.delimited import CSV_SUFFIXES
from tabvision.data.tables.text_file import without_compression
from tabvision.errors import BadValueError, MissingFileError, closest

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
PARQUET_SUFFIXES, FEATHER_SUFFIXES = (".parquet", ".pq"), (".feather", ".arrow")
BINARY_SUFFIXES = (*PARQUET_SUFFIXES, *FEATHER_SUFFIXES, ".xlsx")
_SHARD_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", *BINARY_SUFFIXES)
_PARTITION = re.compile(r"([^=]+)=(.*)")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def is_paths(source: object) -> TypeGuard[list[str | Path]]:
    """Return whether a source is a list of paths, rather than of rows."""
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(each, str | Path) for each in source)


def are_tables(source: object) -> TypeGuard[list[str | Path]]:
    """Return whether a source is a list of paths of table files, judging by their suffixes.

    Example:
        >>> are_tables(["a.csv", "b.csv.gz"]), are_tables(["a.jpg"]), are_tables("a.csv")
        (True, False, False)
    """
    known = (*CSV_SUFFIXES, *JSON_SUFFIXES, *BINARY_SUFFIXES)
    return is_paths(source) and all(without_compression(Path(each)).suffix.lower() in known for each in source)


def files_of(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the table files that a path, a glob such as "data/*.csv", a folder or a list of these stands for.

    Raises:
        MissingFileError: There is no such file, or none matches the glob.
        BadValueError: It is a URL, or a folder without table files.
    """
    if not isinstance(source, str | Path):
        return [file for each in source for file in files_of(each)]
    if _URL.match(str(source)):
        raise BadValueError(f"{str(source)!r} is a URL, not a file", "Download it first, then pass its path")
    path = Path(source).expanduser()
    if path.is_dir():
        if not (found := table_files(path) or _partitioned_files(path)):
            raise BadValueError(f"{str(path)!r} is a folder, not a table file", "Pass the path of a file in it")
        return found
    if is_glob(path):
        fitting = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - may be absolute
        if not (found := [file for file in fitting if not file.is_dir()]):
            raise MissingFileError(f"no file matches {str(path)!r}", "Check the folder and the pattern")
        return found
    check_file(path)
    return [path]


def _partitioned_files(folder: Path) -> list[Path]:
    """Return the table files below a folder with Hive's folder names, year=2024/month=1; none if it has others."""
    inner = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "_")))
    if not inner or not all(_PARTITION.fullmatch(each.name) for each in inner):
        return []
    return [file for each in inner for file in (table_files(each) or _partitioned_files(each))]


def partition_of(path: Path) -> dict[str, str]:
    """Return the columns and values in the names of a file's folders.

    Example:
        >>> partition_of(Path("sales/year=2024/shop=a%20b/x.parquet"))
        {'year': '2024', 'shop': 'a b'}
    """
    found = []
    for folder in path.parents:
        if not (match := _PARTITION.fullmatch(folder.name)):
            break
        found.append((match[1], unquote(match[2])))
    return dict(reversed(found))


def is_glob(path: str | Path) -> bool:
    """Return whether a path is a glob pattern, rather than the name of an existing file.

    Example:
        >>> is_glob("data/*.csv"), is_glob("data/a.csv")
        (True, False)
    """
    return glob.has_magic(str(path)) and not Path(path).exists()


def check_file(path: Path) -> None:
    """Raise if there is no such file or folder, with a similar name in the error.

    Raises:
        MissingFileError: It does not exist.
    """
    if path.exists():
        return
    if not path.parent.is_dir():
        raise MissingFileError(f"no file {str(path)!r}: there is no folder {str(path.parent)!r}", "Check the path")
    if path.is_symlink():
        raise MissingFileError(
            f"{str(path)!r} is a link to {str(path.readlink())!r}, which does not exist", "Repair it"
        )
    raise MissingFileError(f"no file {str(path)!r}", similar_path(path))


def similar_path(path: Path) -> str:
    """Return the remedy for a path that does not exist: a similar name in the same folder, if there is one."""
    close = closest(path.name, [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else [])
    return f"Did you mean {str(path.with_name(close))!r}?" if close else "Check the path"


def folder_of(source: object) -> Path | str:
    """Return the folder that contains a table's file, or its folder of files; "" for a pipe or data in memory.

    A frame that was read from a file has the folder in `attrs["folder"]`.
    """
    if is_paths(source):
        return folder_of(source[0])
    if isinstance(source, pd.DataFrame):
        return str(source.attrs.get("folder", ""))
    if not isinstance(source, str | Path):
        return ""
    path = Path(source).expanduser()
    if is_glob(path):
        return files_of(path)[0].parent
    return path.parent if path.is_file() or path.is_dir() else ""


def name_of(source: object) -> str:
    """Return the name of a source without its suffix; for several files that of their folder; "data" if there is none.

    Example:
        >>> name_of("~/a.b.csv.gz"), name_of("sales/*.csv"), name_of("..csv")
        ('a', 'sales', 'csv')
    """
    if is_paths(source):
        source = source[0] if len(source) == 1 else Path(source[0]).parent
    path = Path(str(source)).expanduser()
    if is_glob(path):
        path = Path(str(path)[: re.search(r"[*?\[]", str(path)).start()] + "x").parent  # type: ignore[union-attr]  # it has one
    is_pipe = path.exists() and not (path.is_file() or path.is_dir())
    name = "" if is_pipe else path.resolve().name.lstrip(".").split(".")[0]  # resolve() gives the folder "." a name
    return name or "data"


def table_files(folder: Path) -> list[Path]:
    """Return the table files directly in a folder, sorted by name; none if it also has images or folders.

    Files whose names begin with `_` or `.` are skipped, as metadata of the program that wrote the others.
    """
    found: list[Path] = []
    with os.scandir(folder) as entries:  # stop at the first image, since there may be a million
        for entry in entries:
            if entry.name.startswith((".", "_")):
                continue
            if not entry.is_file() or without_compression(Path(entry.name)).suffix.lower() not in _SHARD_SUFFIXES:
                return []
            found.append(Path(entry.path))
    return sorted(found)
