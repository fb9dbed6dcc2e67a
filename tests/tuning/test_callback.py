"""A rate found at the fit's start reaches whoever owns the rates, leaves no other trace, and is resumed, not found again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from tabvision.callbacks import DiscriminativeLR, ExactResume, FineTune, OneCycle, Unfreeze
from tabvision.errors import BadValueError, UnknownNameError
from tabvision.tuning import FindLR, lr_find
from tests.made.modules import (
    STEPS,
    Rates,
    Saver,
    UserModule,
    Validated,
    different,
    make_loader,
    make_module,
    three_groups,
)
from tests.made.trainers import MakeTrainer
from tests.tuning.test_sweep import Adversaries

Make = Callable[[], list[pl.Callback]]
OWNERS: dict[str, tuple[Make, list[float]]] = {
    "one cycle": (lambda: [OneCycle((1e-5, 1e-3), groups=three_groups)], [1 / 100, 1 / 10, 1]),
    "base rates and a cycle": (
        lambda: [OneCycle(), DiscriminativeLR([2.0, 1.0, 4.0], groups=three_groups)],
        [1 / 2, 1 / 4, 1],
    ),
    "base rates": (lambda: [DiscriminativeLR((None, 1e-3), groups=three_groups)], [1 / 10, 1 / 10, 1]),
    "a cycle of the optimizer's rate": (lambda: [OneCycle()], [1]),
    "nobody": (list, [1]),
}


def peaks(rates: Rates) -> list[float]:
    return [max(step[place] for step in rates.lr) for place in range(len(rates.lr[0]))]


@pytest.mark.parametrize("name", OWNERS)
@pytest.mark.parametrize("first", [True, False])
def test_the_found_rate_is_the_peak_of_the_last_group_and_ratios_are_kept(
    name: str, first: bool, quick_trainer: MakeTrainer
) -> None:
    make, ratios = OWNERS[name]
    find, rates = FindLR(num_steps=30), Rates()
    callbacks = [find, *make()] if first else [*make(), find]

    quick_trainer(max_epochs=2, callbacks=[*callbacks, rates]).fit(make_module(), make_loader())

    assert find.rate is not None
    assert find.rate == find.finding.suggestion  # type: ignore[union-attr]
    assert peaks(rates) == pytest.approx([find.rate * ratio for ratio in ratios])


def test_fine_tune_takes_it_for_its_base_rate(quick_trainer: MakeTrainer) -> None:
    find, found, told = FindLR(num_steps=30), Rates(), Rates()
    quick_trainer(max_epochs=3, callbacks=[FineTune(groups=three_groups), find, found]).fit(
        make_module(), make_loader()
    )
    assert find.rate is not None

    quick_trainer(max_epochs=3, callbacks=[FineTune(base_lr=find.rate, groups=three_groups), told]).fit(
        make_module(), make_loader()
    )

    assert found.lr == [pytest.approx(step) for step in told.lr]
    assert found.trains == told.trains


def test_the_rate_is_the_one_that_the_finder_suggests(quick_trainer: MakeTrainer, subtests: pytest.Subtests) -> None:
    found = lr_find(quick_trainer(callbacks=[Unfreeze(1, groups=three_groups)]), make_module(), make_loader())
    ways: list[Any] = ["lowest", "steep", "valley", "minimum", "slide"]

    for way in ways:
        with subtests.test(way=way):
            find = FindLR(way)
            trainer = quick_trainer(max_epochs=1, callbacks=[find, Unfreeze(1, groups=three_groups)])
            trainer.fit(make_module(), make_loader())
            assert find.rate == getattr(found, way)


class OwnLoader(UserModule):
    """Brings its own loader, and shuffles by the global random state."""

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(3))
        return DataLoader(TensorDataset(x, x.sum(1)), batch_size=8, shuffle=True)

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step({"x": batch[0], "y": batch[1]}, batch_idx)


class Data(pl.LightningDataModule):
    """Counts its preparations, and breaks when used after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    @override
    def setup(self, stage: str) -> None:
        self.told.append("setup")

    @override
    def teardown(self, stage: str) -> None:
        self.told.append("teardown")

    @override
    def train_dataloader(self) -> Any:
        assert "teardown" not in self.told
        return make_loader()

    @override
    def val_dataloader(self) -> Any:
        return make_loader(shuffle=False)


@pytest.mark.parametrize("kind", ["loader", "datamodule", "module"])
def test_a_fit_at_the_found_rate_is_the_one_told_that_rate_to_the_bit(kind: str, quick_trainer: MakeTrainer) -> None:
    def fitted(*callbacks: pl.Callback) -> dict[str, Tensor]:
        torch.manual_seed(1)
        module = OwnLoader("adamw", dropout=0.3) if kind == "module" else Validated("adamw", dropout=0.3)
        data: Any = {"loader": make_loader(), "datamodule": Data(), "module": None}[kind]
        validation = make_loader(shuffle=False) if kind == "loader" else None
        quick_trainer(max_epochs=2, callbacks=list(callbacks)).fit(module, data, validation)
        if isinstance(data, Data):
            assert data.told == ["setup", "teardown"]
        return module.state_dict()

    find = FindLR(num_steps=30)
    found = fitted(find, OneCycle(1.0, groups=three_groups))

    assert find.rate is not None
    assert not different(found, fitted(OneCycle(find.rate, groups=three_groups)))


@pytest.mark.parametrize("name", ["one cycle", "nobody"])
def test_a_resumed_fit_takes_the_rate_from_the_checkpoint_and_ends_with_the_same_bits(
    name: str, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    make, _ = OWNERS[name]

    def fit(*more: pl.Callback, ckpt_path: Path | None = None) -> tuple[dict[str, Tensor], FindLR]:
        find, module = FindLR(num_steps=30), make_module(dropout=0.3)
        trainer = quick_trainer(max_epochs=2, callbacks=[find, *make(), ExactResume(), *more])
        trainer.fit(module, make_loader(), ckpt_path=ckpt_path, weights_only=True)
        return module.state_dict(), find

    whole, find = fit(Saver(tmp_path))

    for step in (1, STEPS, STEPS + 2):
        resumed, again = fit(ckpt_path=tmp_path / f"step={step}.ckpt")
        assert again.finding is None  # no second sweep
        assert again.rate == find.rate
        assert not different(whole, resumed)


def test_a_second_fit_sweeps_anew(quick_trainer: MakeTrainer) -> None:
    find = FindLR(num_steps=30)
    trainer, module = quick_trainer(max_epochs=2, callbacks=[find, OneCycle()]), make_module()
    trainer.fit(module, make_loader())
    first = find.finding
    trainer.fit_loop.max_epochs = 4

    trainer.fit(module, make_loader())

    assert find.finding is not first
    assert trainer.global_step == 4 * STEPS


def test_a_checkpoint_without_a_found_rate_is_refused(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    quick_trainer(callbacks=[Saver(tmp_path)]).fit(make_module(), make_loader())

    with pytest.raises(BadValueError, match="takes its rate from the checkpoint, and this one holds none"):
        quick_trainer(max_epochs=2, callbacks=[FindLR()]).fit(
            make_module(), make_loader(), ckpt_path=tmp_path / "step=2.ckpt", weights_only=True
        )


class WithScheduler(UserModule):
    """Brings a scheduler of its own."""

    @override
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def test_a_scheduler_of_the_users_own_is_refused(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(
        BadValueError, match="FindLR: the module's configure_optimizers returns a scheduler, which keeps"
    ):
        quick_trainer(callbacks=[FindLR()]).fit(WithScheduler(), make_loader())


def test_an_unknown_way_and_a_sweep_too_short_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"FindLR: no way named .valleys.\. Choices: valley"):
        FindLR("valleys")  # type: ignore[arg-type]

    with pytest.raises(BadValueError, match="FindLR: num_steps must be at least 20, got 19"):
        FindLR(num_steps=19)


def test_a_manual_module_of_two_optimizers_trains_at_the_found_rate(quick_trainer: MakeTrainer) -> None:
    find, module = FindLR(num_steps=30), Adversaries(returns=True)
    trainer = quick_trainer(callbacks=[find])

    trainer.fit(module, make_loader())

    assert [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers] == pytest.approx([find.rate] * 2)
