"""Read the images that a user passes (folders, tables or lists of paths) and split them into parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tabvision.data.images.files import LABEL_COLUMN, PATH_COLUMN, ImageTable, image_table, is_image, labels_from_names
from tabvision.data.images.folders import all_images, class_folders, unlabeled_test
from tabvision.data.rows import named_target
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION, Rows, Split, SplitRows, parts_from
from tabvision.data.splits.given import SourceSplit
from tabvision.data.splits.random import ShortSplit, as_split
from tabvision.data.tables.cells import Known
from tabvision.data.tables.files import table_files
from tabvision.data.tables.read import Source
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadValueError
from tabvision.schema import Schema

Images: TypeAlias = Source | Sequence[str | Path]
"""A folder, a table with a column of paths (a frame or a file), or a list of paths."""


@dataclass(frozen=True, kw_only=True)
class SourceReader:
    """Read sources of images with a user's settings; see `ImageDataModule`.

    Args:
        path: The column of paths, or None to find it.
        root: The folder that paths are relative to.
        suffix: The suffix to append to the paths.
        label_pattern: The regular expression that finds labels in file names, or None.
        label_depth: How many folders deep the class folders are; None for 1, or for the depth of a schema's classes.
        form: How a text file is written.
        known: Columns of a text file that are known to be text or not; see `read_frame`.
    """

    path: str | None = None
    root: str | Path | None = None
    suffix: str = ""
    label_pattern: str | None = None
    label_depth: int | None = None
    form: TextFormat = field(default_factory=TextFormat)
    known: Known = field(default_factory=dict)

    def labeled(
        self, source: Images, target: str | Sequence[str] | None, schema: Schema | None, *, least: int = 2
    ) -> ImageTable:
        """Return the images of a source with their labels.

        Args:
            source: The images.
            target: The target columns; for folders and file names, the name of the new column.
            schema: A schema to reuse, or None.
            least: The minimum number of class folders.
        """
        label = target_columns(target, schema, LABEL_COLUMN)[0]
        if self.label_pattern is None:
            if is_folder(source):
                classes = () if schema is None else schema.classes
                return class_folders(
                    cast("str", source), label=label, least=least, depth=self.label_depth, known=classes
                )
            return self._table(source, self.path)
        table = all_images(cast("str", source)) if is_folder(source) else self._table(source, self.path)
        return labels_from_names(table, self.label_pattern, label=label)

    def with_split(self, table: ImageTable, split: ShortSplit, columns: Sequence[str]) -> ImageTable:
        """Add the images of the split's own sources to a table; paths become absolute if the folders differ."""
        if not isinstance(split, Split) or table.part is not None:
            return table
        if not isinstance(split, SourceSplit):
            return replace(table, frame=split.gather(table.frame, self.known, **self.form))
        read = replace(self, path=table.path)
        tables = [table, *(read.labeled(source, columns, None, least=1) for source in split.sources)]
        if any((each.root, each.suffix) != (table.root, table.suffix) for each in tables):
            tables = [each.with_whole_paths() for each in tables]
        frame, *others = (each.frame for each in tables)
        return replace(tables[0], frame=split.joined(frame, others))

    def unlabeled(self, source: Images) -> ImageTable:
        """Return the images to predict."""
        if is_folder(source):
            return all_images(cast("str", source))
        is_list = isinstance(source, list | tuple) and all(isinstance(each, str | Path) for each in source)
        return self._table(source, PATH_COLUMN if is_list else self.path)

    def unlabeled_test(self, source: Images) -> ImageTable | None:
        """Return the unlabeled test images in a folder, or None if it has none."""
        folder = unlabeled_test(cast("str", source)) if is_folder(source) and self.label_pattern is None else None
        return None if folder is None else all_images(folder)

    def _table(self, source: Images, path: str | None) -> ImageTable:
        """Return the images of a table or list."""
        return image_table(source, path=path, root=self.root, suffix=self.suffix, known=self.known, **self.form)


def is_folder(source: Images) -> bool:
    """Return whether a source is a folder of images, or a path that does not exist but can only mean a folder."""
    if not isinstance(source, str | Path):
        return False
    path = Path(source).expanduser()
    return (path.is_dir() and not table_files(path)) or (not path.exists() and (not path.suffix or is_image(path.name)))


def target_columns(target: str | Sequence[str] | None, schema: Schema | None, default: str | None) -> list[str]:
    """Return the target columns: the named ones, the schema's, or the one filled from folders or file names.

    Raises:
        BadTypeError: The target is neither a name nor a list of names.
        BadValueError: A table's target is not named, or the named columns are not the schema's.
    """
    if target is not None:
        return list(named_target(target, schema))
    if schema is None and default is None:
        raise BadValueError("a table needs the name of its target", "Name the column or columns to predict as target=")
    return [str(default)] if schema is None else list(schema.target.columns)


def divide(
    table: ImageTable, numbers: Rows, num_rows: int, codes: NDArray[np.int64] | None, split: ShortSplit, *, seed: int
) -> SplitRows:
    """Return the rows of each part.

    Args:
        table: The rows to divide, with the part of each row if folders determine it.
        numbers: Row numbers in the source of these rows.
        num_rows: Total number of rows in the source.
        codes: Class codes of the rows, or None if the target has no classes.
        split: A fraction, a split or None; validation folders override a fraction.
        seed: Seed of a random split.
    """
    chosen, part = as_split(split, stratify=codes is not None), table.part
    if part is None:
        return chosen.among(numbers, num_rows)(table.frame, codes, seed=seed)
    if isinstance(split, Split):
        problem = f"the folders already divide the images, and so does split={split}"
        raise BadValueError(problem, "Leave split out, or pass a folder of class folders")
    if (part == VALIDATION).any():
        return parts_from(part, remedy="Put images into each of these folders")
    training = np.flatnonzero(part == TRAIN)
    found = chosen(table.frame.iloc[training], None if codes is None else codes[training], seed=seed)
    test = np.sort(np.concatenate([training[found.test], np.flatnonzero(part == TEST)]))
    return SplitRows(training[found.train], training[found.validation], test)
