"""Small tables that several tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd

DATES = ["2019-12-04", "2019-12-31", "2020-01-01", "2020-02-29", "2021-01-03"]


def mixed_table(num_rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """One column of each common kind, with gaps in some; `pay` is meant as the target."""
    rng = np.random.default_rng(seed)
    size = rng.normal(50, 9, num_rows)
    size[:: max(2, num_rows // 9)] = np.nan
    color = pd.Series(rng.choice(["red", "green", "blue"], num_rows), dtype="str")
    color[1::7] = None
    sold = pd.Series(pd.Timestamp("2019-11-01") + pd.to_timedelta(rng.integers(0, 900 * 24, num_rows), unit="h"))
    sold[2::11] = pd.NaT
    return pd.DataFrame(
        {
            "size": size,
            "visits": rng.integers(0, 1_000, num_rows),
            "rooms": rng.integers(1, 6, num_rows),
            "color": color,
            "garden": rng.random(num_rows) < 0.3,
            "grade": pd.Categorical(rng.choice(["low", "mid", "high"], num_rows), ["low", "mid", "high"], ordered=True),
            "sold": sold,
            "pay": rng.normal(size=num_rows),
        }
    )
