"""A small module for a table of the contract tests."""

from __future__ import annotations

from typing import Any

from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule


def small(data: TabularDataModule, **settings: Any) -> TabularModule:
    """One layer of eight, and no value replaced by unknown in training."""
    chosen: dict[str, Any] = {"widths": [8], "unknown_share": 0.0}
    return TabularModule(data.schema, **(chosen | settings))
