"""Defaults that depend on how many rows there are."""

from __future__ import annotations

MIN_BATCH, MAX_BATCH = 32, 4096
STEPS_PER_EPOCH = 60  # enough for batches to be large on large tables and for small tables to take enough steps
MIN_STEPS = 600  # a fit should take so many steps, as long as that is not too many epochs
MIN_EPOCHS, MAX_EPOCHS = 5, 20


def default_batch_size(num_rows: int) -> int:
    """A power of two that gives about `STEPS_PER_EPOCH` steps an epoch.

    Example:
        >>> [default_batch_size(rows) for rows in (100, 40_000, 10_000_000)]
        [32, 512, 4096]
    """
    batch_size = MIN_BATCH
    while batch_size < MAX_BATCH and batch_size * 2 * STEPS_PER_EPOCH <= num_rows:
        batch_size *= 2
    return batch_size


def default_epochs(num_rows: int, batch_size: int) -> int:
    """Epochs for about `MIN_STEPS` steps, more for small tables, fewer for large ones.

    Example:
        >>> [default_epochs(rows, default_batch_size(rows)) for rows in (100, 40_000, 10_000_000)]
        [20, 8, 5]
    """
    steps = max(1, num_rows // batch_size)
    return min(MAX_EPOCHS, max(MIN_EPOCHS, round(MIN_STEPS / steps)))


MIN_IMAGE_BATCH, MAX_IMAGE_BATCH = 8, 64
IMAGE_STEPS_PER_EPOCH = 15  # a few hundred photos still take enough steps in the few epochs of a fine-tune


def default_image_batch_size(num_images: int) -> int:
    """A power of two that gives about `IMAGE_STEPS_PER_EPOCH` steps an epoch.

    Example:
        >>> [default_image_batch_size(images) for images in (20, 245, 7_000)]
        [8, 16, 64]
    """
    batch_size = MIN_IMAGE_BATCH
    while batch_size < MAX_IMAGE_BATCH and batch_size * 2 * IMAGE_STEPS_PER_EPOCH <= num_images + batch_size * 2:
        batch_size *= 2
    return batch_size
