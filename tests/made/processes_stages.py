"""What two gloo processes do at stage borders, and what two do that Lightning spawns.

`test_staged_two_processes.py` reads what each process wrote down, and holds it to what one process does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from typing_extensions import override

from tabvision.callbacks import ExactResume, FineTune, OneCycle, Unfreeze
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tabvision.tuning import FindLR, lr_find
from tests.made.modules import Saver
from tests.made.trainers import quiet_trainer

EPOCHS = 4
STAGES = {0: 1, 1: 2, 2: "all"}
ROWS = 32  # even shares of even batches, so that two processes see what one sees
SWEEP = 30  # steps
RESUMED_STEPS = (2, 3, 5, 6, 8)  # inside epochs of three steps, and at both borders


class Net(pl.LightningModule):
    """A user's own module, in float64 so that only rounding differs from one process."""

    def __init__(self, optimizer: str, *, batch_norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        norm = nn.BatchNorm1d(8) if batch_norm else nn.Tanh()
        self.body = nn.Sequential(nn.Linear(4, 8), norm)
        self.middle = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.head = nn.Linear(8, 1)
        self.optimizer = optimizer
        self.double()

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss: Tensor = (self.head(self.middle(self.body(x)))[:, 0] - y).square().mean()
        return loss

    @override
    def configure_optimizers(self) -> Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        return torch.optim.AdamW(self.parameters(), lr=1e-2, eps=1e-5)


def parts(module: Any) -> list[nn.Module]:
    """The layer groups of `Net`."""
    return [module.body, module.middle, module.head]


def staged() -> list[pl.Callback]:
    """Three stages under one cycle with a rate for each group."""
    return [Unfreeze(STAGES, groups=parts), OneCycle((1e-3, 1e-2), groups=parts)]  # type: ignore[arg-type]


class Record(pl.Callback):
    """After each epoch: parameters and moments, what trains, and what DDP reduces."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.trains: list[list[str]] = []
        self.reduced: list[int] = []
        self.grads: list[list[str]] = []

    @override
    def on_before_optimizer_step(self, trainer: Any, pl_module: pl.LightningModule, optimizer: Any) -> None:
        self.grads[trainer.current_epoch :] = [
            [name for name, parameter in pl_module.named_parameters() if parameter.grad is not None]
        ]

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        state = {f"weight {name}": parameter.detach().clone() for name, parameter in pl_module.named_parameters()}
        for name, parameter in pl_module.named_parameters():
            moments = trainer.optimizers[0].state.get(parameter, {})
            state |= {f"{key} {name}": value.clone() for key, value in moments.items() if torch.is_tensor(value)}
        self.states.append(state)
        self.trains.append([name for name, parameter in pl_module.named_parameters() if parameter.requires_grad])
        model = trainer.strategy.model
        if isinstance(model, DistributedDataParallel):
            logged = model._get_ddp_logging_data()  # type: ignore[no-untyped-call]
            self.reduced.append(logged["total_parameter_size_bytes"] // 8)

    def plain(self) -> dict[str, Any]:
        """What was seen, as plain data."""
        return {"states": self.states, "trains": self.trains, "reduced": self.reduced, "grads": self.grads}


def make_trainer(folder: Path, **settings: Any) -> pl.Trainer:
    """Four epochs, with loaders as they are."""
    few = {"default_root_dir": folder, "max_epochs": EPOCHS, "use_distributed_sampler": False}
    return quiet_trainer(**(few | settings))


class Data(pl.LightningDataModule):
    """A small regression in a fixed order: eight rows in a step, however many processes share them."""

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(ROWS, 4, generator=generator, dtype=torch.float64)
        rows = TensorDataset(x, x.sum(1) + x[:, 0] ** 2)
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        order: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(rows, world_size, rank, shuffle=False)
        return DataLoader(rows, batch_size=8 // world_size, sampler=order)


FITS: dict[str, tuple[dict[str, Any], list[pl.Callback], dict[str, Any]]] = {
    "sgd": ({"optimizer": "sgd"}, staged(), {}),
    "adamw": ({"optimizer": "adamw"}, staged(), {}),
    "accumulation": ({"optimizer": "adamw"}, staged(), {"accumulate_grad_batches": 2}),
    "clipping": ({"optimizer": "adamw"}, staged(), {"gradient_clip_val": 0.05}),
    "frozen again": ({"optimizer": "sgd"}, [Unfreeze({0: "all", 1: 1, 2: 2, 3: "all"}, groups=parts)], {}),
    "fine_tune": ({"optimizer": "adamw"}, [FineTune(2, base_lr=0.05, lr_mult=2, groups=parts)], {}),
    "norms": ({"optimizer": "adamw", "batch_norm": True}, staged(), {}),
    "static graph": ({"optimizer": "adamw"}, staged(), {"static_graph": True}),
    "found": ({"optimizer": "adamw"}, [*staged(), FindLR(num_steps=SWEEP)], {}),
}


def fit(name: str, folder: Path, *, world_size: int, **settings: Any) -> dict[str, Any]:
    """One of `FITS` on that many processes; the same rows make a step, however many there are."""
    net, callbacks, more = FITS[name]
    if more.get("static_graph"):
        from pytorch_lightning.strategies import DDPStrategy

        more = {}
        if world_size > 1:
            settings["strategy"] = DDPStrategy(static_graph=True)
    record = Record()
    trainer = make_trainer(folder, **more, **settings, devices=world_size, callbacks=[*callbacks, record])
    trainer.fit(Net(**net), Data())
    return record.plain()


def sweep(folder: Path, **settings: Any) -> dict[str, Any]:
    """A sweep of rates outside any fit."""
    found = lr_find(make_trainer(folder, callbacks=staged(), **settings), Net("adamw"), Data(), num_steps=SWEEP)
    return {"losses": list(found.losses), "suggestion": found.suggestion}


def make_tables() -> tuple[TabularModule, TabularDataModule]:
    """Dropout, BatchNorm and shuffling: all that a resumed fit may get wrong."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=30), "job": draw.choice(list("abc"), 30), "y": draw.normal(size=30)})
    data = TabularDataModule(frame, "y", split=None, batch_size=5, verbose=False)
    return TabularModule(data.schema, widths=[8, 4], dropout=0.3), data


def resume(folder: Path, ckpt_path: Path | None, **settings: Any) -> tuple[dict[str, Tensor], pl.Trainer]:
    """A fit of three stages with shuffled tables, from the start or from a checkpoint."""
    pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)
    module, data = make_tables()
    callbacks: list[pl.Callback] = [Unfreeze(STAGES), OneCycle((1e-3, 1e-2)), ExactResume()]  # type: ignore[arg-type]
    if ckpt_path is None:
        callbacks.append(Saver(folder))
    trainer = make_trainer(folder, **settings, max_epochs=3, callbacks=callbacks)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}, trainer


class Write(pl.Callback):
    """Writes down at the end of the fit what a spawned process saw, before it is gone."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.save(self.record.plain(), self.folder / f"rank{trainer.global_rank}.pt")


def spawn(folder: Path) -> None:
    """One of the fits in processes that Lightning spawns."""
    record = Record()
    callbacks = [*FITS["found"][1], record, Write(folder, record)]
    trainer = make_trainer(folder, devices=2, strategy="ddp_spawn", callbacks=callbacks)
    trainer.fit(Net("adamw"), Data())


def main(folder: Path) -> None:
    """Runs every fit and writes down what this process saw."""
    torch.set_num_threads(1)
    swept = sweep(folder, devices=2, strategy="ddp")  # first of all: it is the sweep that starts the other process
    seen: dict[str, Any] = {
        name: fit(name, folder, world_size=2, **({} if name == "static graph" else {"strategy": "ddp"}))
        for name in FITS
    }
    whole, trainer = resume(folder, None, devices=2, strategy="ddp")
    resumed = {
        step: resume(folder, folder / f"step={step}.ckpt", devices=2, strategy="ddp")[0] for step in RESUMED_STEPS
    }
    seen["sweep"] = swept
    seen["resume"] = {"whole": whole, "resumed": resumed, "steps": trainer.global_step}
    torch.save(seen, folder / f"rank{trainer.global_rank}.pt")
