"""Building a network may take no more memory than its weights account for."""

import pytest
import torch
from torch import nn

from tabvision.inference.untrusted import Budget, BudgetExceededError
from tabvision.modules import TabularModule
from tests.made.pairs import tabular_data


def test_a_module_is_built_within_the_budget_of_its_own_weights() -> None:
    schema = tabular_data("multiclass").schema
    weights = sum(tensor.numel() for tensor in TabularModule(schema, widths=[300, 200]).state_dict().values())

    with Budget(weights):
        TabularModule(schema, widths=[300, 200])


@pytest.mark.parametrize(
    "make", [lambda: torch.empty(10**13), lambda: torch.zeros(10**7, 10**7), lambda: nn.Linear(10**6, 10**6)]
)
def test_the_one_tensor_too_large_is_not_made(make: object) -> None:
    assert callable(make)
    with Budget(1_000), pytest.raises(BudgetExceededError, match="asks for more elements"):
        make()


def test_many_small_tensors_are_counted_together() -> None:
    kept = []
    with Budget(1_000), pytest.raises(BudgetExceededError):  # noqa: PT012 - which of them is too much is open
        for _ in range(100):
            kept.append(torch.zeros(100_000))  # noqa: PERF401
    assert len(kept) < 100
