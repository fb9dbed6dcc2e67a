"""Modules of a user's own that know nothing of tabvision, their data, and what differs between two of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from typing_extensions import override

from tabvision.data.loaders import TensorLoader
from tabvision.tasks import Task

STEPS = 4  # in an epoch of `make_loader()`


class UserModule(pl.LightningModule):
    """Three parts, eight parameters, and an optimizer with one param group."""

    def __init__(
        self, optimizer: Literal["adamw", "sgd"] = "adamw", *, batch_norm: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(6) if batch_norm else nn.Identity()
        self.body = nn.Sequential(nn.Linear(3, 6), norm, nn.ReLU())
        self.middle = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(6, 1)
        self.optimizer = optimizer

    @override
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.middle(self.body(x)))
        return logits

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self(batch["x"])[:, 0], batch["y"])

    @override
    def configure_optimizers(self) -> Any:
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)


class Validated(UserModule):
    """A `UserModule` that validates too."""

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.training_step(batch, batch_idx), batch_size=len(batch["y"]))


def three_groups(module: UserModule) -> list[nn.Module]:
    """The parts of a `UserModule`, input side first."""
    return [module.body, module.middle, module.head]


def three_lists(module: UserModule) -> list[list[nn.Parameter]]:
    """The same as lists of parameters."""
    return [list(part.parameters()) for part in three_groups(module)]


def make_loader(rows: int = 8 * STEPS, batch_size: int = 8, *, shuffle: bool = True) -> TensorLoader:
    """A loader of a small regression that a fit can resume within an epoch."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 3, generator=generator)
    return TensorLoader({"x": x, "y": x.sum(1) + x[:, 0] ** 2}, batch_size=batch_size, shuffle=shuffle)


def make_module(optimizer: Literal["adamw", "sgd"] = "adamw", **settings: Any) -> UserModule:
    """A `UserModule` that starts from the same weights every time."""
    torch.manual_seed(1)
    return UserModule(optimizer, **settings)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    """Which parameters differ by a bit, as a string of 0 and 1."""
    return "".join("0" if torch.equal(before[name], after[name]) else "1" for name in before)


def different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the tensors that differ by a bit."""
    assert before.keys() == after.keys()
    return [name for name in before if not torch.equal(before[name], after[name])]


def trainable(module: nn.Module) -> str:
    """Which parameters want a gradient, as a string of 0 and 1."""
    return "".join(str(int(parameter.requires_grad)) for parameter in module.parameters())


class Rates(pl.Callback):
    """Rate and momentum of each param group, and what trains, before each step."""

    def __init__(self) -> None:
        self.lr: list[list[float]] = []
        self.momentum: list[list[float]] = []
        self.trains: list[str] = []

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        self.lr.append([group["lr"] for group in groups])
        self.momentum.append([group["betas"][0] if "betas" in group else group["momentum"] for group in groups])
        self.trains.append(trainable(pl_module))


class Epochs(pl.Callback):
    """For each epoch: which parameters train, which moved by a bit, which have a gradient, and what the buffers are."""

    def __init__(self) -> None:
        self.trains: list[str] = []
        self.moved: list[str] = []
        self.grads: list[str] = []
        self.buffers: list[dict[str, Tensor]] = []
        self._before: dict[str, Tensor] = {}

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self._before = weights(pl_module)
            self.trains.append(trainable(pl_module))

    @override
    def on_before_optimizer_step(self, trainer: Any, pl_module: pl.LightningModule, optimizer: Any) -> None:
        seen = "".join("0" if parameter.grad is None else "1" for parameter in pl_module.parameters())
        self.grads[len(self.trains) - 1 :] = [seen]

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.moved.append(moved(self._before, weights(pl_module)))
        self.buffers.append({name: buffer.clone() for name, buffer in pl_module.named_buffers()})


class Saver(pl.Callback):
    """A checkpoint after each step; put it last, as Lightning puts its ModelCheckpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")


def marks(counts: Sequence[int]) -> list[str]:
    """What `Epochs` notes where that many of the last groups train: eight parameters in parts of four, two and two."""
    return [{1: "00000011", 2: "00001111", 3: "11111111"}[number] for number in counts]


class Own(pl.LightningModule):
    """A user's own module, which knows nothing of tabvision."""

    def __init__(self, make_optimizer: Callable[[Any], Any], num_groups: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 1) for _ in range(num_groups)])
        self.make_optimizer = make_optimizer

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return torch.stack([layer(batch[0]) for layer in self.layers]).square().mean()

    @override
    def configure_optimizers(self) -> Any:
        if len(self.layers) == 1:
            return self.make_optimizer(self.parameters())
        return self.make_optimizer([{"params": list(layer.parameters())} for layer in self.layers])


class Recorder(pl.Callback):
    """The rates and momenta that each batch was trained with, one list a batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.momenta: list[list[float]] = []

    @override
    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        self.rates.append([group["lr"] for group in groups])
        self.momenta.append([group["betas"][0] if "betas" in group else group["momentum"] for group in groups])

    def first(self, what: str) -> list[float]:
        """Those of the first param group."""
        return [step[0] for step in getattr(self, what)]


class Unsized(IterableDataset[list[Tensor]]):
    """Batches without end or length."""

    @override
    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            yield [torch.randn(4, 2)]


def batches(number: int = 7) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(number * 4, 2)), batch_size=4)


def sgd(params: Any) -> SGD:
    return SGD(params, lr=0.1, momentum=0.9)


def expected_of_torch(make: Callable[[Any], Optimizer], total: int, **settings: Any) -> Recorder:
    """What OneCycleLR sets for each of `total` steps."""
    recorder, parameter = Recorder(), nn.Parameter(torch.zeros(1))
    optimizer = make([parameter])
    schedule = OneCycleLR(optimizer, total_steps=total, **settings)
    for step in range(total):
        recorder.on_before_optimizer_step(None, None, optimizer)  # type: ignore[arg-type]
        optimizer.step()
        if step + 1 < total:
            schedule.step()
    return recorder


ROWS, CLASSES = 24, 3


class Looker(pl.LightningModule):
    """A user's own network for small images that writes down its training batches."""

    def __init__(self, task: Task | None = None, *, keys: tuple[Any, Any] = ("image", "target")) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(4, CLASSES)
        self.keys = keys
        self.seen: list[Any] = []
        if task is not None:
            self.task = task

    @override
    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(image).mean(dim=(2, 3)))
        return logits

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        image, target = (batch[key] for key in self.keys)
        self.seen.append({**batch} if isinstance(batch, dict) else list(batch))
        return nn.functional.cross_entropy(self(image.float()), target)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def image_rows(**more: Tensor) -> dict[str, Tensor]:
    """Noise in three classes, with what else a batch should hold."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(ROWS, 3, 6, 8, generator=generator)
    return {"image": images, "target": torch.arange(ROWS) % CLASSES, **more}


def looker(*args: Any, **settings: Any) -> Looker:
    """A `Looker` that starts from the same weights every time."""
    torch.manual_seed(1)
    return Looker(*args, **settings)
