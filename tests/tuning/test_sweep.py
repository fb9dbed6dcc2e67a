"""The finder leaves no trace, keeps ratios and frozen layers, and suggests a rate that trains."""

import copy
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from benchmarks.digits import accuracy, seeded_digits
from tabvision.callbacks import DiscriminativeLR, FineTune, OneCycle, Unfreeze
from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError
from tabvision.modules import TabularModule
from tabvision.random_state import random_state
from tabvision.tuning import lr_find
from tests.made.modules import UserModule, different, make_loader, make_module, three_groups, weights
from tests.made.trainers import MakeTrainer


def make_tables() -> tuple[TabularModule, TabularDataModule]:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=60), "job": draw.choice(list("abc"), 60), "y": draw.normal(size=60)})
    data = TabularDataModule(frame, "y", batch_size=12, verbose=False)
    return TabularModule(data.schema, dropout=0.3, widths=[8, 4]), data


def test_a_fit_after_the_finder_is_the_one_without_it_to_the_bit(quick_trainer: MakeTrainer) -> None:
    def fitted(*, finds: bool) -> tuple[dict[str, Tensor], dict[str, Any], float]:
        pl.seed_everything(5, verbose=False)
        module, data = make_tables()
        trainer = quick_trainer(max_epochs=2, callbacks=[OneCycle()])
        if finds:
            lr_find(trainer, module, data, num_steps=20)
        trainer.fit(module, data)
        moments = trainer.optimizers[0].state_dict()["state"]
        flat = {f"{key} {name}": value for key, state in moments.items() for name, value in state.items()}
        return module.state_dict() | flat, flat, float(trainer.callback_metrics["val/loss"])

    without, moments, loss = fitted(finds=False)
    after, _, loss_after = fitted(finds=True)

    assert moments
    assert not different(without, after)
    assert loss_after == loss


def test_the_finder_leaves_weights_gradients_modes_and_random_states_alone(quick_trainer: MakeTrainer) -> None:
    module, data = make_tables()
    trainer = quick_trainer(callbacks=[Unfreeze(1), OneCycle()])
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = random_state()

    lr_find(trainer, module, data, num_steps=20)

    after = random_state()
    assert not different(state, module.state_dict())
    assert torch.equal(before["torch"], after["torch"])
    assert before["python"] == after["python"]
    assert torch.equal(before["numpy"][1], after["numpy"][1])
    assert before["numpy"][2] == after["numpy"][2]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert all(part.training for part in module.modules())
    assert module._trainer is None
    assert data.trainer is None
    assert (trainer.global_step, trainer.current_epoch, trainer.model) == (0, 0, None)


def test_the_finder_leaves_no_files(
    quick_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    lr_find(quick_trainer(), *make_tables(), num_steps=20)

    assert not list(tmp_path.rglob("*"))


def test_after_a_fit_the_finder_leaves_the_module_with_its_trainer(quick_trainer: MakeTrainer) -> None:
    module, data = make_tables()
    trainer = quick_trainer()
    trainer.fit(module, data)
    state, step = {name: tensor.clone() for name, tensor in module.state_dict().items()}, trainer.global_step

    lr_find(trainer, module, data, num_steps=20)

    assert module.trainer is data.trainer is trainer
    assert not different(state, module.state_dict())
    assert trainer.global_step == step


def test_a_loader_with_a_generator_of_its_own_shuffles_as_without_the_finder(quick_trainer: MakeTrainer) -> None:
    rows = torch.arange(24.0)
    batches = TensorDataset(rows.repeat(3, 1).T.contiguous(), rows)
    generator = torch.Generator().manual_seed(4)
    loader = DataLoader(batches, 4, shuffle=True, generator=generator)
    before = generator.get_state()

    class Pairs(UserModule):
        @override
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step({"x": batch[0], "y": batch[1]}, batch_idx)

    lr_find(quick_trainer(), Pairs(), loader, num_steps=20)

    assert torch.equal(generator.get_state(), before)


class Watched(UserModule):
    """Notes the rates of its param groups, and what moved, at each step of whoever trains it or a copy of it."""

    seen: list[tuple[list[float], dict[str, Tensor]]]

    def __init__(self) -> None:
        super().__init__()
        type(self).seen = []

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        groups = self.trainer.optimizers[0].param_groups
        self.seen.append(([group["lr"] for group in groups], weights(self)))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    "callbacks",
    [
        [DiscriminativeLR((1e-5, 1e-3), groups=three_groups)],
        [DiscriminativeLR((1e-5, 1e-3), groups=three_groups), OneCycle()],
        [OneCycle("1e-5:1e-3", groups=three_groups)],
    ],
)
def test_ratios_between_groups_are_kept_at_every_step(callbacks: list[pl.Callback], quick_trainer: MakeTrainer) -> None:
    found = lr_find(quick_trainer(callbacks=callbacks), Watched(), make_loader(), num_steps=20, end=1e-2)

    assert len(Watched.seen) == len(found.lrs) == 20
    for (rates, _), rate in zip(Watched.seen, found.lrs, strict=True):
        assert rates == pytest.approx([rate / 100, rate / 10, rate])
    assert found.lrs[0] == 1e-7
    assert found.lrs[10] == pytest.approx((1e-7 * 1e-2) ** 0.5)


@pytest.mark.parametrize("callback", [FineTune(groups=three_groups), Unfreeze(2, groups=three_groups)])
def test_frozen_groups_stay_frozen_in_the_sweep(callback: pl.Callback, quick_trainer: MakeTrainer) -> None:
    lr_find(quick_trainer(max_epochs=3, callbacks=[callback]), Watched(), make_loader(), num_steps=20)

    first, last = Watched.seen[0][1], Watched.seen[-1][1]
    assert different(first, last) == ["head.weight", "head.bias"]


def test_a_sweep_ends_when_the_loss_diverges(quick_trainer: MakeTrainer) -> None:
    found = lr_find(quick_trainer(), make_module("sgd"), make_loader(), end=1e6)

    assert 20 < len(found.lrs) == len(found.losses) < 100
    assert found.losses[-1] > 4 * min(found.losses) or not np.isfinite(found.losses[-1])
    assert found.suggestion == found.lowest < found.lrs[-1]


def test_the_same_sweep_gives_the_same_answer(quick_trainer: MakeTrainer) -> None:
    module, data = make_tables()

    first, second = (lr_find(quick_trainer(), module, data, num_steps=20) for _ in range(2))

    assert first == second


class WithoutNumbers(UserModule):
    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * torch.nan


def test_a_loss_that_is_no_number_is_named(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(BadValueError, match="lr_find: the loss must be finite for more than 1 step"):
        lr_find(quick_trainer(), WithoutNumbers(), make_loader())


class EverySecond(UserModule):
    """Skips every second batch, as Lightning documents."""

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) if batch_idx % 2 else None


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_batch_without_a_loss_is_a_batch_without_a_reading(quick_trainer: MakeTrainer) -> None:
    found = lr_find(quick_trainer(), EverySecond(), make_loader(), num_steps=40)

    rates = [1e-7 * 1e8 ** (batch / 40) for batch in range(40)]
    assert found.lrs == pytest.approx(rates[1::2][: len(found.lrs)])
    assert len(found.lrs) == len(found.losses) > 10
    assert found.suggestion in found.lrs


class Adversaries(UserModule):
    """Two optimizers under manual optimization: one takes two steps a batch, the other one every second batch."""

    automatic_optimization = False

    def __init__(self, *, returns: bool) -> None:
        super().__init__()
        self.returns = returns

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Any:
        first, second = self.optimizers()  # type: ignore[attr-defined]
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        first.step()
        first.step()
        if batch_idx % 2:
            second.step()
        first.zero_grad()
        second.zero_grad()
        return loss if self.returns else None

    @override
    def configure_optimizers(self) -> Any:
        parts = (self.body, self.head)
        return [torch.optim.SGD(part.parameters(), lr=1e-2) for part in parts], []


def test_several_optimizers_are_swept_together_whatever_steps_they_take(quick_trainer: MakeTrainer) -> None:
    found = lr_find(quick_trainer(), Adversaries(returns=True), make_loader(), num_steps=30, end=1e-3)

    assert found.lrs == pytest.approx([1e-7 * 1e4 ** (batch / 30) for batch in range(30)])
    assert found.suggestion in found.lrs


def test_a_module_that_never_returns_a_loss_is_refused(quick_trainer: MakeTrainer) -> None:
    sentence = (
        "lr_find: training_step must return a loss, and returned none in 100 batches. Return the loss, under manual"
    )

    with pytest.raises(BadValueError, match=sentence):
        lr_find(quick_trainer(), Adversaries(returns=False), make_loader())


def test_a_sweep_in_which_the_loss_never_falls_is_said_to_say_little(
    quick_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    class Flat(UserModule):
        @override
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 0 + 1

    lr_find(quick_trainer(), make_module(), make_loader())
    assert not caplog.messages or "means little" not in caplog.text

    lr_find(quick_trainer(), Flat(), make_loader())
    assert "lr_find: the loss never fell below that of the first batches, so the rate" in caplog.text


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"start": 0.0}, "rates must increase from above zero, got start=0.0 and end=10.0"),
        ({"start": 1.0, "end": 0.1}, "rates must increase from above zero, got start=1.0 and end=0.1"),
        ({"num_steps": 19}, "num_steps must be at least 20, got 19"),
        ({"num_steps": True}, "num_steps must be a whole number, got True"),
        ({"num_steps": 50.0}, "num_steps must be a whole number, got 50.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str, quick_trainer: MakeTrainer) -> None:
    with pytest.raises((BadTypeError, BadValueError), match=sentence):
        lr_find(quick_trainer(), make_module(), make_loader(), **settings)


def digits_accuracy(optimizer: str, batch_size: int, seed: int, quick_trainer: MakeTrainer) -> float:
    """Accuracy on a fifth of the digits after three epochs at the suggested rate."""
    module, loader, test = seeded_digits(optimizer, batch_size, seed)
    rate = lr_find(quick_trainer(), module, loader).suggestion
    quick_trainer(max_epochs=3, callbacks=[OneCycle(rate)]).fit(module, loader)
    return accuracy(module, *test)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "batch_size"), [("adamw", 32), ("sgd", 64)])
def test_three_epochs_at_the_suggested_rate_read_digits(
    optimizer: str, batch_size: int, quick_trainer: MakeTrainer
) -> None:
    seeds = [digits_accuracy(optimizer, batch_size, seed, quick_trainer) for seed in range(3)]

    assert statistics.median(seeds) >= 0.96  # benchmarks/found_rates.py has it above 0.98; Lightning's own finder: 0.10


def test_a_compiled_module_is_left_alone_too(quick_trainer: MakeTrainer) -> None:
    module = make_module()
    quick_trainer().fit(torch.compile(module, backend="eager"), make_loader())  # type: ignore[arg-type]
    state = weights(module)
    plain = lr_find(quick_trainer(), copy.deepcopy(module), make_loader(), num_steps=20)
    for parameter in module.parameters():
        parameter.grad = None

    found = lr_find(quick_trainer(), module, make_loader(), num_steps=20)

    assert found == plain
    assert not different(state, weights(module))
    assert all(parameter.grad is None for parameter in module.parameters())
