"""Every picture of a folder decoded once, to find those that training would leave out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from tabvision.data.images.decode import UnreadableImageError, open_picture
from tabvision.data.images.folders import all_pictures
from tabvision.data.images.reader import check_workers, single_threaded_cv2
from tabvision.errors import speaking

FILES_AT_ONCE = 4096  # so that a million files do not wait as a million jobs


@speaking("check_images")
def check_images(folder: str | Path, *, num_workers: int | None = None) -> tuple[int, pd.DataFrame]:
    """Decodes every picture below a folder.

    Args:
        folder: Where they are.
        num_workers: Threads; 0 for none, None for one a core.

    Returns:
        How many there are, and those that cannot be read: columns `image` and `reason`.

    Raises:
        MissingFileError: No such folder.
        BadValueError: There is no picture in it.
    """
    workers = check_workers(num_workers)
    table = all_pictures(folder)
    bad: list[tuple[str, str]] = []
    with single_threaded_cv2(), ThreadPoolExecutor(max(1, workers)) as threads:
        for start in range(0, len(table.frame), FILES_AT_ONCE):
            files = table.files(np.arange(start, min(start + FILES_AT_ONCE, len(table.frame))))
            reasons: Sequence[str | None] = list(threads.map(what_is_wrong, files))
            bad += [(file, reason) for file, reason in zip(files, reasons, strict=True) if reason is not None]
    return len(table.frame), pd.DataFrame(bad, columns=["image", "reason"], dtype="str")


def what_is_wrong(file: str) -> str | None:
    """Why a file cannot be read as a picture, or None.

    Example:
        >>> what_is_wrong("nowhere/cat.jpg")
        'no such file'
    """
    try:
        open_picture(file).decode()
    except UnreadableImageError as error:
        return error.reason
    return None
