"""Measure how much each column matters to a model by how much worse its answers get when the column is shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tabvision.checks import check_choice, check_whole
from tabvision.data.targets import encode_target
from tabvision.errors import BadValueError, speaking
from tabvision.inference.batches import Arrays, Inputs
from tabvision.inference.inputs import Source as Rows
from tabvision.inference.predictor import Predictor
from tabvision.interpret.rows import (
    Column,
    Model,
    column_values,
    positions_of,
    predictor_of,
    raw_columns,
    read_rows,
    with_column,
)
from tabvision.metrics import RunningMean
from tabvision.modules import TabularModule
from tabvision.nets.column_sums import ColumnSums
from tabvision.nets.packed import PackedLinear, PackedNet

_ROWS_ON_GPU = 65_536
_ROWS_OF_PACKED = 512  # few enough at once for the first layer's sums to stay in the CPU's caches
_MOST_ENCODED = 1 << 27  # up to this many first-layer inputs (0.5 GB) are computed once, not at every shuffle
_Exchange: TypeAlias = Callable[[int, NDArray[np.intp]], Tensor]
"""Return the logits of a batch with one column, given by its number, taken from other rows, (R, B)."""


@speaking("importance")
def importance(
    model: Model,
    source: Rows,
    *,
    metric: str = "loss",
    repeats: int = 5,
    max_rows: int | None = 10_000,
    seed: int = 0,
    permutations: ArrayLike | None = None,
    fold: NDArray[np.integer] | None = None,
) -> pd.DataFrame:
    """Return the permutation importance of each raw column: how much worse a metric gets when the column is shuffled.

    Everything encoded from a raw column is shuffled together, such as the parts of a date and the missing-value indicator.
    Pass rows that training did not see. Columns that hold the same information may each get little importance, since the
    model can still read the others. A column of image paths counts as one column.

    Args:
        model: A `Predictor`, a module in memory, or the path of a checkpoint.
        source: Rows with the target: a frame or a table file.
        metric: "loss", or one of the task's metrics, such as "accuracy" or "rmse".
        repeats: How often to shuffle each column.
        max_rows: The most rows to use, drawn at random; None for all.
        seed: Determines that draw and the shuffles.
        permutations: Row orders to shuffle by, permutations of `range(rows)`, in place of `repeats` random ones.
        fold: `results.fold`, if `source` is the frame of out-of-fold results: each row is then answered, shuffled or not, by
            the member that was not trained on it.

    Returns:
        `column`, `importance`, the mean over the repeats, and `std`, their standard deviation; the highest first. Importance
        is the increase of a loss or error, or the decrease of a metric for which higher is better. `attrs["baseline"]` is
        the metric without shuffling.

    Shape:
        - permutations: (repeats, rows) int
        - fold: (rows,) int64, or (rows, networks) for a bag

    Raises:
        BadTypeError: The model reads only images, or the rows are not a table.
        BadValueError: A number is out of range, `permutations` are not permutations, the target is missing in some row, or
            the metric is not defined on these rows.
        UnknownNameError: The task has no such metric.

    Source:
        Fisher et al. 2019, "All Models are Wrong, but Many are Useful"; scikit-learn's `permutation_importance`.
    """
    check_whole("repeats", repeats)
    predictor = predictor_of(model)
    columns = list(raw_columns(predictor).values())
    rng = np.random.default_rng(seed)
    inputs = read_rows(predictor, source, max_rows, rng, fold)
    num_rows = inputs.num_rows
    if permutations is None:
        orders = np.stack([rng.permutation(num_rows) for _ in range(repeats)])
    else:
        orders = np.asarray(permutations)
        is_whole = orders.dtype.kind in "iu" and orders.ndim == 2 and orders.shape[1] == num_rows and len(orders)
        if not is_whole or (np.sort(orders) != np.arange(num_rows)).any():
            problem = f"permutations must be orders of the {num_rows:,} rows, got an array of shape {orders.shape}"
            raise BadValueError(problem, f"Pass a list such as [rng.permutation({num_rows}) for _ in range(5)]")
    values, unshuffled, is_gain = _measure(predictor, inputs, columns, orders, metric)
    worse = (values - unshuffled) * (-1 if is_gain else 1)
    frame = pd.DataFrame(
        {"column": [column.name for column in columns], "importance": worse.mean(axis=1), "std": worse.std(axis=1)}
    )
    frame = frame.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    frame.attrs["baseline"] = unshuffled
    return frame


def _measure(
    predictor: Predictor, inputs: Inputs, columns: Sequence[Column], orders: NDArray[np.intp], metric: str
) -> tuple[NDArray[np.float64], float, bool]:
    """Return the metric for each column and order, (columns, R), the unshuffled metric, and whether higher is better."""
    assert inputs.frame is not None, "read_rows returns one"
    target = encode_target(inputs.frame, predictor.schema.target)
    baseline = _Scores(predictor, metric, 1)
    scores = [_Scores(predictor, metric, len(orders)) for _ in columns]
    values = [column_values(inputs.arrays, column) for column in columns]
    # use the fast path only if columns can be exchanged one at a time in all networks
    all_nets = predictor.module.nets if isinstance(predictor.module, TabularModule) else ()
    nets = [net for net in all_nets if isinstance(net, PackedNet) and isinstance(net.head, PackedLinear)]
    nets = nets if len(nets) == len(all_nets) else []
    on_gpu = predictor.device.type != "cpu" and inputs.images is None
    batch_size = _ROWS_ON_GPU if on_gpu else _ROWS_OF_PACKED if nets else None
    with torch.inference_mode():
        packed = _Packed(predictor, nets, columns, values) if nets else None
        for arrays in inputs.batches(batch_size):  # outer loop: the first layer's sums are computed once
            truth, rows = predictor.encoded_target(target, arrays), arrays["index"]
            exchange = packed.exchange_of(arrays) if packed else _exchange_of(predictor, arrays, columns, values)
            baseline.update(exchange(0, rows[None]), truth)  # rounded like the others
            for number, of_column in enumerate(scores):
                of_column.update(exchange(number, orders[:, rows]), truth)
    return np.array([of_column.values() for of_column in scores]), float(*baseline.values()), baseline.higher_is_better


def _exchange_of(
    predictor: Predictor, arrays: Arrays, columns: Sequence[Column], values: Sequence[Arrays]
) -> _Exchange:
    """Return a function that answers a batch again, with one column taken from other rows."""

    def exchange(number: int, others: NDArray[np.intp]) -> Tensor:
        found = []
        for rows in others:
            new = {name: it[rows] for name, it in values[number].items()}
            found.append(predictor.logits(with_column(arrays, columns[number], new)))
        return torch.cat(found)

    return exchange


@final
class _Packed:
    """Answer with packed networks, without recomputing the other columns."""

    def __init__(
        self, predictor: Predictor, nets: Sequence[PackedNet], columns: Sequence[Column], values: Sequence[Arrays]
    ) -> None:
        self._predictor, self._nets, self._values = predictor, [ColumnSums(net) for net in nets], values
        positions = [positions_of(column) for column in columns]
        self._positions = [(it["continuous"], it["categorical"]) for it in positions]
        num_rows = len(next(iter(values[0].values())))
        is_small = num_rows * sum(net.num_inputs for net in self._nets) <= _MOST_ENCODED
        everything = np.arange(num_rows)
        self._encoded = [self._encode(number, everything) for number in range(len(columns))] if is_small else None

    def exchange_of(self, arrays: Arrays) -> _Exchange:
        """Return the exchange function for a batch."""
        module, device, calibration = self._predictor.module, self._predictor.device, self._predictor.calibration
        fold = torch.from_numpy(arrays["fold"]).to(device) if "fold" in arrays else None
        sums = [net.of(*self._tensors(arrays, len(arrays["index"]))) for net in self._nets]

        def exchange(number: int, others: NDArray[np.intp]) -> Tensor:
            old, new = self._inputs(number, arrays["index"]), self._inputs(number, others.ravel())
            of_nets = [
                net.exchange(each, *self._positions[number], before, after)
                for net, each, before, after in zip(self._nets, sums, old, new, strict=True)
            ]
            folds = None if fold is None else fold.repeat(len(others), *[1] * (fold.ndim - 1))
            return calibration.scale(module.combine_members(torch.cat(of_nets, dim=1), folds).float())

        return exchange

    def _inputs(self, number: int, rows: NDArray[np.intp]) -> list[Tensor]:
        """Return the inputs that a column of some rows gives to the first layer of each network."""
        if self._encoded is None:
            return self._encode(number, rows)
        wanted = torch.from_numpy(rows).to(self._predictor.device)
        return [inputs.index_select(0, wanted) for inputs in self._encoded[number]]

    def _encode(self, number: int, rows: NDArray[np.intp]) -> list[Tensor]:
        values = self._tensors({name: it[rows] for name, it in self._values[number].items()}, len(rows))
        return [net.inputs(*self._positions[number], *values) for net in self._nets]

    def _tensors(self, values: Arrays, num_rows: int) -> tuple[Tensor, Tensor]:
        continuous = values.get("continuous", np.empty((num_rows, 0), np.float32))
        categorical = values.get("categorical", np.empty((num_rows, 0), np.int64))
        device = self._predictor.device
        return torch.from_numpy(continuous).to(device), torch.from_numpy(categorical).to(device, torch.int64)


@final
class _Scores:
    """The loss or a metric for each of several passes over the rows.

    Raises:
        UnknownNameError: The task has no such metric.
        BadValueError: The metric does not say whether higher is better.
    """

    def __init__(self, predictor: Predictor, name: str, passes: int) -> None:
        self._task, self._name, self._passes, self._loss = predictor.module.task, name, passes, RunningMean()
        self._metrics: list[Any] = []
        self.higher_is_better = False
        if name == "loss":
            return
        check_choice("metric", name, ["loss", *map(str, self._task.metrics())])
        for _ in range(passes):
            metric: Any = self._task.metrics()[name].to(predictor.device)
            metric.distributed_available_fn = lambda: False  # every process has all rows
            self._metrics.append(metric)
        if metric.higher_is_better is None:
            remedy = f"Set higher_is_better in the class {type(metric).__name__}"
            raise BadValueError(f"{name} does not say whether higher is better", remedy)
        self.higher_is_better = metric.higher_is_better

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch of B rows.

        Shape:
            - logits: (passes * B, num_outputs) float
            - target: (B, ...)
        """
        if self._metrics:
            for metric, part in zip(self._metrics, self._task.activate(logits).chunk(self._passes), strict=True):
                metric.update(part, target)
        else:
            losses = self._task.loss(logits, target.repeat(self._passes, *[1] * (target.ndim - 1)))
            self._loss.update(losses.view(self._passes, -1).mean(1), len(target))

    def values(self) -> NDArray[np.float64]:
        """Return the mean loss or the metric over all rows, (passes,)."""
        if self._metrics:
            found = np.array([float(metric.compute()) for metric in self._metrics])
        else:
            total, weight = self._loss.totals()
            found = (total / weight).cpu().numpy().astype(np.float64)
        if not np.isfinite(found).all():
            raise BadValueError(f"{self._name} is {found.max()} on these rows", "Pass other rows, or another metric")
        return found
