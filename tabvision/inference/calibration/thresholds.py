"""Choose the probability above which to answer "yes" by a metric on labeled rows. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tabvision.checks import check_choice
from tabvision.errors import BadValueError, count, speaking

if TYPE_CHECKING:
    from numpy.typing import NDArray

Counts: TypeAlias = "NDArray[np.float64]"  # one for each threshold


def _ratio(above: Counts, below: Counts) -> Counts:
    """Return the quotient, or 0 where the divisor is 0."""
    quotient: Counts = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return quotient


# Functions of the true positives, false positives, false negatives and true negatives.
METRICS: dict[str, Callable[[Counts, Counts, Counts, Counts], Counts]] = {
    "f1": lambda tp, fp, fn, tn: _ratio(2 * tp, 2 * tp + fn + fp),  # noqa: ARG005
    "f2": lambda tp, fp, fn, tn: _ratio(5 * tp, 5 * tp + 4 * fn + fp),  # noqa: ARG005
    "accuracy": lambda tp, fp, fn, tn: _ratio(tp + tn, tp + fp + fn + tn),
    "balanced_accuracy": lambda tp, fp, fn, tn: (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2,
    "youden": lambda tp, fp, fn, tn: _ratio(tp, tp + fn) + _ratio(tn, tn + fp) - 1,
}


@speaking("calibrate")
def best_threshold(probabilities: NDArray[Any], is_yes: NDArray[Any], metric: str = "f1") -> tuple[float, float]:
    """Return the threshold with the best score on these rows, and the score; the answer is "yes" above it.

    It lies halfway between two probabilities in the rows; ties are broken in favor of the threshold nearest to 0.5.

    Args:
        probabilities: Probabilities of "yes".
        is_yes: Whether "yes" is true.
        metric: "f1", "f2", "accuracy", "balanced_accuracy" or "youden" (sensitivity + specificity - 1).

    Shape:
        - probabilities: (N,)
        - is_yes: (N,) of zeros and ones

    Raises:
        UnknownNameError: No such metric.
        BadValueError: All rows are "yes", or all are "no".

    Example:
        >>> best_threshold(np.array([0.1, 0.2, 0.4, 0.9]), np.array([0, 0, 1, 1]), "accuracy")
        (0.30000000000000004, 1.0)
    """
    check_choice("metric", metric, METRICS)
    chances, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(is_yes).astype(bool)
    if not truth.any() or truth.all():
        problem = f"a threshold needs rows of both classes, got {int(truth.sum())} yes in {count(len(truth), 'row')}"
        raise BadValueError(problem, "Pass more rows")
    # score every threshold that separates rows, in ascending order
    order = np.argsort(chances)
    values, first = np.unique(chances[order], return_index=True)
    edges = np.concatenate([[0.0], values, [1.0]])
    limits = (edges[:-1] + edges[1:]) / 2
    below = np.append(first, len(truth))
    yes_below = np.concatenate([[0], np.cumsum(truth[order])])[below].astype(np.float64)
    no_below = below - yes_below
    scores = METRICS[metric](truth.sum() - yes_below, (~truth).sum() - no_below, yes_below, no_below)
    inside = (limits > 0) & (limits < 1)
    limits, scores = limits[inside], scores[inside]
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    chosen = best[np.abs(limits[best] - 0.5).argmin()]
    return float(limits[chosen]), float(scores[chosen])
