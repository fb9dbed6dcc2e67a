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
    workers, table, channels = check_workers(arguments.workers), all_images(arguments.folder), arguments.channels
    files = table.files(np.arange(len(table.frame)))
    reasons: list[str | None] = []
    with single_threaded_cv2(), ThreadPoolExecutor(max(1, workers)) as threads:
        for start in range(0, len(files), _FILES_AT_ONCE):
            some = files[start : start + _FILES_AT_ONCE]
            reasons += threads.map(functools.partial(_reason, channels=channels), some)
        found = [*zip(files, reasons, strict=True)]
        readable = [file for file, reason in found if reason is None]
        notes = notes_on_ignored(readable, Image(size=(1, 1), channels=channels), threads.map)
    unreadable = [(file, reason) for file, reason in found if reason is not None]
    bad = pd.DataFrame(unreadable, columns=["image", "reason"], dtype="str")
    if arguments.out:  # before anything is printed, where the reader may close the pipe
        write_frame(bad, arguments.out, overwrite=arguments.overwrite)
    for file, reason in bad.head(_SHOWN).itertuples(index=False):
        print(shown(f"{file}: {reason}"))
    if len(bad) > _SHOWN:
        print(f"… and {count(len(bad) - _SHOWN, 'more file')}")
    print(f"{count(len(files), 'image')} decoded, {len(bad):,} of them cannot be read.")
    for note in notes:
        print(note)
    if arguments.out:
        print(f"Listed in {arguments.out}")
    return int(len(bad) > 0)


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
