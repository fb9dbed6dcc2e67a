"""Split conformal intervals, with guaranteed coverage on new rows, whatever the model. No torch."""

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
    """Return the half-width of an interval around each prediction that covers the true value in a fraction of new rows.

    The guarantee, at least `coverage`, is an average over draws of these rows and of new rows from the same distribution.
    The model must not have been trained on these rows. Each target has its own interval.

    Args:
        predictions: Predictions in the user's units.
        target: The true values.
        coverage: The fraction of rows whose true value lies in the interval, in (0, 1).

    Shape:
        - predictions, target: (N, T)

    Raises:
        BadValueError: The coverage is out of range, or there are too few rows for it.

    Source: Lei et al. 2018, "Distribution-Free Predictive Inference for Regression": the
        ceil((N + 1) * coverage)-th smallest absolute error.

    Example:
        >>> errors = np.arange(1.0, 100.0)[:, None]  # 99 rows
        >>> half_widths(errors, np.zeros((99, 1)), 0.9)
        (90.0,)
    """
    check_fraction("coverage", coverage, "()", remedy="Pass a fraction such as 0.9")
    errors = np.sort(np.abs(predictions.astype(np.float64) - target), axis=0)
    rank = math.ceil(round((len(errors) + 1) * coverage, 9))  # rounded, since 100 * 0.9 may be slightly above 90
    if rank > len(errors):
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        problem = f"intervals of coverage {coverage:g} need at least {count(least, 'row')}, got {len(errors)}"
        raise BadValueError(problem, "Pass more rows, or a lower coverage")
    return tuple(errors[rank - 1].tolist())
