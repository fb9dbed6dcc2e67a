"""A small table and its datamodule, which prints nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tabvision.data import TabularDataModule


def table(rows: int = 40, **columns: Any) -> pd.DataFrame:
    """Numbers, categories and a target of two classes in turns, with further columns or others."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=rows), "job": draw.choice(["a", "b", "c"], rows)})
    frame["paid"] = np.where(np.arange(rows) % 2 == 0, "no", "yes")
    return frame.assign(**columns)


def quiet(source: Any, target: Any = "paid", **settings: Any) -> TabularDataModule:
    """Its datamodule in batches of eight."""
    return TabularDataModule(source, target, **({"batch_size": 8, "verbose": False} | settings))
