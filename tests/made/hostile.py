"""Checkpoints with entries that no training writes, and facts that grow as they are read."""

import io
from typing import Any

import torch

from tests.made.trained import trained

ASK_FOR_THE_ORIGINAL = "Do not use it; ask for the original checkpoint"


def saved(**changes: Any) -> bytes:
    """A good checkpoint's bytes with some entries replaced."""
    checkpoint = torch.load(trained("binary")[0], weights_only=True) | changes
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def with_settings(**changes: Any) -> bytes:
    settings = torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"]
    return saved(hyper_parameters=settings | changes)


def laughing() -> Any:
    """Ten lists of the same ten lists of the same … : a few hundred bytes, 10**12 values written out."""
    found: Any = "ha"
    for _ in range(12):
        found = [found] * 10
    return found


def itself() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> Any:
    found: Any = 1
    for _ in range(150):
        found = {"a": found}
    return found
