"""The corrections fitted by calibration, as plain data: temperatures, thresholds, widths of intervals. No torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np

from tabvision.errors import BadValueError, speaking
from tabvision.plain import from_plain, without_tuples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tabvision.tasks import Task

Logits = TypeVar("Logits")  # a tensor or an array


@final
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The corrections of one model; each is empty if it was not fitted.

    Args:
        temperatures: Divisors of the logits, above 0: one, or one for each label.
        thresholds: Probabilities above which the answer is "yes", in (0, 1): one for two classes, or one for each label.
        coverage: The fraction of rows whose true value lies in the interval, in (0, 1); None without intervals.
        half_widths: Half the width of an interval around each predicted number, in the user's units.

    Example:
        >>> calibration = Calibration(temperatures=(2.0,))
        >>> calibration.scale(np.array([[1.0, -4.0]])).tolist()
        [[0.5, -2.0]]
    """

    temperatures: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    coverage: float | None = None
    half_widths: tuple[float, ...] = ()

    @classmethod
    @speaking("Calibration")
    def from_dict(cls, data: object, task: Task) -> Calibration:
        """Return the calibration that `to_dict` wrote, checked against the task.

        Raises:
            BadValueError: Facts are missing, unknown or out of range, or their number does not fit the task.
        """
        found = from_plain(data, cls)
        found.check(task)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the corrections as plain JSON data."""
        return dict(without_tuples(dataclasses.asdict(self)))

    def __bool__(self) -> bool:
        return bool(self.temperatures or self.thresholds or self.half_widths)

    def scale(self, logits: Logits) -> Logits:
        """Return the logits, a tensor or an array, divided by the temperature."""
        if not self.temperatures:
            return logits
        values: Any = logits
        new = values.new_tensor if hasattr(values, "new_tensor") else np.array
        scaled: Logits = values / new(self.temperatures)
        return scaled

    def decode(self, task: Task, predictions: NDArray[Any]) -> NDArray[Any]:
        """Return the decoded predictions, as `task.decode` does, with the thresholds if there are any."""
        if not self.thresholds:
            return task.decode(predictions)
        # float64, since numpy would round a plain float to the predictions' float32, where it may equal a probability
        limits = np.array(self.thresholds, dtype=np.float64)
        flags: NDArray[Any] = predictions[:, -len(limits) :] > limits
        of_each_label = predictions.shape[1] == len(limits)
        return flags if of_each_label else flags[:, 0].astype(np.int64)

    def intervals(self, names: Sequence[str], predictions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the ends of each interval as named columns, or no columns if there are no intervals.

        Args:
            names: The suffix of the column name for each predicted number.
            predictions: (N, T) numbers in the user's units.
        """
        columns = {}
        for position, (name, half) in enumerate(zip(names, self.half_widths, strict=False)):
            columns[f"interval_low{name}"] = predictions[:, position] - half
            columns[f"interval_high{name}"] = predictions[:, position] + half
        return columns

    def check(self, task: Task) -> None:
        """Raise a BadValueError unless the corrections suit the task."""
        methods, each = task.calibrated_by, task.num_outputs
        rules = (  # for each correction: the allowed counts if the task has it, and the lowest value
            ("temperatures", "temperature", (0, 1, each), 5e-324),
            ("thresholds", "thresholds", (0, each), 5e-324),
            ("half_widths", "intervals", (0, each), 0.0),
        )
        problems = []
        for what, method, counts, least in rules:
            values, allowed = getattr(self, what), dict.fromkeys(counts if method in methods else (0,))
            if len(values) not in allowed:
                problems.append(f"{what} must be {' or '.join(map(str, allowed))} numbers, got {len(values)}")
            elif not all(math.isfinite(value) and value >= least for value in values):
                problems.append(f"{what} must be finite and above 0, got {values}")
        if any(limit >= 1 for limit in self.thresholds):
            problems.append(f"thresholds must lie in (0, 1), got {self.thresholds}")
        if self.coverage is not None and not 0 < self.coverage < 1:
            problems.append(f"coverage must lie in (0, 1), got {self.coverage!r}")
        if bool(self.half_widths) != (self.coverage is not None):
            problems.append("coverage and half_widths belong together, got one without the other")
        if problems:
            raise BadValueError(problems[0], "Calibrate again: tabvision calibrate CKPT DATA --out NEW.ckpt")
