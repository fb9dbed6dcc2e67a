"""List images in class folders, which may be inside folders named train, valid and test."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tabvision.checks import check_whole
from tabvision.data.images.files import (
    LABEL_COLUMN,
    PATH_COLUMN,
    SUFFIXES,
    ImageTable,
    checked_folder,
    is_image,
    is_utf8,
)
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION
from tabvision.errors import BadValueError, count, listed
from tabvision.plain import Label

logger = logging.getLogger("tabvision")

_KNOWN = f"images ({', '.join(f'.{suffix}' for suffix in sorted(SUFFIXES))})"
# Photos and drawings that PIL does not read; a class folder that holds nothing else must be a mistake
_UNREAD_SUFFIXES = frozenset({
    ".heic", ".heif", ".hif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".psd", ".svg", ".dcm",
})  # fmt: skip
_MAX_DEPTH = 4  # how deep to look for class folders with the names of known classes
_PART_FOLDERS = {
    "train": TRAIN, "training": TRAIN,
    "valid": VALIDATION, "val": VALIDATION, "validation": VALIDATION, "dev": VALIDATION,
    "test": TEST, "testing": TEST,
}  # fmt: skip


@dataclass(frozen=True)
class _Folder:
    """The images directly in one folder.

    Args:
        path: Path of the folder.
        images: The paths of its images, sorted, as an Arrow array.
        others: The number of other files in it, by suffix.
    """

    path: str
    images: pa.LargeStringArray
    others: Counter[str]


@dataclass(frozen=True)
class _ClassFolder:
    """The folder of one class.

    Args:
        path: Path of the folder; its name is the label.
        part: The part that its images belong to.
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
    def num_images(self) -> int:
        """Number of images in the folder, at any depth."""
        return sum(len(folder.images) for folder in self.folders)

    @property
    def others(self) -> Counter[str]:
        """The number of other files in the folder, at any depth, by suffix."""
        return sum((folder.others for folder in self.folders), Counter())


def class_folders(
    folder: str | Path,
    *,
    label: str = LABEL_COLUMN,
    least: int = 2,
    depth: int | None = None,
    known: Collection[Label] = (),
) -> ImageTable:
    """List the images in folders named for their class, which may be inside folders named train, valid and test.

    An image at any depth belongs to the class folder above it; if class folders hold folders of images, a note says so.

    Args:
        folder: The folder of class folders, or of folders named train, valid (val) and test that hold them.
        label: The name of the new column of classes.
        least: The minimum number of classes to train on.
        depth: How many folders deep the class folders are, at least 1; None for the depth of the known classes, or 1.
        known: The classes of a trained module.

    Raises:
        MissingFileError: There is no such folder.
        BadValueError: There are no or too few class folders, they hold no images, or names are not UTF-8.
    """
    root = checked_folder(folder)
    parts = part_folders(root)
    tops = [(root, TRAIN)] if parts is None else [(path, part) for path, part in parts if _subfolders(path)]
    if depth is not None:
        check_whole("label_depth", depth, remedy="Pass 2 for class folders within groups")
    level = depth or _depth_of(known, [top for top, _ in tops])
    above = frozenset(map(_device_and_inode, {root, *(top for top, _ in tops)}))  # skip links back to these
    classes = [
        _ClassFolder(path, part, list(_walk(path, above))) for top, part in tops for path in _subfolders(top, level)
    ]
    _check_classes(root, classes, least)
    _log_folders(classes, [] if parts is None else sorted(set(_subfolders(root)) - {path for path, _ in parts}))
    num_inner = sum(len(folder.images) > 0 for each in classes for folder in each.folders[1:])
    if num_inner and depth is None and not known:
        where = f"{count(num_inner, 'folder')} of images inside {count(len(classes), 'class folder')}"
        logger.info(
            f"{where}: the outer folder is the class. If the inner ones are, pass label_depth=2 (--label-depth 2)."
        )
    outer = [path for top, _ in tops for above_it in range(level) for path in _subfolders(top, above_it)]
    _log_other_files([next(_walk(path)) for path in outer], classes)
    table = _labeled(classes, label, has_parts=parts is not None)
    del classes
    pa.default_memory_pool().release_unused()  # frees the paths by folder, which the table has copied
    return table


def _depth_of(known: Collection[Label], tops: Sequence[str]) -> int:
    """Return how many folders deep the known classes are, or 1 if none are known or found."""
    for depth in range(1, _MAX_DEPTH + 1) if known else ():
        if any(Path(path).name in known for top in tops for path in _subfolders(top, depth)):
            return depth
    return 1


def _labeled(classes: Sequence[_ClassFolder], label: str, *, has_parts: bool) -> ImageTable:
    """Return the images of class folders with their labels, and with their parts if folders determine these."""
    filled = [each for each in classes if each.num_images]
    sizes = [each.num_images for each in filled]
    images = pa.concat_arrays([folder.images for each in filled for folder in each.folders])
    distinct = sorted({each.label for each in filled})
    codes = np.repeat(np.array([distinct.index(each.label) for each in filled], dtype=np.int32), sizes)
    labels = pd.Categorical.from_codes(codes, categories=pd.Index(distinct, dtype="str"))  # one or two bytes per row
    frame = pd.DataFrame({PATH_COLUMN: pd.array(images, dtype="str"), label: labels})
    part = np.repeat(np.array([each.part for each in filled], dtype=np.int8), sizes)
    return ImageTable(frame, is_listed=True, part=part if has_parts else None)


def all_images(folder: str | Path) -> ImageTable:
    """List every image below a folder, without labels.

    Raises:
        MissingFileError: There is no such folder.
        BadValueError: It holds no images, or one whose name is not UTF-8.
    """
    root = checked_folder(folder)
    found = list(_walk(root))
    images = pa.concat_arrays([folder.images for folder in found])
    if not len(images):
        others = _by_suffix(sum((each.others for each in found), Counter()))
        raise BadValueError(f"the folder {root!r} holds no images{others}", f"Pass one with {_KNOWN}")
    _log_other_files(found, [])
    return ImageTable(pd.DataFrame({PATH_COLUMN: pd.array(images, dtype="str")}), is_listed=True)


def part_folders(root: str) -> list[tuple[str, int]] | None:
    """Return the folders named for a part, each with its part, or None if the folder holds class folders.

    Since a class may be named train, the training folder counts only if it holds folders, and no images directly.
    """
    found = [
        (path, _PART_FOLDERS[name]) for path in _subfolders(root) if (name := Path(path).name.lower()) in _PART_FOLDERS
    ]
    training = next((path for path, part in found if part == TRAIN), None)
    if training is None or not _subfolders(training) or len(next(_walk(training)).images):
        return None
    return found


def unlabeled_test(folder: str | Path) -> str | None:
    """Return the folder of the test part if it has no class folders, else None."""
    tests = [path for path, part in part_folders(str(Path(folder).expanduser())) or [] if part == TEST]
    return next((path for path in tests if not _subfolders(path)), None)


def _subfolders(root: str, depth: int = 1) -> list[str]:
    """Return the folders `depth` levels below a folder, sorted."""
    if depth != 1:
        return [below for path in _subfolders(root, depth - 1) for below in _subfolders(path)] if depth else [root]
    with os.scandir(root) as entries:
        return sorted(entry.path for entry in entries if _is_folder(entry) and _is_visible(entry.name))


def _walk(root: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[_Folder]:
    """Yield a folder and those below it, sorted by name. Links are followed, but not around a cycle.

    Raises:
        BadValueError: The name of an image or of its folder is not UTF-8.
    """
    identity = _device_and_inode(root)
    if identity in above:
        return
    names, folders, others = [], [], Counter[str]()
    with os.scandir(root) as entries:
        for entry in entries:
            if _is_folder(entry):
                folders += [entry.path] if _is_visible(entry.name) else []
            elif is_image(entry.name) and _may_be_opened(entry):
                names.append(entry.name)
            elif not entry.name.startswith("."):
                others[Path(entry.name).suffix.lower() or "without a suffix"] += 1
    names.sort()
    yield _Folder(root, _paths_in(root, names), others)
    del names  # there may be a million, and the folders below may hold as many
    for path in sorted(folders):
        yield from _walk(path, above | {identity})


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a broken or circular link is not."""
    if entry.is_symlink():
        return os.path.isdir(entry.path)  # noqa: PTH112 - entry.is_dir() raises for a circular link
    return entry.is_dir()


def _may_be_opened(entry: os.DirEntry[str]) -> bool:
    """Return whether opening an entry cannot block, as a pipe would; a broken link passes, and is reported later."""
    if entry.is_symlink():
        return os.path.isfile(entry.path) or not os.path.exists(entry.path)  # noqa: PTH110, PTH113 - as above
    return entry.is_file()


def _paths_in(folder: str, names: Sequence[str]) -> pa.LargeStringArray:
    """Return the paths of a folder's files as an Arrow array, without creating a million Python strings."""
    if not names:
        return pa.array([], pa.large_string())
    try:
        before, between = (pa.scalar(text, pa.large_string()) for text in (f"{folder}/", ""))
        return pc.binary_join_element_wise(before, pa.array(names, pa.large_string()), between)
    except UnicodeEncodeError as error:
        if not is_utf8(folder):
            raise BadValueError(f"the name of the folder {folder!r} is not UTF-8", "Rename it") from error
        wrong = [repr(name) for name in names if not is_utf8(name)]
        problem = f"the folder {folder!r} holds {count(len(wrong), 'image')} whose name is not UTF-8: {listed(wrong)}"
        raise BadValueError(problem, "Rename them") from error


def _device_and_inode(folder: str) -> tuple[int, int]:
    """Return the folder's device and inode, which are the same for every path to it."""
    facts = os.stat(folder)  # noqa: PTH116 - like os.scandir
    return facts.st_dev, facts.st_ino


def _is_visible(name: str) -> bool:
    """Return whether a folder is used; hidden ones and leftovers of archivers (`__MACOSX`) are not."""
    return not name.startswith((".", "__"))


def _check_classes(root: str, classes: Sequence[_ClassFolder], least: int) -> None:
    """Raise unless there are enough class folders with training images."""
    if not classes:
        own = next(_walk(root))
        remedy = "Put each class into a folder of its own, or pass label_pattern=, or a table with a column of paths"
        if num := len(own.images):
            raise BadValueError(f"{root!r} holds {count(num, 'image')} and no class folders", remedy)
        what = "holds no images and no class folders" if own.others or _subfolders(root) else "is empty"
        raise BadValueError(f"the folder {root!r} {what}", "Pass a folder with a folder of images for each class")
    if lost := [each for each in classes if not each.num_images and each.others.keys() & _UNREAD_SUFFIXES]:
        what = f"the class folder {lost[0].path!r} holds no image that can be read{_by_suffix(lost[0].others)}"
        problem = what + (f"; {count(len(lost) - 1, 'more such folder')}" if len(lost) > 1 else "")
        raise BadValueError(problem, "Convert them to JPEG or PNG, or move the folder away")
    training = sorted({each.label for each in classes if each.part == TRAIN and each.num_images})
    if not training:
        empty = listed([repr(each.label) for each in classes])
        kinds = _by_suffix(sum((each.others for each in classes), Counter()))
        problem = f"the class folders in {root!r} hold no images: {empty}{kinds}"
        raise BadValueError(problem, f"Pass a folder with {_KNOWN}")
    if len(training) < least:
        problem = f"{root!r} holds images of one class, {training[0]!r}"
        raise BadValueError(problem, "Add a folder of images for every other class")


def _log_folders(classes: Sequence[_ClassFolder], unused: Sequence[str]) -> None:
    """Log which folders are left out, and which class folders of one part share a name across groups."""
    if unused:
        logger.info(f"Folders next to the parts, left out: {listed([repr(path) for path in unused])}.")
    if empty := [repr(each.path) for each in classes if not each.num_images]:
        logger.info(f"Folders without an image, left out: {listed(empty)}.")
    times = Counter((each.label, each.part) for each in classes if each.num_images)
    if merged := sorted({repr(label) for (label, _), number in times.items() if number > 1}):
        logger.info(f"Class folders with the same name in several groups are one class: {listed(merged)}.")


def _by_suffix(others: Counter[str]) -> str:
    """Format the number of files with each suffix, the most frequent first.

    Example:
        >>> _by_suffix(Counter({".txt": 2, ".heic": 60})), _by_suffix(Counter())
        (': 60 .heic, 2 .txt', '')
    """
    return f": {listed([f'{number:,} {suffix}' for suffix, number in others.most_common()])}" if others else ""


def _log_other_files(folders: Sequence[_Folder], classes: Sequence[_ClassFolder]) -> None:
    """Log how many files are unused: files other than images, and images outside of class folders."""
    own = [*folders, *(folder for each in classes for folder in each.folders)]
    others = sum((folder.others for folder in own), Counter[str]())
    if others:
        convert = " Convert photos to JPEG or PNG to use them." if others.keys() & _UNREAD_SUFFIXES else ""
        logger.info(f"{count(others.total(), 'file')} of other kinds left out{_by_suffix(others)}.{convert}")
    if loose := sum(len(folder.images) for folder in folders if classes):
        logger.info(f"{count(loose, 'image')} outside the class folders left out.")
