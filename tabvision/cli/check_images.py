"""`tabvision check-images`: list the images of a folder that cannot be read or lose something, before training."""

from __future__ import annotations

import argparse
import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pandas as pd

from tabvision.data.images.bands import as_channels, open_as
from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.folders import all_images
from tabvision.data.images.layout import layout_of, stored_values
from tabvision.data.images.reader import check_workers, single_threaded_cv2
from tabvision.data.images.settings import notes_on_ignored
from tabvision.data.tables.write import check_destination, write_frame
from tabvision.errors import count, shown, speaking
from tabvision.schema import Image

_SHOWN = 20
_FILES_AT_ONCE = 4096  # limits the queue of a folder with a million files


@speaking("tabvision check-images")
def run(arguments: argparse.Namespace) -> int:
    """Decode every image and list those that are damaged; return 1 if there are any, as a check does."""
    if arguments.out:
        check_destination(arguments.out, overwrite=arguments.overwrite)
    num, bad, notes = _checked(arguments.folder, arguments.workers, arguments.channels)
    if arguments.out:  # before anything is printed, where the reader may close the pipe
        write_frame(bad, arguments.out, overwrite=arguments.overwrite)
    for file, reason in bad.head(_SHOWN).itertuples(index=False):
        print(shown(f"{file}: {reason}"))
    if len(bad) > _SHOWN:
        print(f"… and {count(len(bad) - _SHOWN, 'more file')}")
    print(f"{count(num, 'image')} decoded, {len(bad):,} of them cannot be read.")
    for note in notes:
        print(note)
    if arguments.out:
        print(f"Listed in {arguments.out}")
    return int(len(bad) > 0)


def _checked(folder: str, num_workers: int | None, channels: int) -> tuple[int, pd.DataFrame, list[str]]:
    """Decode every image below a folder in threads.

    Returns:
        Their number; `image` and `reason` of those that cannot be read; notes on what is lost of the others.
    """
    workers = check_workers(num_workers)
    table = all_images(folder)
    bad: list[tuple[str, str]] = []
    with single_threaded_cv2(), ThreadPoolExecutor(max(1, workers)) as threads:
        for start in range(0, len(table.frame), _FILES_AT_ONCE):
            files = table.files(np.arange(start, min(start + _FILES_AT_ONCE, len(table.frame))))
            reasons = threads.map(functools.partial(_reason, channels=channels), files)
            bad += [(file, reason) for file, reason in zip(files, reasons, strict=True) if reason is not None]
        unread = {file for file, _ in bad}
        readable = [file for file in table.files(np.arange(len(table.frame))) if file not in unread]
        notes = notes_on_ignored(readable, Image(size=(1, 1), channels=channels), threads.map)
    return len(table.frame), pd.DataFrame(bad, columns=["image", "reason"], dtype="str"), notes


def _reason(file: str, channels: int = 3) -> str | None:
    """Return why a file cannot be read as an image, or None.

    Example:
        >>> _reason("nowhere/cat.jpg")
        'no such file'
    """
    try:
        open_as(file, Image(size=(1, 1), channels=channels)).decode()
    except UnreadableImageError as error:
        with suppress(UnreadableImageError):
            layout = layout_of(file)
            if layout.bits != 8:  # training finds the range of such values
                as_channels(stored_values(file, layout, channels), channels)
                return None
        return error.reason
    return None
