"""Steps are those of torch and of `tabvision.modules` over 100 steps, under a schedule of rate and momentum."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch

from tabvision import scratch
from tabvision.modules.optimizers import make_optimizer
from tabvision.schedules import one_cycle
from tabvision.scratch import SGD, Adam, Momentum, RMSProp, Value
from tabvision.scratch.matmul import Array

STEPS = 100
START = np.random.default_rng(0).normal(size=(5, 3))
GRADIENTS = np.random.default_rng(1).normal(size=(STEPS, 5, 3)) * np.logspace(-3, 2, STEPS)[:, None, None]


class TorchMomentum(Momentum):
    form = "torch"


def ours(optimizer: SGD, *, scheduled: bool = True) -> Array:
    rate = optimizer.lr
    for step, gradient in enumerate(GRADIENTS):
        if scheduled:
            setting = one_cycle(step, STEPS)
            optimizer.lr, optimizer.beta = rate * setting.factor, setting.momentum or 0.0
        optimizer.params[0].grad = gradient
        optimizer.step()
    return optimizer.params[0].data


def theirs(optimizer: torch.optim.Optimizer, *, scheduled: bool = True) -> Array:
    (group,) = optimizer.param_groups
    rate = group["lr"]
    for step, gradient in enumerate(GRADIENTS):
        if scheduled:
            setting = one_cycle(step, STEPS)
            group["lr"] = rate * setting.factor
            if "betas" in group:
                group["betas"] = (setting.momentum, group["betas"][1])
            elif group["momentum"]:
                group["momentum"] = setting.momentum
        group["params"][0].grad = torch.tensor(gradient)
        optimizer.step(lambda: 0.0)
    found: Array = group["params"][0].detach().numpy()
    return found


def start() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(START))


L2: Any = {"weight_decay": 0.1, "decay": "l2"}
DECOUPLED: Any = {"weight_decay": 0.1, "decay": "decoupled"}
ADAM: Any = {"betas": (0.9, 0.95), "eps": 1e-5}


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_a_hundred_steps_are_torchs(name: str, decay: float, *, scheduled: bool) -> None:
    weight = Value(START.copy())
    l2: Any = {"weight_decay": decay, "decay": "l2"}
    pairs: dict[str, Callable[[], tuple[SGD, torch.optim.Optimizer]]] = {
        "sgd": lambda: (SGD([weight], 0.01, **l2), torch.optim.SGD([start()], 0.01, weight_decay=decay)),
        "momentum": lambda: (
            TorchMomentum([weight], 0.01, **l2),
            torch.optim.SGD([start()], 0.01, momentum=0.9, weight_decay=decay),
        ),
        "rmsprop": lambda: (RMSProp([weight], 0.01, **l2), torch.optim.RMSprop([start()], 0.01, weight_decay=decay)),
        "adam": lambda: (Adam([weight], 0.01, **l2), torch.optim.Adam([start()], 0.01, weight_decay=decay, **ADAM)),
        "adamw": lambda: (
            Adam([weight], 0.01, weight_decay=decay, decay="decoupled"),
            torch.optim.AdamW([start()], 0.01, weight_decay=decay, **ADAM),
        ),
    }
    optimizer, expected = pairs[name]()

    found = ours(optimizer, scheduled=scheduled)

    np.testing.assert_allclose(found, theirs(expected, scheduled=scheduled), rtol=1e-11)


@pytest.mark.parametrize(
    ("kind", "name", "momentum"),
    [(SGD, "sgd", 0.0), (TorchMomentum, "sgd", 0.9), (RMSProp, "rmsprop", 0.0), (Adam, "adamw", 0.9)],
)
@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_a_hundred_steps_are_those_of_the_modules(
    kind: type[SGD], name: str, momentum: float, decay: Literal["l2", "decoupled"]
) -> None:
    group = {"params": [start()], "lr": 0.01, "weight_decay": 0.1}
    expected = make_optimizer(name, [group], decay=decay, momentum=momentum, fused=False)

    found = ours(kind([Value(START.copy())], 0.01, weight_decay=0.1, decay=decay))

    np.testing.assert_allclose(found, theirs(expected), rtol=1e-11)


def test_the_lessons_momentum_is_torchs_at_a_tenth_of_the_rate_until_beta_changes() -> None:
    lesson, torchs = Momentum([Value(START.copy())], 0.1), TorchMomentum([Value(START.copy())], 0.1 * (1 - 0.9))
    np.testing.assert_allclose(ours(lesson, scheduled=False), ours(torchs, scheduled=False), rtol=1e-11)
    assert np.abs(ours(lesson) - ours(torchs)).max() > 0.01


def test_both_decays_are_one_for_sgd_and_two_for_adam() -> None:
    def apart(kind: type[SGD]) -> float:
        one, other = (ours(kind([Value(START.copy())], 0.01, **decay)) for decay in (L2, DECOUPLED))
        return float(np.abs(one - other).max())

    assert apart(SGD) < 1e-14
    assert apart(Adam) > 1e-3


@pytest.mark.slow
def test_in_the_race_each_arrives_in_a_fraction_of_the_epochs_of_the_one_before() -> None:
    race = scratch.optimizer_race()

    epochs = race.groupby("optimizer", sort=False)["epoch"].max()
    assert list(epochs.index) == ["SGD", "momentum", "RMSProp", "Adam"]
    assert (epochs.to_numpy()[:-1] > 3 * epochs.to_numpy()[1:]).all()
    last = race.groupby("optimizer").last()
    assert (abs(last["slope"] - 2) < 0.1).all()
    assert (abs(last["intercept"] - 30) < 0.5).all()


def test_a_race_of_no_epochs_is_its_start() -> None:
    race = scratch.optimizer_race(max_epochs=0)

    assert len(race) == 4
    assert (race[["slope", "intercept"]] == 1).all().all()
