"""How far the metrics of a model would differ on other rows like those it was measured on."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch

from tabvision.inference import Results

NUM_RESAMPLES = 100
_MAX_ROWS = 5_000  # of a resample
_MIN_ROWS = 10
_Z = 1.959964  # standard deviations of a 95 % interval


def half_widths(results: Results, seed: int = 0) -> dict[str, float]:
    """Return half of the 95 % interval of each of the task's metrics over rows; none below 10 rows.

    The standard deviation of a metric over resamples of the rows, each drawn with replacement. Resamples of large results are
    smaller, and the deviation is scaled by the root of the size.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; m out of n, Bickel et al. 1997.
    """
    num_rows, metrics, rng = len(results), results.schema.task.metrics(), np.random.default_rng(seed)
    if num_rows < _MIN_ROWS:
        return {}
    size, found = min(num_rows, _MAX_ROWS), []
    for _ in range(NUM_RESAMPLES):
        rows = rng.integers(num_rows, size=size)
        metrics.reset()
        metrics.update(
            torch.from_numpy(results.predictions[rows].astype(np.float32)), torch.from_numpy(results.target[rows])
        )
        with warnings.catch_warnings():  # a resample without a class has no AUC
            warnings.simplefilter("ignore")
            found.append({str(name): float(value) for name, value in metrics.compute().items()})
    deviations = pd.DataFrame(found).std() * np.sqrt(size / num_rows)
    return {str(name): _Z * float(value) for name, value in deviations.items()}
