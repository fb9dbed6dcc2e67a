"""Small tables that several tests share, and their datamodules and modules."""

from typing import Any

import numpy as np
import pandas as pd

from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule


def table(rows: int = 40, **columns: Any) -> pd.DataFrame:
    """Numbers, categories and a target of two classes in turns, with further columns or others."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=rows), "job": draw.choice(["a", "b", "c"], rows)})
    frame["paid"] = np.where(np.arange(rows) % 2 == 0, "no", "yes")
    return frame.assign(**columns)


def quiet(source: Any, target: Any = "paid", **settings: Any) -> TabularDataModule:
    """Its datamodule in batches of eight."""
    return TabularDataModule(source, target, **({"batch_size": 8, "verbose": False} | settings))


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


TRAIN = ["train", "people.csv", "--target", "paid", "--epochs", "1", "--accelerator", "cpu", "--no-report"]


def people(rows: int = 120) -> pd.DataFrame:
    """People with a job and an age, of whom some are paid well."""
    random = np.random.default_rng(0)
    job = random.choice(["cook", "nurse", "pilot"], rows)
    age = random.integers(20, 65, rows).astype(float)
    return pd.DataFrame({"job": job, "age": age, "paid": np.where(age + 20 * (job == "pilot") > 45, "well", "badly")})


def nothing_to_learn(rows: int = 80) -> pd.DataFrame:
    """The same with a target that hangs on nothing, so that each network stops early."""
    frame = people(rows)
    return frame.assign(paid=frame["paid"].sample(frac=1, random_state=0).to_numpy())


def small(data: TabularDataModule, **settings: Any) -> TabularModule:
    """One layer of eight, and no value replaced by unknown in training."""
    chosen: dict[str, Any] = {"widths": [8], "unknown_share": 0.0}
    return TabularModule(data.schema, **(chosen | settings))
