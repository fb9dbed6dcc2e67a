"""Detect whether torch is recording a graph, which would lack what runs outside of torch."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Return whether torch is compiling, exporting or tracing.

    Example:
        >>> is_traced()
        False
    """
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None  # noqa: SLF001 - no public name
