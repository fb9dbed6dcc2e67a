"""`tabvision check-images`: list images in a folder or table that cannot be read, or only in part, before training."""

from __future__ import annotations

import argparse
import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pandas as pd

from tabvision.checks import check_present
from tabvision.cli.options import form_of
from tabvision.data.images.bands import as_channels, open_as
from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.files import PATH_COLUMN, ImageTable, check_missing
from tabvision.data.images.folders import all_images
from tabvision.data.images.layout import layout_of, stored_values
from tabvision.data.images.reader import check_workers, single_threaded_cv2
from tabvision.data.images.settings import notes_on_ignored
from tabvision.data.tables.cells import MISSING_WORDS
from tabvision.data.tables.files import are_tables, folder_of
from tabvision.data.tables.read import read_frame
from tabvision.data.tables.write import check_destination, write_frame
from tabvision.errors import BadValueError, count, shown, speaking
from tabvision.schema import Image

_SHOWN = 20
_FILES_AT_ONCE = 4096  # keeps the queue short for a folder with a million files


@speaking("tabvision check-images")
def run(arguments: argparse.Namespace) -> int:
    """Decode every image and list the damaged ones; return 1 if there are any."""
    if arguments.out:
        check_destination(arguments.out, overwrite=arguments.overwrite)
    workers, channels, found = check_workers(arguments.workers), arguments.channels, _images(arguments)
    files = [*dict.fromkeys(found[PATH_COLUMN])]  # several rows may name the same image
    reasons: list[str | None] = []
    with single_threaded_cv2(), ThreadPoolExecutor(max(1, workers)) as threads:
        for start in range(0, len(files), _FILES_AT_ONCE):
            some = files[start : start + _FILES_AT_ONCE]
            reasons += threads.map(functools.partial(_reason, channels=channels), some)
        unreadable = {file: reason for file, reason in zip(files, reasons, strict=True) if reason is not None}
        readable = [file for file in files if file not in unreadable]
        notes = notes_on_ignored(readable, Image(size=(1, 1), channels=channels), threads.map)
    bad = found[found[PATH_COLUMN].isin(list(unreadable))].reset_index(drop=True)
    bad = bad.assign(reason=pd.array([unreadable[file] for file in bad[PATH_COLUMN]], dtype="str"))
    if arguments.out:  # before printing, since the reader may close the pipe
        write_frame(bad, arguments.out, overwrite=arguments.overwrite)
    for *cell, file, reason in bad.head(_SHOWN).itertuples(index=False):
        place = "row {}, {}: ".format(*cell) if cell else ""
        print(shown(f"{place}{file}: {reason}"))
    if len(bad) > _SHOWN:
        print(f"… and {count(len(bad) - _SHOWN, 'more cell' if arguments.image else 'more file')}")
    print(f"{count(len(files), 'image')} checked, {len(unreadable):,} of them cannot be read.")
    for note in notes:
        print(note)
    if arguments.out:
        print(f"Listed in {arguments.out}")
    return int(len(bad) > 0)


def _images(arguments: argparse.Namespace) -> pd.DataFrame:
    """Return the path of each image in a folder, or named in a table, with its row number and column.

    Raises:
        MissingColumnsError: The table has no such column.
        MissingFileError: Most of the files named in the table do not exist.
        BadValueError: `--image` is missing for a table, or an option applies only to tables.
    """
    source, columns = arguments.data, arguments.image
    if columns is None:
        if are_tables([source]):
            raise BadValueError(f"{source!r} is a table", "Name its columns of image paths: --image A,B")
        if arguments.root is not None or arguments.suffix is not None or form_of(arguments):
            problem = f"--root, --suffix and the options for text files need --image, got {source!r} alone"
            raise BadValueError(problem, "Name its columns of image paths: --image A,B")
        table = all_images(source)
        return pd.DataFrame({PATH_COLUMN: pd.array(table.files(np.arange(len(table.frame))), dtype="str")})
    frame = read_frame(source, **form_of(arguments), known=dict.fromkeys(columns, MISSING_WORDS))
    check_present(columns, frame.columns, "Name the columns of image paths: --image A,B")
    names = frame[columns].to_numpy(dtype=object).ravel()
    cells = pd.DataFrame({"row": np.repeat(np.arange(len(frame)), len(columns)), "column": [*columns] * len(frame)})
    cells = cells.assign(**{PATH_COLUMN: names})[~(pd.isna(names) | (names == ""))]
    root = folder_of(source) if arguments.root is None else arguments.root
    named = ImageTable(cells, root=str(root), suffix=arguments.suffix or "")
    check_missing(named, columns, optional=False)
    return cells.assign(**{PATH_COLUMN: pd.array(named.files(np.arange(len(cells))), dtype="str")})


def _reason(file: str, channels: int = 3) -> str | None:
    """Return why a file cannot be read as an image, or None if it can.

    Example:
        >>> _reason("nowhere/cat.jpg")
        'no such file'
    """
    try:
        open_as(file, Image(size=(1, 1), channels=channels)).decode()
    except UnreadableImageError as error:
        with suppress(UnreadableImageError):
            layout = layout_of(file)
            if layout.bits != 8:  # training infers the range of such values
                as_channels(stored_values(file, layout, channels), channels)
                return None
        return error.reason
    return None
