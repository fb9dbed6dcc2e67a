"""Networks of a user's own whose answers are formulas, and a table of numbers for them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.data import TabularDataModule
from tabvision.inference import Predictor
from tabvision.modules import TabularModule
from tabvision.tasks import Regression


class Formula(nn.Module):
    """A network that computes its logits by a formula from standardized numbers and codes."""

    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.unused = nn.Parameter(torch.zeros(1))

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        return self.formula(continuous, categorical) + 0 * self.unused


def correlated(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Two numbers that go together, one of its own, a category, and a target."""
    draw = np.random.default_rng(seed)
    a = draw.normal(10, 2, rows)
    frame = pd.DataFrame({"a": a, "b": a + draw.normal(0, 0.3, rows), "c": draw.normal(size=rows)})
    return frame.assign(job=draw.choice(["cook", "nurse", "pilot"], rows, p=[0.5, 0.3, 0.2]), y=draw.normal(size=rows))


def formula_predictor(frame: pd.DataFrame, formula: Callable[[Tensor, Tensor], Tensor], target: str = "y") -> Predictor:
    """A predictor whose logits are the formula's, (B, outputs)."""
    data = TabularDataModule(frame, target, task=Regression(margin=None), verbose=False)
    return Predictor(TabularModule(data.schema, net=Formula(formula)), device="cpu")
