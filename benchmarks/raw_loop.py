"""The raw limit: a plain PyTorch loop over prepared tensors, without Lightning and without tabvision's layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tabvision.nets.layers import BatchNorm1d, Dropout
from tabvision.schedules import one_cycle
from tabvision.tasks import Regression


def torch_layers(net: nn.Module) -> nn.Module:
    """The same net with torch's own dropout and BatchNorm, in place.

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
    """Numbers, codes (int64) and targets of the training rows; targets as the loss takes them."""
    tensors, rows = data.parts["train"]
    continuous, codes, target = (tensors[name][rows] for name in ("continuous", "categorical", "target"))
    task = data.schema.task
    if isinstance(task, Regression):
        target = (target - torch.tensor(task.mean)) / torch.tensor(task.spread)
    return continuous, codes.long(), target.float().reshape(len(rows), -1)


def raw_epoch_seconds(
    data: TabularDataModule,
    *,
    epochs: int,
    settings: Mapping[str, Any],
    now: Callable[[], float],
    averaged: bool = False,
    device: str = "cpu",
) -> list[float]:
    """Seconds of each epoch of the raw loop: shuffled rows on the device, fused AdamW, one cycle by hand.

    Args:
        data: The rows.
        epochs: Number of epochs.
        settings: Of the `TabularModule` whose net it trains.
        now: Tells the time in seconds.
        averaged: Whether the weights are averaged over the steps, as `AverageAndStop` does.
        device: Where it runs.
    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # Lightning sets 1, which costs AdamW 0.2 ms a step without a GPU
    model = TabularModule(data.schema, **settings)
    net = torch_layers(model.net).train().to(device)
    peak, decay = float(model.hparams["lr"]), float(model.hparams["weight_decay"])
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=peak, weight_decay=decay, betas=(0.9, 0.99), eps=1e-5, fused=True
    )
    loss_of = (
        functional.mse_loss if isinstance(data.schema.task, Regression) else functional.binary_cross_entropy_with_logits
    )
    tensors = tuple(tensor.to(device) for tensor in training_tensors(data))
    live = [it.detach() for it in net.state_dict().values() if it.is_floating_point()]
    average = [it.clone() for it in live]
    num_rows, batch_size = len(tensors[2]), data.batch_size
    total, step, seconds = epochs * -(-num_rows // batch_size), 0, []
    for _ in range(epochs):
        start = now()
        order = torch.randperm(num_rows, device=device)
        for first in range(0, num_rows, batch_size):
            rows = order[first : first + batch_size]
            continuous, codes, target = (tensor.index_select(0, rows) for tensor in tensors)
            setting = one_cycle(step, total)
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = peak * setting.factor, (setting.momentum, 0.99)
            logits = net(continuous, codes)
            if logits.ndim == 3:  # of every member, which all learn the same target
                target = target.unsqueeze(1).expand_as(logits)
            loss = loss_of(logits, target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it in part
            optimizer.step()
            if averaged:
                torch._foreach_lerp_(average, live, min(1.0, 10 / (step + 10)))
            step += 1
        loss.item()  # waits for the device
        seconds.append(now() - start)
    return seconds
