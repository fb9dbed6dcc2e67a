"""The speeds that `on_gpu.py` measures: a fit with a Trainer compared with a raw loop for the same net on the device."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import pandas as pd
import torch

from benchmarks.clock import TrainingClock
from benchmarks.gpu_cases import NETS, Cases, Facts, Site, made_rows
from benchmarks.raw_loop import RawLoop, raw_epoch_seconds
from tabvision.callbacks import OneCycle
from tabvision.modules import SupervisedModule, TabularModule

REPEATS = 8  # of each image per epoch: many steps from few files


def speed(site: Site) -> Cases:
    """Measure rows and images per second with a Trainer, compared with a raw loop for the same net."""
    half = site.precisions[1]
    return {
        **{f"rows, {net}": partial(_rows_a_second, site, net) for net in ("mlp", "packed")},
        **{f"images, {precision}": partial(_images_a_second, site, precision) for precision in site.precisions},
        **{f"images, {half}, {num} threads": partial(_images_a_second, site, half, num) for num in (2, 4, 8)},
    }


def _rows_a_second(site: Site, net: str) -> Facts:
    rows = made_rows(site.size.speed_rows)
    data = site.data(NETS[net], "regression", rows, batch_size=min(4_096, len(rows) // 4))
    raw = raw_epoch_seconds(RawLoop(data, {"net": net}, device=site.device.type), epochs=4, now=time.perf_counter)
    clock = TrainingClock()
    site.trainer(4, clock, OneCycle(), limit_val_batches=0).fit(TabularModule(data.schema, net=net), data)
    return _speeds(len(data.parts["train"].rows), raw, clock.epoch_seconds)


def _images_a_second(site: Site, precision: str, num_workers: int | None = None) -> Facts:
    """Measure images per second: ours decodes once and augments; the raw loop's images are already on the device."""
    net = NETS["vision"]
    rows = pd.concat([site.rows("images")] * REPEATS, ignore_index=True)
    settings = {"batch_size": min(64, len(rows) // 4), "augment": "default", "num_workers": num_workers}
    data = site.data(net, "multiclass", rows, **settings)
    module, clock = site.module(net, data, body=site.size.body), TrainingClock()
    raw = _raw_image_seconds(site, site.module(net, data, body=site.size.body), data, precision)
    site.trainer(4, clock, OneCycle(), precision=precision, limit_val_batches=0).fit(module, data)
    return _speeds(len(data.parts["train"].rows), raw, clock.epoch_seconds)


def _raw_image_seconds(site: Site, module: SupervisedModule, data: Any, precision: str) -> list[float]:  # noqa: ANN401
    loader = data.train_dataloader()
    batches = [site.moved(data.on_after_batch_transfer(batch, 0)) for batch in loader]
    module = module.to(site.device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)
    mixed = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler(site.device.type, enabled=mixed is torch.float16)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        for batch in batches:
            with torch.autocast(site.device.type, mixed, enabled=mixed is not None):
                logits = module(batch)
            loss = module.task.loss(logits.float(), batch["target"]).mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
            scaler.step(optimizer)
            scaler.update()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return seconds


def _speeds(num: int, raw: list[float], ours: list[float]) -> Facts:
    """Return rows per second of the raw loop and of ours, without the first epoch, which warms up."""
    bare, own = (num / statistics.median(seconds[1:]) for seconds in (raw, ours))
    return {"raw_per_second": bare, "tabvision_per_second": own, "ratio": own / bare}
