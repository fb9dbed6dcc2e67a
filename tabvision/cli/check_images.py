"""`tabvision check-images`: list the images of a folder that cannot be read, before training fails on them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabvision.errors import count, speaking

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20
_FILES_AT_ONCE = 4096  # limits the queue of a folder with a million files


def add_check_images(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Add the command."""
    parser = commands.add_parser("check-images", help="find the images of a folder that cannot be read")
    parser.add_argument("folder", metavar="DIR", help="a folder; its subfolders are searched as well")
    parser.add_argument("--out", metavar="FILE", help="where to list them with the reason, such as bad_files.csv")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=_run)


@speaking("tabvision check-images")
def _run(arguments: argparse.Namespace) -> None:
    """Decode every image and list those that are damaged."""
    from tabvision.data.tables.write import check_destination, write_frame

    if arguments.out:
        check_destination(arguments.out, overwrite=arguments.overwrite)
    num, bad = _unreadable(arguments.folder, arguments.workers)
    for file, reason in bad.head(_SHOWN).itertuples(index=False):
        print(f"{file}: {reason}")
    if len(bad) > _SHOWN:
        print(f"… and {count(len(bad) - _SHOWN, 'more file')}")
    print(f"{count(num, 'image')} decoded, {len(bad):,} of them cannot be read.")
    if arguments.out:
        write_frame(bad, arguments.out, overwrite=arguments.overwrite)
        print(f"Listed in {arguments.out}")


def _unreadable(folder: str, num_workers: int | None) -> tuple[int, pd.DataFrame]:
    """Decode every image below a folder in threads; return their number, and `image` and `reason` of the damaged ones."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import pandas as pd

    from tabvision.data.images.folders import all_images
    from tabvision.data.images.reader import check_workers, single_threaded_cv2

    workers = check_workers(num_workers)
    table = all_images(folder)
    bad: list[tuple[str, str]] = []
    with single_threaded_cv2(), ThreadPoolExecutor(max(1, workers)) as threads:
        for start in range(0, len(table.frame), _FILES_AT_ONCE):
            files = table.files(np.arange(start, min(start + _FILES_AT_ONCE, len(table.frame))))
            reasons = threads.map(_reason, files)
            bad += [(file, reason) for file, reason in zip(files, reasons, strict=True) if reason is not None]
    return len(table.frame), pd.DataFrame(bad, columns=["image", "reason"], dtype="str")


def _reason(file: str) -> str | None:
    """Return why a file cannot be read as an image, or None.

    Example:
        >>> _reason("nowhere/cat.jpg")
        'no such file'
    """
    from tabvision.data.images.decode import UnreadableImageError, open_image

    try:
        open_image(file).decode()
    except UnreadableImageError as error:
        return error.reason
    return None
