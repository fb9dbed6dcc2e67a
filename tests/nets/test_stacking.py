"""The share of a linear model in the answers of a packed network (stacking)."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tabvision.callbacks import FitTable
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tabvision.nets import stacking
from tabvision.nets.packed import PackedNet
from tabvision.nets.stacking import stack_linear
from tabvision.tasks import Binary, Multiclass, Regression, Task
from tests.made.trainers import quiet_trainer

ROWS, MEMBERS = 160, 4
TASK = Regression(mean=(0.0,), spread=(1.0,))


def made_net(*, direct: bool = True) -> PackedNet:
    bins = [[-3.0, -1.0, 0.0, 1.0, 3.0]] * 2
    return PackedNet([4], bins, 1, members=MEMBERS, widths=[8], own_inputs=True, direct=direct).eval()


def made_rows(effect: float) -> dict[str, Tensor]:
    """Rows whose target is a sum of effects, and a little noise."""
    continuous, categorical = torch.randn(ROWS, 2), torch.randint(4, (ROWS, 1))
    sums = continuous[:, 0] - 2 * continuous[:, 1] + 3 * (categorical[:, 0] == 2)
    target = (effect * sums + 0.1 * torch.randn(ROWS)).unsqueeze(1)
    fold = torch.arange(ROWS) % MEMBERS
    return {"continuous": continuous, "categorical": categorical, "target": target, "fold": fold}


@torch.no_grad()
def held_out_loss(net: PackedNet, rows: dict[str, Tensor]) -> float:
    logits = net(rows["continuous"], rows["categorical"])[torch.arange(ROWS), rows["fold"]]
    return float((logits - rows["target"]).square().mean())


def test_a_sum_is_answered_by_the_linear_model() -> None:
    net, rows = made_net(), made_rows(effect=1.0)
    before = held_out_loss(net, rows)

    share = stack_linear(net, rows, TASK)

    assert share < 0.2
    assert held_out_loss(net, rows) < 0.2 * before  # what an embedding of four kinds cannot tell apart stays


def test_few_columns_of_many_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "_MOST_INPUTS", 0)  # a limit where rows are more than a row's inputs
    continuous, losses = torch.randn(ROWS, 100), []
    rows = {"continuous": continuous, "categorical": torch.empty(ROWS, 0, dtype=torch.int64)}
    rows |= {"target": 2 * continuous[:, :1] - continuous[:, 7:8] + 0.5 * torch.randn(ROWS, 1)}
    rows |= {"fold": torch.arange(ROWS) % MEMBERS}
    for rounds in (1, 4):
        monkeypatch.setattr(stacking, "_MOST_ROUNDS", rounds)
        torch.manual_seed(0)
        bins = [[-3.0, -1.0, 0.0, 1.0, 3.0]] * 100
        net = PackedNet([], bins, 1, members=MEMBERS, widths=[8], own_inputs=True, direct=True).eval()
        assert stack_linear(net, rows, TASK) < 1
        losses.append(held_out_loss(net, rows))

    assert losses[1] < 0.5 * losses[0]


def test_no_member_learns_from_its_fold() -> None:
    net, rows = made_net(), made_rows(effect=1.0)
    others, is_out = copy.deepcopy(net), (rows["fold"] == 0).unsqueeze(1)
    share = stack_linear(net, rows, TASK)

    again = stack_linear(others, {**rows, "target": rows["target"] + 0.05 * is_out * torch.randn(ROWS, 1)}, TASK)

    assert again == share  # so that the weights can be compared
    moved = [(old - new).abs().max() for old, new in zip(net.direct.weight, others.direct.weight, strict=True)]  # type: ignore[union-attr]  # they have one
    assert 10 * moved[0] < min(moved[1:])  # the members are fitted together, up to a tolerance


@pytest.mark.parametrize("direct", [True, False])
def test_a_network_that_gains_nothing_stays_to_the_bit(direct: bool) -> None:
    net, rows = made_net(direct=direct), made_rows(effect=0.0)
    torch.nn.init.zeros_(net.head.weight)  # type: ignore[arg-type]  # answers the mean, which is best
    state = {name: value.clone() for name, value in net.state_dict().items()}

    assert stack_linear(net, rows, TASK) == 1.0

    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_a_fit_of_a_table_ends_with_it_and_measures_what_it_keeps(caplog: pytest.LogCaptureFixture) -> None:
    rows = made_rows(effect=1.0)
    frame = pd.DataFrame(rows["continuous"].numpy(), columns=["a", "b"]).assign(kind=rows["categorical"].numpy())
    frame = frame.assign(kind="k" + frame["kind"].astype("str"), y=rows["target"].numpy())
    data = TabularDataModule(frame, "y", split=None, batch_size=64, verbose=False)
    module = TabularModule(data.schema)
    fit = FitTable(patience=0.1)

    with caplog.at_level("INFO", logger="tabvision"):
        quiet_trainer(max_epochs=4, callbacks=[fit]).fit(module, data)

    (said,) = (each for each in caplog.messages if "linear model makes up" in each)
    data.use_folds(module.fold_members)
    (loss,) = (each["val/loss"] for each in quiet_trainer().validate(module, data.fold_loader(), verbose=False))
    assert loss < 0.5 * min(fit.scores)
    assert f"{fit.linear_share:.0%}" in said


@pytest.mark.parametrize("kind", ["numbers", "categories", "several", "weights"])
def test_columns_of_one_kind_several_numbers_and_weights(kind: str) -> None:
    rows, bins, num_outputs = made_rows(effect=1.0), [[-3.0, 0.0, 3.0]] * 2, 2 if kind == "several" else 1
    if kind == "categories":
        rows |= {"continuous": torch.zeros(ROWS, 0), "target": 1.0 * (rows["categorical"] == 2)}
        bins = []
    if kind == "numbers":
        rows |= {"categorical": torch.zeros(ROWS, 0, dtype=torch.long), "target": rows["continuous"][:, :1]}
    if kind == "several":
        rows |= {"target": torch.cat([rows["target"], -rows["target"]], dim=1)}
    if kind == "weights":  # the other rows are no sum
        rows |= {"weight": torch.arange(ROWS) % 2.0}
        rows |= {"target": torch.where(rows["weight"][:, None] > 0, rows["target"], torch.randn(ROWS, 1))}
    cardinalities = [4] * rows["categorical"].shape[1]
    net = PackedNet(cardinalities, bins, num_outputs, members=MEMBERS, widths=[8], own_inputs=True, direct=True).eval()
    task = Regression(mean=(0.0,) * num_outputs, spread=(1.0,) * num_outputs)

    assert stack_linear(net, rows, task) < 0.5


@torch.no_grad()
@pytest.mark.parametrize("num_classes", [2, 3])
def test_classes_that_a_sum_tells_apart_are_answered_by_the_linear_model(num_classes: int) -> None:
    task: Task = Binary() if num_classes == 2 else Multiclass(num_classes)
    rows, bins = made_rows(effect=1.0), [[-3.0, -1.0, 0.0, 1.0, 3.0]] * 2
    codes = torch.bucketize(rows["target"][:, 0], torch.linspace(-1, 1, num_classes + 1)[1:-1])
    settings: dict[str, Any] = {"members": MEMBERS, "widths": [8], "own_inputs": True, "direct": True}
    net = PackedNet([4], bins, task.num_outputs, **settings).eval()

    assert 0.5 <= stack_linear(net, rows | {"target": codes}, task) < 0.6

    logits = net(rows["continuous"], rows["categorical"])[torch.arange(ROWS), rows["fold"]]
    assert float(task.loss(logits, codes).mean()) < 0.5 * float(np.log(num_classes))


@pytest.mark.parametrize("damage", ["one row", "not a number"])
def test_what_has_no_best_share_stays_to_the_bit(damage: str) -> None:
    net, rows = made_net(), made_rows(effect=1.0)
    if damage == "one row":
        rows = {name: each[:1] for name, each in rows.items()}
    else:
        torch.nn.init.constant_(net.head.weight, float("nan"))  # type: ignore[arg-type]  # a tensor
    before = net.direct.weight.clone()  # type: ignore[union-attr]  # it has one

    assert stack_linear(net, rows, TASK) == 1.0
    assert torch.equal(net.direct.weight, before)  # type: ignore[union-attr]


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_in_other_precisions(precision: Any) -> None:
    rows = made_rows(effect=1.0)
    frame = pd.DataFrame(rows["continuous"].numpy(), columns=["a", "b"]).assign(y=rows["continuous"][:, 0].numpy())
    data = TabularDataModule(frame, "y", split=None, batch_size=64, verbose=False)
    module = TabularModule(data.schema)

    quiet_trainer(max_epochs=2, precision=precision, callbacks=[fit := FitTable()]).fit(module, data)

    assert fit.best_score < 0.5 * min(fit.scores)
