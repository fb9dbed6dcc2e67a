"""A training script whose hosts may fail or join at any time; `torchrun` starts and restarts it on each host.

    torchrun --nnodes=1:2 --nproc-per-node=1 --max-restarts=3 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 \
        benchmarks/elastic_train.py FOLDER

It is an ordinary script except for four things: `ExactResume(micro_batches=2)`, with the most ranks that will train; a
`ModelCheckpoint` that writes `last.ckpt` every few steps to a folder that all hosts share; `ckpt_path="last"`, which loads
that file if it exists; and `num_nodes` as set by `torchrun`. For the demonstration, one host fails together with its agent,
the other waits at a certain step until a host joins, and after the interrupted fit the same fit runs undisturbed for
comparison.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from typing_extensions import override

from tabvision.callbacks import ExactResume, FineTune
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule

EPOCHS, STEPS_PER_EPOCH = 3, 6
SAVE_EVERY, FAILS_AT, WAITS_AT = 4, 9, 14  # steps in mid-epoch, one or two after a checkpoint


@final
class FailOnce(Callback):
    """Kill the second rank's process and its agent after a step, like a machine failure."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if os.environ.get("MAY_FAIL") and trainer.global_step == FAILS_AT and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


@final
class WaitForHost(Callback):
    """With a single rank, wait after a step until `torchrun` stops the process because another host has joined."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.world_size == 1 and trainer.global_step == WAITS_AT:
            self.mark.touch()
            while not trainer.received_sigterm:
                time.sleep(0.05)


@final
class Lives(Callback):
    """Record at which step each run of the process continued, and with how many ranks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            with (self.folder / "lives.txt").open("a") as file:
                file.write(f"{trainer.global_step} {trainer.world_size}\n")


def make_data() -> TabularDataModule:
    """Return a small table: a number and a word per row, and a target that depends on both."""
    draw = np.random.default_rng(0)
    x, word = draw.normal(size=96), draw.choice(list("abc"), 96)
    frame = pd.DataFrame({"x": x, "word": word, "y": x + (word == "a")})
    return TabularDataModule(frame, "y", split=None, batch_size=8, verbose=False)


def fit(folder: Path, *more: Callback) -> dict[str, Any]:
    """Train the head for an epoch, then every layer, on the available ranks; continue from `last.ckpt` if it exists."""
    pl.seed_everything(0, verbose=False)
    data = make_data()
    module = TabularModule(data.schema, widths=[16, 8], dropout=0.2)
    saves = ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=SAVE_EVERY)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        num_nodes=int(os.environ["WORLD_SIZE"]),
        strategy="ddp",
        max_epochs=EPOCHS,
        callbacks=[FineTune(base_lr=1e-2), ExactResume(micro_batches=2), saves, *more],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path="last", weights_only=True)
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return {"weights": weights, "steps": trainer.global_step}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    staged = [FailOnce(folder / "failed"), WaitForHost(folder / "alone"), Lives(folder)]
    seen = {"interrupted": fit(folder / "interrupted", *staged), "undisturbed": fit(folder / "undisturbed")}
    torch.save(seen, folder / f"rank{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
