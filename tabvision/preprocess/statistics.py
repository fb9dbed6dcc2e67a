"""The statistics of a number (fill value, mean, std, bin edges), and the writer that standardizes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import BadValueError
from tabvision.preprocess.categories import MAX_TABLE, Writer, count_integers
from tabvision.preprocess.columns import MAX_SHOWN, found_rows
from tabvision.schema import Continuous

NUM_BINS = 48  # the most bins, as in rtdl_num_embeddings, `compute_bins(n_bins=48)`
_SMALL_TABLE = 10_000  # with fewer rows than this, each bin holds more of them
MAX_SAMPLE = 100_000  # the most rows of a column of floats to compute its edges from
BLOCK = 65_536  # rows written at a time, so that a block's columns fit the CPU cache


@dataclass(frozen=True)
class Statistics:
    """The statistics of a number over the training rows.

    Args:
        fill: The median, which replaces missing values.
        mean: Mean after filling.
        std: Standard deviation after filling (with `ddof=0`); 1 for a constant column.
        num_missing: Number of rows without a value.
        edges: Edges of bins in standardized units, ascending; see `_bin_edges`.
    """

    fill: float
    mean: float
    std: float
    num_missing: int
    edges: tuple[float, ...]


def statistics_of(values: NDArray[Any], name: str) -> Statistics:
    """Return the statistics of a column of numbers, with NaN for missing ones.

    Raises:
        BadValueError: There are infinities, or numbers too large to square.

    Example:
        >>> statistics_of(np.array([1.0, np.nan, 3.0]), "x").fill
        2.0
    """
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    if (counted := count_integers(values, min(MAX_TABLE, 4 * len(values) + 1_000))) is not None:
        return statistics_of_counts(*counted)
    # Find the median by partition rather than sorting, and sum squares block by block, on one copy of the column.
    present = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(present.sum())
    if not np.isfinite(total):
        check_finite(values, name)
        present = present[~np.isnan(present)]
    num_missing = len(values) - len(present)
    if not len(present):
        return Statistics(0.0, 0.0, 1.0, num_missing, (0.0,))
    sample = present[:: -(-len(present) // MAX_SAMPLE)].copy()
    middle = len(present) // 2
    present.partition(middle)
    fill = float(present[middle] if len(present) % 2 else present[:middle].max() / 2 + present[middle] / 2)
    mean, std = _mean_and_std(present, fill, num_missing, name)
    if num_missing:
        sample = np.append(sample, np.full(round(num_missing * len(sample) / len(present)), fill))
    distinct, counts = np.unique((sample - mean) / std, return_counts=True)
    return Statistics(fill, mean, std, num_missing, _bin_edges(distinct, counts, len(values)))


def statistics_of_counts(values: NDArray[Any], counts: NDArray[np.int64], num_missing: int = 0) -> Statistics:
    """Return the exact statistics of a column from its distinct numbers, ascending, and the number of rows with each.

    Example:
        >>> statistics_of_counts(np.array([0, 10]), np.array([3, 1])).mean
        2.5
    """
    values = values.astype(np.float64)
    fill = 0.0
    if len(values):
        ends = np.cumsum(counts)
        middle = (int(ends[-1]) - 1) / 2
        low, high = values[np.searchsorted(ends, [np.floor(middle), np.ceil(middle)], side="right")]
        fill = float(low + (high - low) * (middle % 1))
    if num_missing or not len(values):
        index = int(np.searchsorted(values, fill))
        values, counts = np.insert(values, index, fill), np.insert(counts, index, num_missing)
    total = max(1, int(counts.sum()))
    mean = float(values @ counts) / total if np.ptp(values) else float(values[0])
    std = float(np.sqrt(np.square(values - mean) @ counts / total)) or 1.0
    return Statistics(fill, mean, std, num_missing, _bin_edges((values - mean) / std, counts))


@final
class Moments:
    """The count, mean, sum of squares around the mean, minimum and maximum of numbers that come in blocks.

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".

    Example:
        >>> moments = Moments()
        >>> [moments.add(np.array(block)) for block in ([1.0, 2.0], [6.0])], float(moments.mean), float(moments.squares)
        ([None, None], 3.0, 14.0)
    """

    def __init__(self) -> None:
        self.number = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.low: Any = np.inf
        self.high: Any = -np.inf

    def add(self, values: NDArray[np.float64]) -> None:
        """Add a block of one column, (N,), or of several, (N, T)."""
        if not len(values):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            total, mean = self.number + len(values), values.mean(axis=0)
            between = (mean - self.mean) ** 2 * self.number * len(values) / total
            self.squares = self.squares + np.square(values - mean).sum(axis=0) + between
            self.mean = self.mean + (mean - self.mean) * len(values) / total
        self.number = total
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))


def statistics_of_sample(sample: NDArray[Any], name: str, moments: Moments, num_missing: int) -> Statistics:
    """Return the statistics of a column, with the median and edges from a sample of its rows.

    Args:
        sample: Randomly drawn rows of the column, with NaN for missing values.
        name: The column's name.
        moments: Those of the values in all rows.
        num_missing: Number of rows without a value.

    Raises:
        BadValueError: Numbers are too large to square.

    Example:
        >>> moments = Moments()
        >>> moments.add(np.array([1.0, 3.0, 1.0, 3.0]))
        >>> statistics_of_sample(np.array([1.0, 3.0]), "x", moments, num_missing=0).std
        1.0
    """
    number, mean, squares = moments.number, float(moments.mean), float(moments.squares)
    ends = float(moments.low), float(moments.high)
    present = sample[~np.isnan(sample)].astype(np.float64)
    if not number:
        return Statistics(0.0, 0.0, 1.0, num_missing, (0.0,))
    fill = float(np.median(present)) if len(present) else mean
    if ends[0] == ends[1]:
        mean, std = ends[0], 1.0
    else:
        filled = (mean * number + fill * num_missing) / (number + num_missing)
        with np.errstate(over="ignore", invalid="ignore"):
            squares += number * (mean - filled) ** 2 + num_missing * (fill - filled) ** 2
            mean, std = filled, _finite_std(squares / (number + num_missing), name, max(map(abs, ends)))
    values = np.concatenate([present, np.full(len(sample) - len(present), fill), ends])
    distinct, counts = np.unique((values - mean) / std, return_counts=True)
    return Statistics(fill, mean, std, num_missing, _bin_edges(distinct, counts, number + num_missing))


def _mean_and_std(present: NDArray[np.float64], fill: float, num_missing: int, name: str) -> tuple[float, float]:
    """Return the mean and standard deviation of a column of floats after filling."""
    if present.min() == present.max():
        return float(present[0]), 1.0
    num_rows = len(present) + num_missing
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (float(present.sum()) + fill * num_missing) / num_rows
        squares = num_missing * (fill - mean) * (fill - mean)
        for start in range(0, len(present), BLOCK):
            away = present[start : start + BLOCK] - mean
            squares += float(np.square(away, out=away).sum())
    return mean, _finite_std(squares / num_rows, name, float(np.abs(present).max()))


def _finite_std(variance: float, name: str, largest: float) -> float:
    """Return the standard deviation, or 1 if it is 0; raise if the numbers were too large to square."""
    if not np.isfinite(variance):
        problem = f"column {name!r} holds numbers too large to standardize, up to {largest:g}"
        raise BadValueError(problem, "Rescale it, for instance by its logarithm")
    return float(np.sqrt(variance)) or 1.0


def check_finite(values: NDArray[Any], name: str) -> None:
    """Raise if there are infinities; the error counts them and shows the first.

    Raises:
        BadValueError: There are infinities.
    """
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        first = bad[:MAX_SHOWN].tolist()
        found = found_rows(len(bad), first, [float(values[row]) for row in first])
        remedy = f"Replace them, such as frame[{name!r}].replace([np.inf, -np.inf], np.nan), or correct the source"
        raise BadValueError(f"column {name!r} must hold finite numbers, got {found}", remedy)


def number_writer(values: NDArray[Any], number: Continuous) -> Writer:
    """Return a writer of `(value - mean) / std`, computed in float64 and written as float32, with missing values filled.

    Raises:
        BadValueError: While writing, for infinities or numbers beyond float32.

    Example:
        >>> number, out = Continuous(name="x", source="x", mean=3.0, std=2.0, fill=3.0), np.empty(2, np.float32)
        >>> number_writer(np.array([5.0, np.nan]), number)(slice(0, 2), out)
        >>> out.tolist()
        [1.0, 0.0]
    """

    def write(rows: slice, out: NDArray[Any]) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.subtract(values[rows], mean, dtype=np.float64)
            np.divide(part, std, out=out, casting="same_kind")
        good = np.isfinite(out)
        if good.all():
            return
        check_finite(values, name)
        missing = np.isnan(values[rows])
        if (far := ~(good | missing)).any():
            shown = f"column {name!r} holds {float(values[rows][far][0])!r}"
            raise BadValueError(
                f"{shown}, which is too far from the training values to standardize", "Correct it, or set it to missing"
            )
        out[missing] = (fill - mean) / std

    name, mean, std, fill = number.source, number.mean, number.std, number.fill
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    return write


def _bin_edges(
    values: NDArray[np.float64], counts: NDArray[np.int64], num_rows: int | None = None
) -> tuple[float, ...]:
    """Return the edges of at most `NUM_BINS` bins, in float32, the precision in which the network compares.

    A value with at least one bin's fraction of the rows becomes an edge (an atom); the other edges are quantiles of the
    other rows. Plain quantiles of a column that is 0 in 92 % of the rows would leave only 4 bins for the other values.

    Args:
        values: The distinct values, ascending.
        counts: The number of rows with each.
        num_rows: The number of training rows, if these are only a sample.

    Example:
        >>> len(_bin_edges(np.arange(101.0), np.array([9_200, *[8] * 100])))
        49
    """
    sampled = int(counts.sum())
    num_rows = num_rows or sampled
    is_atom = counts >= sampled / NUM_BINS
    atoms, num_others = values[is_atom], sampled - int(counts[is_atom].sum())
    edges = [atoms, values[[0, -1]]]
    if num_others:
        rows_in_bin = 32 if num_rows < _SMALL_TABLE else 16
        num_bins = max(1, min(NUM_BINS - len(atoms), num_others * num_rows // (sampled * rows_in_bin)))
        ends = np.cumsum(counts[~is_atom])
        positions = np.rint(np.linspace(0, 1, num_bins + 1) * (num_others - 1))
        edges.append(values[~is_atom][np.searchsorted(ends, positions, side="right")])
    return tuple(np.unique(np.concatenate(edges).astype(np.float32)).tolist())
