"""A small table and the words that train on it."""

import numpy as np
import pandas as pd

TRAIN = ["train", "people.csv", "--target", "paid", "--epochs", "1", "--accelerator", "cpu"]


def people(rows: int = 120) -> pd.DataFrame:
    """People with a job and an age, of whom some are paid well."""
    random = np.random.default_rng(0)
    job = random.choice(["cook", "nurse", "pilot"], rows)
    age = random.integers(20, 65, rows).astype(float)
    return pd.DataFrame({"job": job, "age": age, "paid": np.where(age + 20 * (job == "pilot") > 45, "well", "badly")})
