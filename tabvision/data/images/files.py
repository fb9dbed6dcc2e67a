"""List images from a table with a column of paths, and read labels from file names.

A million files take seconds, since none is opened.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_present
from tabvision.data.splits.base import Rows
from tabvision.data.tables.cells import MISSING_WORDS, Known, with_columns
from tabvision.data.tables.files import are_tables, folder_of, is_paths, similar_path
from tabvision.data.tables.read import Source, read_frame
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, count, listed

# Formats that PIL reads and that photo folders contain; a file with any other suffix is not an image
SUFFIXES = frozenset({
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "tif", "tiff", "bmp", "dib", "gif",
    "ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "avif",
})  # fmt: skip
_CHECKED_AT_ONCE = 65_536  # paths converted to str at a time
PATH_COLUMN, LABEL_COLUMN = "image", "label"


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A table of images, one per row.

    Args:
        frame: A column of paths, and other columns.
        path: The name of the column of paths.
        root: The folder that the paths are relative to; empty for the working directory or absolute paths.
        suffix: The suffix to append to the paths, such as ".jpg".
        is_listed: Whether the files are known to exist because a folder was listed.
        part: (N,) part of each row if folders determine it, or None.
    """

    frame: pd.DataFrame
    path: str = PATH_COLUMN
    root: str = ""
    suffix: str = ""
    is_listed: bool = False
    part: NDArray[np.int8] | None = None

    def taken(self, rows: Rows) -> ImageTable:
        """Return a table of some of the rows, or the table itself for all of them."""
        if len(rows) == len(self.frame):
            return self
        return replace(self, frame=self.frame.iloc[rows], part=None if self.part is None else self.part[rows])

    def with_whole_paths(self) -> ImageTable:
        """Return the table with absolute paths, which need neither `root` nor `suffix`."""
        paths = _string_array([os.path.abspath(it) for it in self.files(np.arange(len(self.frame), dtype=np.int64))])  # noqa: PTH100
        return replace(self, frame=with_columns(self.frame, {self.path: paths}), root="", suffix="")

    def files(self, rows: Rows) -> list[str]:
        """Return the paths of some rows' files, ready to open."""
        names = self.frame[self.path].array.take(rows).tolist()
        return [os.path.join(self.root, f"{name}{self.suffix}") for name in names]  # noqa: PTH118 - faster, and called a million times

    def missing_files(self) -> list[str]:
        """Return the files that do not exist. Each folder is listed once, and no file is opened."""

        @functools.cache
        def names_in(folder: str) -> frozenset[str]:
            try:
                return frozenset(os.listdir(folder or "."))  # noqa: PTH208 - only names, since a folder may hold a million files
            except OSError:
                return frozenset()

        missing = []
        for start in range(0, len(self.frame), _CHECKED_AT_ONCE):
            for file in self.files(np.arange(start, min(start + _CHECKED_AT_ONCE, len(self.frame)))):
                folder, slash, name = file.rpartition("/")
                if name not in names_in(folder or slash) and not os.path.isfile(file):  # noqa: PTH113 - the path may be too long
                    missing.append(file)
        return missing


def num_files(tables: Iterable[ImageTable]) -> int:
    """Return the number of distinct files in the tables; a file in several rows counts once.

    Example:
        >>> num_files([ImageTable(pd.DataFrame({"image": ["a.jpg", "a.jpg", "b.jpg", ""]}))])
        2
    """
    found: set[str] = set()
    num_listed = 0
    for table in {id(each): each for each in tables}.values():  # parts may share a table
        if table.is_listed:
            num_listed += len(table.frame)
        else:
            found.update(table.frame[table.path].astype("str").unique())
    return num_listed + len(found - {""})


def is_image(name: str) -> bool:
    """Return whether a file name is the name of an image.

    Example:
        >>> is_image("a.JPG"), is_image("notes.txt"), is_image("._a.jpg")
        (True, False, False)
    """
    return name.rpartition(".")[2].lower() in SUFFIXES and not name.startswith(".")


def labels_from_names(table: ImageTable, pattern: str, *, label: str = LABEL_COLUMN) -> ImageTable:
    r"""Return the images with a column of labels, taken from their file names.

    Args:
        table: The images.
        pattern: A regular expression for the file name without its folder; its first group is the label.
        label: The name of the new column of labels.

    Raises:
        BadValueError: The pattern is not a regular expression with a group, or does not match a name.

    Example:
        >>> table = ImageTable(pd.DataFrame({"image": ["pets/great_dane_12.jpg"]}))
        >>> labels_from_names(table, r"^(.+)_\d+").frame["label"].tolist()
        ['great_dane']
    """
    remedy = r'Pass one such as r"^(.+)_\d+", whose first group is the label'
    try:
        matcher = re.compile(pattern)
    except re.error as error:
        raise BadValueError(f"label_pattern {pattern!r} is not a regular expression: {error}", remedy) from error
    if not matcher.groups:
        raise BadValueError(f"label_pattern {pattern!r} has no group", remedy)
    names = [path.rpartition("/")[2] for path in table.frame[table.path].str.replace("\\", "/").tolist()]
    matches = [matcher.search(name) for name in names]
    if missed := [name for name, match in zip(names, matches, strict=True) if match is None or match[1] is None]:
        matched = f"{len(names) - len(missed):,} of {count(len(names), 'file name')}"
        problem = f"label_pattern {pattern!r} matches {matched}, but not {listed([*map(repr, missed)])}"
        raise BadValueError(problem, "Correct the pattern")
    labels = [match[1] for match in matches if match is not None]
    return replace(table, frame=with_columns(table.frame, {label: pd.array(labels, dtype="str")}))


def image_table(
    source: Source | Sequence[str | Path],
    *,
    path: str | None = None,
    root: str | Path | None = None,
    suffix: str = "",
    known: Known | None = None,
    **form: Unpack[TextFormat],
) -> ImageTable:
    """Read a table with a column of paths; `check_files` checks whether they exist.

    Args:
        source: A frame, a table file, or a list of paths.
        path: The column of paths; None for the first column whose values are image file names.
        root: The folder that paths are relative to; None for the table file's own.
        suffix: The suffix to append to the paths, such as ".jpg".
        known: Columns of a text file that are known to be text or not; a column of paths named by `path` is always text.
        form: How a text file is written; see `read_frame`.

    Raises:
        MissingColumnsError: There is no such column.
        BadTypeError: The column does not hold paths.
        BadValueError: Paths are missing, or there is no column of paths.
    """
    if (isinstance(source, list | tuple) and not source) or (is_paths(source) and not are_tables(source)):
        source = pd.DataFrame({PATH_COLUMN: _string_array([str(each) for each in source])})
    if isinstance(source, str | Path) and is_image(Path(source).name) and Path(source).expanduser().is_file():
        problem = f"{str(source)!r} is one image"
        raise BadValueError(problem, "Pass the folder that holds the images, a table with their paths, or a list")
    if not isinstance(root, str | Path | None):
        raise BadTypeError(f"root must be a folder, got {root!r}", "Pass the folder that paths are relative to")
    paths: Known = {} if path is None else {path: MISSING_WORDS}  # a file may be called "NA"
    frame = read_frame(source, **form, known={**(known or {}), **paths})
    root = folder_of(source) if root is None else root
    column = _path_column(frame, path)
    return ImageTable(frame, path=column, root=str(root), suffix=suffix)


def _string_array(paths: Sequence[str]) -> Any:  # noqa: ANN401 - pandas has no stubs
    try:
        return pd.array(paths, dtype="str")
    except UnicodeEncodeError as error:
        wrong = [path for path in paths if not is_utf8(path)]
        problem = (
            f"the list holds {count(len(wrong), 'path')} that cannot be written as UTF-8: {listed([*map(repr, wrong)])}"
        )
        raise BadValueError(problem, "Rename the files") from error


def is_utf8(text: str) -> bool:
    r"""Return whether a name can be encoded as UTF-8; on Linux, file names may hold other bytes.

    Example:
        >>> is_utf8("café.jpg"), is_utf8("caf\udce9.jpg")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_folder(folder: str | Path) -> str:
    """Return the path of a folder, checked to exist.

    Raises:
        MissingFileError: The folder does not exist.
        BadValueError: The path is a file.
    """
    path = Path(folder).expanduser()
    if path.is_dir():
        return str(path)
    if path.exists():
        raise BadValueError(f"{str(folder)!r} is a file, not a folder", "Pass the folder that holds the images")
    raise MissingFileError(f"no folder {str(folder)!r}", similar_path(path))


def check_files(table: ImageTable) -> None:
    """Raise if a file does not exist. Each folder is listed once, and no file is opened."""
    if table.is_listed:
        return
    if missing := table.missing_files():
        num_files, verb = len(table.frame), "does" if len(missing) == 1 else "do"
        problem = f"{len(missing):,} of {count(num_files, 'path')} in {table.path!r} {verb} not exist"
        problem += f", first {missing[0]!r}" if len(missing) > 1 else f": {missing[0]!r}"
        raise MissingFileError(problem, _remedy_for(missing[0], table))


def images_by_row(frame: pd.DataFrame, columns: Sequence[str], *, root: str = "", suffix: str = "") -> ImageTable:
    """Return the images that several columns name, row by row; an empty cell has the path "".

    A file that does not exist counts as an empty cell, and is logged.

    Raises:
        MissingFileError: Most of the files do not exist.

    Example:
        >>> images_by_row(pd.DataFrame({"front": ["", None]}), ["front"]).frame["image"].tolist()
        ['', '']
    """
    names = frame[list(columns)].to_numpy(dtype=object).ravel()
    is_named = ~(pd.isna(names) | (names == ""))
    named = ImageTable(pd.DataFrame({PATH_COLUMN: names[is_named]}), root=root, suffix=suffix)
    files = named.files(np.arange(len(named.frame), dtype=np.int64))
    if gone := frozenset(check_missing(named, columns)):
        files = ["" if file in gone else file for file in files]
    paths = np.full(len(names), "", dtype=object)
    paths[is_named] = files
    return ImageTable(pd.DataFrame({PATH_COLUMN: paths}))


def check_missing(
    named: ImageTable, columns: Sequence[str], remedy: str | None = None, *, optional: bool = True
) -> list[str]:
    """Return the files that do not exist; raise if most do not.

    Args:
        named: The images that the columns name.
        columns: The columns of paths.
        remedy: What to do if most do not exist; None to ask for the suffix or the folder of a datamodule.
        optional: Whether rows may lack images; the number of missing files is logged.

    Raises:
        MissingFileError: Most of the files do not exist, which means that the folder is wrong.
    """
    if missing := named.missing_files():
        those = f"{len(missing):,} of {count(len(named.frame), 'image')} in {listed([*columns])}"
        problem = f"{those} do not exist, first {missing[0]!r}"
        if len(missing) > len(named.frame) / 2:
            is_address = "://" in missing[0]
            raise MissingFileError(problem, (not is_address and remedy) or _remedy_for(missing[0], named))
        if optional:
            logging.getLogger("tabvision").info(f"{problem}; their rows are used without them.")
    return missing


def _remedy_for(file: str, table: ImageTable) -> str:
    """Return the remedy for a missing file: the suffix under which it exists, or the advice to correct the folder."""
    if "://" in file:
        return "URLs are not opened: download the photos, and pass the paths of their files"
    for suffix in (f".{each}" for name in sorted(SUFFIXES) for each in (name, name.upper())):
        if os.path.isfile(f"{file}{suffix}"):  # noqa: PTH113 - pathlib raises if a path is too long
            return f'There is one with suffix {suffix!r}: pass suffix="{suffix}" (--suffix {suffix})'
    return f"Correct them, or pass the folder that they are relative to as root= (now {table.root or '.'!r})"


def _path_column(frame: pd.DataFrame, path: str | None) -> str:
    """Return the named column or the first with names of image files; raise unless it holds only paths."""
    if path is None:
        heads = {name: frame[name].dropna().head(20) for name in frame if pd.api.types.is_string_dtype(frame[name])}
        are_images = {name: [is_image(str(value).rpartition("/")[2]) for value in head] for name, head in heads.items()}
        path = next((name for name, found in are_images.items() if found and all(found)), None)
        if path is None:
            problem = f"no column holds names of image files; columns are {listed([*frame.columns])}"
            raise BadValueError(problem, "Name it as path= (with suffix='.jpg' if the names lack a suffix)")
    check_present([path], frame.columns, "Name the column of paths")
    if missing := int(frame[path].isna().sum()):
        problem = f"the path is missing in {count(missing, 'row')} of column {path!r}"
        others = "or learn from the other columns too (FusedDataModule, no --image-only)"
        raise BadValueError(problem, f"Leave them out, frame.dropna(subset=[{path!r}]), {others}")
    kinds = {type(value) for value in frame[path].head(20)}
    if not all(issubclass(kind, str | os.PathLike | int | np.integer) for kind in kinds):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise BadTypeError(f"column {path!r} must hold paths, got {found}", "Name the column of paths")
    return path
