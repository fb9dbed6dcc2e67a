"""Whether a graph is being recorded, which what runs outside of torch would be missing from."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether torch compiles, exports or traces what now runs.

    Example:
        >>> is_traced()
        False
    """
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None  # noqa: SLF001 - no public name
