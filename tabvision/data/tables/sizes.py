"""Defaults that depend on the number of rows: validation rows, batch size, and the number of epochs."""

from __future__ import annotations

import math
from typing import Any

from tabvision.tasks.target import SMALL_TABLE


def settled_split(split: Any, num_rows: int) -> Any:  # noqa: ANN401 - as for the datamodule
    """Return the split with "auto" resolved for the number of rows.

    Example:
        >>> settled_split("auto", 500), settled_split(("auto", 0.1), 22_222), settled_split(("auto", 0.1), 22_221)
        (None, (0.2, 0.1), (None, 0.1))
    """
    if isinstance(split, tuple | list) and split[:1] in (("auto",), ["auto"]):
        return (settled_split("auto", num_rows - round(num_rows * split[1])), *split[1:])  # as the test rows are drawn
    if isinstance(split, str) and split == "auto":
        return None if num_rows < SMALL_TABLE else 0.2
    return split


def table_batch_size(num_rows: int) -> int:
    """Return the power of two nearest to 4 * sqrt(rows), from 32 to 2,048.

    Example:
        >>> [table_batch_size(rows) for rows in (50, 1_000, 40_000, 10_000_000)]
        [32, 128, 1024, 2048]
    """
    exponent = round(math.log2(4 * math.sqrt(num_rows)))
    return 1 << min(11, max(5, int(exponent)))


def most_epochs(num_rows: int) -> int:
    """Return the upper limit of epochs for a fit that stops by itself.

    Example:
        >>> [most_epochs(rows) for rows in (640, 31_000, 210_000)]
        [115, 36, 20]
    """
    return max(2, round(800 / math.pow(num_rows, 0.3)))


def fast_epochs(num_rows: int) -> int:
    """Return the epochs of `--preset fast`: an eighth of the upper limit.

    Example:
        >>> [fast_epochs(rows) for rows in (640, 31_000, 210_000)]
        [14, 4, 2]
    """
    return max(2, round(most_epochs(num_rows) / 8))
