"""How tables are fitted: a rate without a horizon, averaged weights, and a stop when the held-out loss stops improving."""

from __future__ import annotations

from typing import final

from tabvision.callbacks.average_and_stop import AverageAndStop
from tabvision.callbacks.one_cycle import InverseDecay
from tabvision.callbacks.ownership import Quantity
from tabvision.errors import speaking


@final
class FitTable(AverageAndStop, InverseDecay):
    """Fit a table: `InverseDecay` of the rate combined with `AverageAndStop`.

    `Trainer(max_epochs=...)` is only an upper limit; the fit stops by itself.

    Args:
        half: As for `InverseDecay`.
        power: As for `InverseDecay`.
        warmup: As for `InverseDecay`.
        window: As for `AverageAndStop`.
        patience: As for `AverageAndStop`.
        min_patience: As for `AverageAndStop`.
        folds: As for `AverageAndStop`.

    Example:
        >>> sorted(FitTable().owns)
        ['the rate over time', 'which weights are kept']
    """

    owns: frozenset[Quantity] = InverseDecay.owns | AverageAndStop.owns

    @speaking()
    def __init__(
        self,
        half: float | None = None,
        power: float | None = None,
        warmup: int = 10,
        window: float = 9.0,
        patience: float | None = 0.5,
        min_patience: int | None = None,
        *,
        folds: bool = True,
    ) -> None:
        AverageAndStop.__init__(self, window, patience, min_patience, folds=folds)
        InverseDecay.__init__(self, half, power, warmup)  # last, since AverageAndStop calls it without arguments
