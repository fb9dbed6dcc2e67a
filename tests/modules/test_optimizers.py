"""From layer groups to an optimizer: groups, rates and decay, against torch and the formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from tabvision.errors import BadTypeError, UnknownNameError
from tabvision.modules.optimizers import _ADAM, RowAdamW, check_optimizer, make_optimizer, param_groups
from tabvision.nets.layer_groups import LayerGroup


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Embedding(5, 2), nn.LayerNorm(2), nn.Linear(2, 1))


def groups_of(net: nn.Sequential, **overrides: Any) -> list[dict[str, Any]]:
    layers = [
        LayerGroup("body", (net[0], net[1])),
        LayerGroup("middle", (net[2], net[3])),
        LayerGroup("head", (net[4],)),
    ]
    return param_groups(layers, **({"lr": 0.1, "weight_decay": 0.5, "decay_norms": False} | overrides))


def make(name: str | Callable[..., Optimizer], groups: list[dict[str, Any]], **overrides: Any) -> Optimizer:
    settings: dict[str, Any] = {"decay": "decoupled", "momentum": 0.0, "fused": False}
    return make_optimizer(name, groups, **(settings | overrides))


def shrunk_by_a_step_without_gradient(name: str, **overrides: Any) -> dict[str, float]:
    """How much of each parameter is left where gradients are nought: what decay alone does."""
    net = small_net()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    step = {key: overrides.pop(key) for key in ("decay", "fused") if key in overrides}
    make(name, groups_of(net, **overrides), **step).step()
    return {key: parameter.detach().mean().item() for key, parameter in net.named_parameters()}


def test_every_parameter_is_in_one_named_group_with_its_layers_number() -> None:
    net = small_net()

    groups = groups_of(net)

    assert [group["name"] for group in groups] == [
        "body", "body/no_decay", "middle", "middle/no_decay", "head", "head/no_decay",
    ]  # fmt: skip
    assert [group["layer_group"] for group in groups] == [0, 0, 1, 1, 2, 2]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in net.parameters())


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (0.1, [0.1, 0.1, 0.1]),
        ((1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        ("1e-4:1e-2", [1e-4, 1e-3, 1e-2]),
        ((None, 1e-2), [1e-3, 1e-3, 1e-2]),
        (":1e-2", [1e-3, 1e-3, 1e-2]),
        ([0.3, 0.2, 0.1], [0.3, 0.2, 0.1]),
    ],
    ids=str,
)
def test_rates_are_spread_over_the_layer_groups(lr: Any, expected: list[float]) -> None:
    groups = groups_of(small_net(), lr=lr)

    assert [group["lr"] for group in groups] == pytest.approx([rate for rate in expected for _ in range(2)])
    assert [group["initial_lr"] for group in groups] == [group["lr"] for group in groups]


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_weights_decay_and_norms_and_biases_keep_their_value(name: str) -> None:
    left = shrunk_by_a_step_without_gradient(name)

    decayed = {key: value for key, value in left.items() if value != 1.0}
    assert decayed == pytest.approx(dict.fromkeys(["0.weight", "2.weight", "4.weight"], 0.95))


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_norms_and_biases_decay_when_asked(name: str) -> None:
    assert list(shrunk_by_a_step_without_gradient(name, decay_norms=True).values()) == pytest.approx([0.95] * 9)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
def test_no_decay_leaves_everything(name: str) -> None:
    assert set(shrunk_by_a_step_without_gradient(name, weight_decay=0.0).values()) == {1.0}


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("decay", ["decoupled", "l2"])
def test_a_frozen_parameter_does_not_decay(name: str, decay: str) -> None:
    net = small_net()
    frozen, trained = net[0].get_parameter("weight"), net[4].get_parameter("weight")
    frozen.requires_grad = False
    before, start = frozen.detach().clone(), trained.detach().clone()
    optimizer = make(name, groups_of(net), decay=decay)

    torch.autograd.backward(net[4].forward(torch.ones(3, 2)).sum())
    optimizer.step()

    assert torch.equal(frozen, before)
    assert not torch.equal(trained, start)


def trajectory(name: str | Callable[..., Optimizer], steps: int = 5, **settings: Any) -> Tensor:
    """A weight of a linear regression over some steps, gradients computed inside the step as a Trainer does."""
    weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
    rows, target = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), torch.ones(20)
    groups = [{"params": [weight], "lr": 0.1, "weight_decay": 0.3}]
    optimizer = make(name, groups, **settings) if isinstance(name, str) else name(groups)
    path = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (rows @ weight - target).square().mean()
        torch.autograd.backward(loss)
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        path.append(weight.detach().clone())
    return torch.stack(path)


def test_decoupled_decay_shrinks_beside_the_gradient_of_the_weights_as_they_stand() -> None:
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    weight = torch.tensor([0.5, -1.0, 2.0])
    expected = []
    for _ in range(5):
        gradient = 2 * rows.T @ (rows @ weight - 1) / 20
        weight = weight - 0.1 * 0.3 * weight - 0.1 * gradient
        expected.append(weight)

    torch.testing.assert_close(trajectory("sgd"), torch.stack(expected))


def test_decoupled_and_l2_agree_for_sgd_without_momentum() -> None:
    torch.testing.assert_close(trajectory("sgd", decay="decoupled"), trajectory("sgd", decay="l2"))


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.9), ("adam", 0.0), ("rmsprop", 0.0)])
def test_decoupled_and_l2_differ_where_gradients_are_rescaled_or_remembered(name: str, momentum: float) -> None:
    one, other = (trajectory(name, decay=decay, momentum=momentum) for decay in ("decoupled", "l2"))

    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "settings", "reference"),
    [
        ("adamw", {}, lambda groups: AdamW(groups, **_ADAM)),
        ("AdamW", {"fused": True}, lambda groups: AdamW(groups, **_ADAM)),
        ("adam", {"decay": "l2"}, lambda groups: Adam(groups, **_ADAM)),
        ("sgd", {"decay": "l2", "momentum": 0.9}, lambda groups: SGD(groups, momentum=0.9)),
        ("sgd", {"decay": "l2", "momentum": 0.9, "fused": True}, lambda groups: SGD(groups, momentum=0.9)),
        ("rmsprop", {"decay": "l2", "momentum": 0.5}, lambda groups: RMSprop(groups, momentum=0.5)),
    ],
)
def test_an_optimizer_takes_the_steps_of_torchs(name: str, settings: dict[str, Any], reference: Any) -> None:
    torch.testing.assert_close(trajectory(name, **settings), trajectory(reference))


def test_a_function_makes_the_optimizer_from_the_groups() -> None:
    groups = groups_of(small_net())

    optimizer = make(lambda given: SGD(given, momentum=0.5), groups)

    assert isinstance(optimizer, SGD)
    assert [group["name"] for group in optimizer.param_groups] == [group["name"] for group in groups]
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


def test_an_unknown_optimizer_lists_the_close_names_first() -> None:
    with pytest.raises(UnknownNameError, match=r"no optimizer named 'adamm'. Choices: adam, adamw, rmsprop, sgd"):
        check_optimizer("adamm")


@pytest.mark.parametrize("optimizer", [None, 3, ["adam"]])
def test_an_optimizer_that_cannot_be_called_is_refused(optimizer: object) -> None:
    with pytest.raises(BadTypeError, match=r"optimizer must be a name or a function, got .*Pass one of adam, adamw"):
        check_optimizer(optimizer)


# Row by row, AdamW's own formula.


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
