"""Save and restore the state of all random generators of a process, as plain data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of every random generator of this process, as tensors and plain data.

    Example:
        >>> sorted(random_state())
        ['cuda', 'numpy', 'python', 'torch']
    """
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    numpy_keys = torch.from_numpy(np.array(keys, dtype=np.int64))
    version, words, next_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "numpy": [str(name), numpy_keys, int(position), int(has_gauss), float(gauss)],
        "python": [version, list(words), next_gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the state of every random generator of this process."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, next_gauss = state["python"]
    random.setstate((version, tuple(words), next_gauss))


@contextmanager
def same_random_state() -> Iterator[None]:
    """Restore every random generator at the end of a `with` block.

    Example:
        >>> before = torch.get_rng_state()
        >>> with same_random_state():
        ...     _ = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
