"""Row by row, AdamW's own formula."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from tabvision.modules.optimizers import RowAdamW

SETTINGS = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-5, "weight_decay": 0.1}


def steps(table: nn.Embedding, optimizer: torch.optim.Optimizer, batches: list[list[int]]) -> None:
    for batch in batches:
        optimizer.zero_grad()
        torch.autograd.backward(table(torch.tensor(batch)).square().sum())
        optimizer.step()


@pytest.mark.parametrize("sparse", [True, False])
def test_where_every_step_touches_every_row_it_is_adamw(sparse: bool) -> None:
    ours, theirs = nn.Embedding(3, 4, sparse=sparse), nn.Embedding(3, 4)
    theirs.load_state_dict(ours.state_dict())
    batches = [[0, 1, 2, 2], [2, 1, 0], [0, 0, 1, 2]]

    steps(ours, RowAdamW(ours.parameters(), **SETTINGS), batches)  # type: ignore[arg-type]
    steps(theirs, AdamW(theirs.parameters(), **SETTINGS), batches)  # type: ignore[arg-type]

    torch.testing.assert_close(ours.weight, theirs.weight)


def test_a_row_that_is_not_looked_up_stays_and_does_not_age() -> None:
    table = nn.Embedding(3, 4, sparse=True)
    before = table.weight.detach().clone()
    optimizer = RowAdamW(table.parameters(), **SETTINGS)  # type: ignore[arg-type]

    steps(table, optimizer, [[0], [0, 1]])

    assert torch.equal(table.weight[2], before[2])
    assert optimizer.state[table.weight]["steps"].tolist() == [2, 1, 0]


def test_a_saved_state_goes_on_to_the_same_bits() -> None:
    tables = [nn.Embedding(3, 4, sparse=True) for _ in range(2)]
    tables[1].load_state_dict(tables[0].state_dict())
    first, second = (RowAdamW(table.parameters()) for table in tables)
    steps(tables[0], first, [[0, 1]])
    tables[1].load_state_dict(tables[0].state_dict())
    second.load_state_dict(first.state_dict())

    for table, optimizer in zip(tables, (first, second), strict=True):
        steps(table, optimizer, [[1, 2]])

    assert torch.equal(tables[0].weight, tables[1].weight)


def test_a_closure_is_run_and_its_loss_returned() -> None:
    table = nn.Embedding(3, 4, sparse=True)

    def closure() -> torch.Tensor:
        loss: torch.Tensor = table(torch.tensor([1])).sum()
        torch.autograd.backward(loss)
        return loss

    assert RowAdamW(table.parameters()).step(closure) is not None
    assert table.weight.grad is not None
