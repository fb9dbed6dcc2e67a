"""Pictures in folders: each named for its class, within folders named train, valid and test or without them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tabvision.data.images.files import LABEL_COLUMN, PATH_COLUMN, SUFFIXES, PictureTable, is_picture, is_utf8
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION
from tabvision.errors import BadValueError, MissingFileError, closest, count, listed

logger = logging.getLogger("tabvision")

_KNOWN = f"pictures ({', '.join(f'.{suffix}' for suffix in sorted(SUFFIXES))})"
_PART_FOLDERS = {
    "train": TRAIN, "training": TRAIN,
    "valid": VALIDATION, "val": VALIDATION, "validation": VALIDATION, "dev": VALIDATION,
    "test": TEST, "testing": TEST,
}  # fmt: skip


@dataclass(frozen=True)
class _Folder:
    """One folder's own pictures.

    Args:
        path: Where it is.
        pictures: The paths of its pictures, sorted and packed.
        num_others: How many other files lie beside them.
    """

    path: str
    pictures: pa.LargeStringArray
    num_others: int


@dataclass(frozen=True)
class _ClassFolder:
    """A class: a folder, and those below it.

    Args:
        path: Where it is; its name is the label.
        part: The part that its pictures belong to.
        folders: The folder itself and those below it.
    """

    path: str
    part: int
    folders: list[_Folder]

    @property
    def label(self) -> str:
        """The name of the class."""
        return Path(self.path).name

    @property
    def num_pictures(self) -> int:
        """Pictures in it, at any depth."""
        return sum(len(folder.pictures) for folder in self.folders)


def class_folders(folder: str | Path, *, label: str = LABEL_COLUMN, least: int = 2) -> PictureTable:
    """Pictures in folders named for their class, which may stand in folders named train, valid and test.

    Args:
        folder: Holds the class folders, or folders named train, valid (val) and test, which hold them.
        label: The name that the column of classes gets.
        least: How many classes there must be to train on.

    Raises:
        MissingFileError: No such folder.
        BadValueError: No class folders, too few, no picture in them, or names that are not UTF-8.
    """
    root = _check_folder(folder)
    parts = _part_folders(root)
    tops = [(root, TRAIN)] if parts is None else [(path, part) for path, part in parts if below(path)]
    above = frozenset(_place(path) for path in {root, *(top for top, _ in tops)})  # no link leads back up to them
    classes = [_ClassFolder(path, part, list(_walk(path, above))) for top, part in tops for path in below(top)]
    if not classes:
        raise _no_classes(root)
    _check_classes(root, classes, least)
    filled = [each for each in classes if each.num_pictures]
    sizes = [each.num_pictures for each in filled]
    names = _paths([folder for each in filled for folder in each.folders])
    distinct = sorted({each.label for each in filled})
    codes = np.repeat(np.array([distinct.index(each.label) for each in filled], dtype=np.int32), sizes)
    labels = pd.Categorical.from_codes(codes, categories=pd.Index(distinct, dtype="str"))  # a byte or two a row
    frame = pd.DataFrame({PATH_COLUMN: names, label: labels})
    part = np.repeat(np.array([each.part for each in filled], dtype=np.int8), sizes)
    _log_unused_folders(root, parts, classes)
    _log_other_files([next(_walk(top)) for top, _ in tops], classes)
    del classes, filled
    pa.default_memory_pool().release_unused()  # the folders' own paths, of which the frame has a copy
    return PictureTable(frame, is_listed=True, part=None if parts is None else part)


def all_pictures(folder: str | Path) -> PictureTable:
    """Every picture below a folder, without labels.

    Raises:
        MissingFileError: No such folder.
        BadValueError: There is no picture in it, or one whose name is not UTF-8.
    """
    root = _check_folder(folder)
    found = list(_walk(root))
    names = _paths(found)
    if not len(names):
        raise BadValueError(f"the folder {root!r} holds no pictures", f"Pass one with {_KNOWN}")
    _log_other_files(found, [])
    return PictureTable(pd.DataFrame({PATH_COLUMN: names}), is_listed=True)


def _part_folders(root: str) -> list[tuple[str, int]] | None:
    """Folders that are parts, with their part; None where the folder's own folders are classes.

    A class may be called train: a training part holds folders and no pictures of its own.
    """
    found = [(path, _PART_FOLDERS[name]) for path in below(root) if (name := Path(path).name.lower()) in _PART_FOLDERS]
    training = next((path for path, part in found if part == TRAIN), None)
    if training is None or not below(training) or len(next(_walk(training)).pictures):
        return None
    return found


def unlabeled_test(folder: str | Path) -> str | None:
    """The folder of test pictures that stand in no class folders, or None."""
    tests = [path for path, part in _part_folders(str(Path(folder).expanduser())) or [] if part == TEST]
    return next((path for path in tests if not below(path)), None)


def _check_folder(folder: str | Path) -> str:
    """The folder's path, if it is one.

    Raises:
        MissingFileError: It is not there.
        BadValueError: It is a file.
    """
    path = Path(folder).expanduser()
    if path.is_dir():
        return str(path)
    if path.exists():
        raise BadValueError(f"{str(folder)!r} is a file, not a folder", "Pass the folder that holds the pictures")
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = closest(path.name, near)
    remedy = f"Did you mean {str(path.with_name(close))!r}" if close else "Check the path"
    raise MissingFileError(f"no folder {str(folder)!r}", remedy)


def below(root: str) -> list[str]:
    """The folders in a folder, sorted."""
    with os.scandir(root) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir() and _is_shown(entry.name))


def _walk(root: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[_Folder]:
    """A folder and those below it, in order of their names; links are followed, but never in a circle.

    Raises:
        BadValueError: The name of a picture, or of its folder, is not UTF-8.
    """
    place = _place(root)
    if place in above:
        return
    names, folders, num_others = [], [], 0
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir():
                folders += [entry.path] if _is_shown(entry.name) else []
            elif is_picture(entry.name):
                names.append(entry.name)
            elif not entry.name.startswith("."):
                num_others += 1
    names.sort()
    yield _Folder(root, _joined(root, names), num_others)
    del names  # a million of them, where the folders below may hold as many
    for path in sorted(folders):
        yield from _walk(path, above | {place})


def _joined(folder: str, names: Sequence[str]) -> pa.LargeStringArray:
    """The paths of a folder's files, packed, without a million Python strings on the way."""
    if not names:
        return pa.array([], pa.large_string())
    try:
        before, between = (pa.scalar(text, pa.large_string()) for text in (f"{folder}/", ""))
        return pc.binary_join_element_wise(before, pa.array(names, pa.large_string()), between)
    except UnicodeEncodeError as error:
        if not is_utf8(folder):
            raise BadValueError(f"the name of the folder {folder!r} is not UTF-8", "Rename it") from error
        wrong = [repr(name) for name in names if not is_utf8(name)]
        problem = f"the folder {folder!r} holds {count(len(wrong), 'picture')} whose name is not UTF-8: {listed(wrong)}"
        raise BadValueError(problem, "Rename what is so named") from error


def _place(folder: str) -> tuple[int, int]:
    """What tells a folder from every other, by whatever path it is reached."""
    facts = os.stat(folder)  # noqa: PTH116 - as os.scandir
    return facts.st_dev, facts.st_ino


def _is_shown(name: str) -> bool:
    """Whether a folder counts: hidden ones and those of archivers (`__MACOSX`) do not."""
    return not name.startswith((".", "__"))


def _no_classes(root: str) -> BadValueError:
    own = next(_walk(root))
    remedy = "Put each class into a folder of its own, or pass label_pattern=, or a table with a column of paths"
    if len(own.pictures):
        return BadValueError(f"{root!r} holds {count(len(own.pictures), 'picture')} and no class folders", remedy)
    what = "holds no pictures and no class folders" if own.num_others or below(root) else "is empty"
    return BadValueError(f"the folder {root!r} {what}", "Pass a folder with a folder of pictures for each class")


def _check_classes(root: str, classes: Sequence[_ClassFolder], least: int) -> None:
    training = sorted({each.label for each in classes if each.part == TRAIN and each.num_pictures})
    if not training:
        empty = listed([repr(each.label) for each in classes])
        problem = f"the class folders in {root!r} hold no pictures: {empty}"
        raise BadValueError(problem, f"Pass a folder with {_KNOWN}")
    if len(training) < least:
        problem = f"{root!r} holds pictures of one class, {training[0]!r}"
        raise BadValueError(problem, "Add a folder of pictures for every other class")


def _log_unused_folders(root: str, parts: Sequence[tuple[str, int]] | None, classes: Sequence[_ClassFolder]) -> None:
    unused = [] if parts is None else sorted(set(below(root)) - {path for path, _ in parts})
    if unused:
        logger.info(f"Folders beside the parts, left out: {listed([repr(path) for path in unused])}.")
    if empty := [repr(each.path) for each in classes if not each.num_pictures]:
        logger.info(f"Folders without a picture, left out: {listed(empty)}.")


def _log_other_files(folders: Sequence[_Folder], classes: Sequence[_ClassFolder]) -> None:
    """Log how many files are no pictures of a class."""
    own = [*folders, *(folder for each in classes for folder in each.folders)]
    if others := sum(folder.num_others for folder in own):
        logger.info(f"{count(others, 'file')} of other kinds left out.")
    if loose := sum(len(folder.pictures) for folder in folders if classes):
        logger.info(f"{count(loose, 'picture')} beside the class folders left out.")


def _paths(folders: Sequence[_Folder]) -> Any:  # noqa: ANN401 - pandas has no stubs
    """The paths of all pictures, packed."""
    return pd.array(pa.concat_arrays([folder.pictures for folder in folders]), dtype="str")
