"""One process of a multi-rank fit on the CPU, for `scaling.py`: it measures memory, bytes sent, and time per step."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import distributed
from typing_extensions import override

from benchmarks.quiet import quiet_trainer
from benchmarks.scaling_stages import BATCH_SIZE, mib_of
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule

KINDS = ("in memory", "prepared")
RANK_ROWS, STEPS, WARM_STEPS = 500_000, 40, 10
ALONE_MIB, ALONE_TIMES = 64, 5


@final
class Clock(Callback):
    """Record the wall and CPU time at the end of each step."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @override
    def on_train_batch_end(self, *args: Any) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())


def train(folder: Path, ranks: int, kind: str, out: Path) -> None:
    """Train for some steps and write this rank's measurements."""
    before = mib_of("VmRSS") - mib_of("RssFile")
    where = folder / "prepared" if kind == "prepared" else None
    source = folder / "part-*.parquet"
    data = TabularDataModule(source, "y", split=0.1, batch_size=BATCH_SIZE, prepared=where, verbose=False)
    clock = Clock()
    settings: dict[str, Any] = {"devices": ranks, "max_steps": STEPS, "limit_val_batches": 0}
    if ranks > 1:
        settings["strategy"] = "ddp"
    trainer: pl.Trainer = quiet_trainer(-1, clock, enable_progress_bar=False, **settings)
    module = TabularModule(data.schema)
    trainer.fit(module, data)
    found = {
        "private_mib": mib_of("VmRSS") - mib_of("RssFile") - before,
        "bytes": sum(
            weight.nbytes for weight in module.parameters() if weight.requires_grad
        ),  # DDP sends each gradient once
        "cpu": (clock.cpu[-1] - clock.cpu[WARM_STEPS]) / (STEPS - WARM_STEPS - 1),
        "wall": (clock.wall[-1] - clock.wall[WARM_STEPS]) / (STEPS - WARM_STEPS - 1),
        "bandwidth": 0.0 if ranks == 1 else bandwidth(),
    }
    trainer.strategy.barrier()  # all processes are up and share pages
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    found["shared_mib"] = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024
    out.mkdir(exist_ok=True)
    (out / f"{trainer.global_rank}.json").write_text(json.dumps(found), encoding="utf-8")
    trainer.strategy.barrier()


def bandwidth() -> float:
    """Return bytes per second for an all-reduce on its own."""
    tensor, seconds = torch.zeros(ALONE_MIB << 18), []
    for _ in range(ALONE_TIMES):
        start = time.perf_counter()
        distributed.all_reduce(tensor)
        seconds.append(time.perf_counter() - start)
    return tensor.nbytes / statistics.median(seconds)
