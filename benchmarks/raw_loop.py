"""Two upper limits: a raw PyTorch loop over prepared tensors, and a plain LightningModule with the same net and tensors."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tabvision.nets.layers import BatchNorm1d, Dropout
from tabvision.schedules import one_cycle
from tabvision.tasks import Regression


def torch_layers(net: nn.Module) -> nn.Module:
    """Replace the net's dropout and BatchNorm by torch's own, in place, and return it.

    Example:
        >>> torch_layers(nn.Sequential(Dropout(0.1), BatchNorm1d(2)))
        Sequential(
          (0): Dropout(p=0.1, inplace=False)
          (1): BatchNorm1d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
        )
    """
    for name, child in net.named_children():
        if isinstance(child, Dropout):
            setattr(net, name, nn.Dropout(child.p))
        elif isinstance(child, BatchNorm1d):
            plain = nn.BatchNorm1d(child.num_features, eps=child.eps, momentum=child.momentum)
            plain.load_state_dict(child.state_dict())
            setattr(net, name, plain)
        else:
            torch_layers(child)
    return net


def training_tensors(data: TabularDataModule) -> tuple[Tensor, Tensor, Tensor]:
    """Return the training rows' numbers, codes (int64), and targets in the form that the loss takes."""
    tensors, rows = data.parts["train"]
    continuous, codes, target = (tensors[name][rows] for name in ("continuous", "categorical", "target"))
    task = data.schema.task
    if isinstance(task, Regression):
        target = (target - torch.tensor(task.mean)) / torch.tensor(task.spread)
    return continuous, codes.long(), target.float().reshape(len(rows), -1)


@final
class RawLoop:
    """A net made of torch's own layers that trains with fused AdamW on tensors prepared beforehand.

    Args:
        data: The rows.
        settings: Settings of the `TabularModule` whose net it trains.
        averaged: Whether to average the weights over the steps, as `AverageAndStop` does.
        device: The device to run on.
    """

    def __init__(
        self, data: TabularDataModule, settings: Mapping[str, Any], *, averaged: bool = False, device: str = "cpu"
    ) -> None:
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # Lightning's 1 costs AdamW 0.2 ms per step without a GPU
        model = TabularModule(data.schema, **settings)
        self.net = torch_layers(model.net).train().to(device)
        self.peak, decay = float(model.hparams["lr"]), float(model.hparams["weight_decay"])
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=self.peak, weight_decay=decay, betas=(0.9, 0.99), eps=1e-5, fused=True
        )
        is_regression = isinstance(data.schema.task, Regression)
        self._loss = functional.mse_loss if is_regression else functional.binary_cross_entropy_with_logits
        self._tensors = tuple(tensor.to(device) for tensor in training_tensors(data))
        self._batch_size = data.batch_size
        self._live = (
            [it.detach() for it in self.net.state_dict().values() if it.is_floating_point()] if averaged else []
        )
        self._average = [it.clone() for it in self._live]

    def __len__(self) -> int:
        return math.ceil(len(self._tensors[2]) / self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield an epoch's shuffled batches: numbers, codes, target."""
        order = torch.randperm(len(self._tensors[2]), device=self._tensors[2].device)
        for rows in torch.split(order, self._batch_size):
            continuous, codes, target = (tensor.index_select(0, rows) for tensor in self._tensors)
            yield continuous, codes, target

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the mean loss of a batch; all members of a packed net learn the same target."""
        continuous, codes, target = batch
        logits = self.net(continuous, codes)
        return self._loss(logits, target.unsqueeze(1).expand_as(logits) if logits.ndim == 3 else target)

    def set_rate(self, step: int, total: int) -> None:
        """Set the learning rate and momentum for a step of the cycle."""
        setting = one_cycle(step, total)
        for group in self.optimizer.param_groups:
            group["lr"], group["betas"] = self.peak * setting.factor, (setting.momentum, 0.99)

    def average(self, step: int) -> None:
        """Average the weights over the steps."""
        if self._live:
            torch._foreach_lerp_(self._average, self._live, min(1.0, 10 / (step + 10)))


def raw_epoch_seconds(loop: RawLoop, *, epochs: int, now: Callable[[], float]) -> list[float]:
    """Return the seconds of each epoch without Lightning."""
    total, step, seconds = epochs * len(loop), 0, []
    for _ in range(epochs):
        start = now()
        for batch in loop:
            loop.set_rate(step, total)
            loss = loop.loss(batch)
            loop.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
            loop.optimizer.step()
            loop.average(step)
            step += 1
        loss.item()  # waits for the device
        seconds.append(now() - start)
    return seconds


@final
class PlainModule(pl.LightningModule):
    """The module that a Lightning user would write for the raw loop."""

    def __init__(self, loop: RawLoop) -> None:
        super().__init__()
        self.loop, self.net = loop, loop.net

    @override
    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        self.loop.set_rate(self.global_step, self.trainer.estimated_stepping_batches)  # type: ignore[arg-type]
        return self.loop.loss(batch)

    @override
    def on_train_batch_end(self, *_: object) -> None:
        self.loop.average(self.global_step)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.loop.optimizer
