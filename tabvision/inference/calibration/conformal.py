"""Split conformal intervals: a width that holds the truth of so many rows, whatever the model. No torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tabvision.checks import check_fraction
from tabvision.errors import BadValueError, count, speaking

if TYPE_CHECKING:
    from numpy.typing import NDArray


@speaking("calibrate")
def half_widths(predictions: NDArray[Any], target: NDArray[Any], coverage: float = 0.9) -> tuple[float, ...]:
    """Return half the width of an interval around each prediction that holds the truth of at least that share of new rows.

    The promise is on average over draws of these rows and of new ones like them; they must not have been trained on.
    Several targets: each interval on its own.

    Args:
        predictions: In the user's units.
        target: The truth.
        coverage: In (0, 1).

    Shape:
        - predictions, target: (N, T)

    Raises:
        BadValueError: A coverage out of range, or too few rows for it.

    Source: Lei et al. 2018, "Distribution-Free Predictive Inference for Regression": the
        ceil((N + 1) * coverage)-th smallest absolute error.

    Example:
        >>> errors = np.arange(1.0, 100.0)[:, None]  # 99 rows
        >>> half_widths(errors, np.zeros((99, 1)), 0.9)
        (90.0,)
    """
    check_coverage(coverage)
    errors = np.sort(np.abs(predictions.astype(np.float64) - target), axis=0)
    rank = math.ceil(round((len(errors) + 1) * coverage, 9))  # rounded: 100 * 0.9 may come out a hair above 90
    if rank > len(errors):
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        problem = f"intervals of coverage {coverage:g} need at least {count(least, 'row')}, got {len(errors)}"
        raise BadValueError(problem, "Pass more rows, or ask for less coverage")
    return tuple(errors[rank - 1].tolist())


@speaking("calibrate")
def check_coverage(coverage: object) -> None:
    """Raise if the coverage is no fraction between 0 and 1."""
    check_fraction("coverage", coverage, "()", remedy="Pass a fraction such as 0.9")
