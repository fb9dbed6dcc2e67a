"""The memory that this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def memory_limit(unknown: int = 1 << 62) -> int:
    """Return the bytes of memory of the machine or of the container around this process; `unknown` if neither tells."""
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no such call
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
    return min(found, default=unknown)
