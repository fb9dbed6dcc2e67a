"""A training script that may be killed at any moment: what `torchrun` starts on each host, and starts again.

    torchrun --nnodes=2 --nproc-per-node=1 --max-restarts=3 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 \
        benchmarks/elastic_train.py FOLDER

It is an ordinary script but for three things: `ExactResume()`, a `ModelCheckpoint` that writes `last.ckpt` every few steps
into a folder that all hosts share, and `ckpt_path="last"`, which is that file where there is one. For the demonstration one
process kills itself once, and after the interrupted fit the same fit runs undisturbed, to be compared.
"""

from __future__ import annotations

import os
import signal
import sys
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
SAVE_EVERY, KILLED_AT = 4, 9  # steps; the middle of the second epoch, one step after a checkpoint


@final
class KilledOnce(Callback):
    """Kills the process of the second rank after a step, as a machine that fails would, but not in its second life."""

    def __init__(self, step: int, mark: Path) -> None:
        self.step, self.mark = step, mark

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == self.step and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@final
class FirstStep(Callback):
    """Notes the step from which a fit went on."""

    step = 0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.step = trainer.global_step


def make_data() -> TabularDataModule:
    """A small table: a number and a word for each row, and what follows from both."""
    draw = np.random.default_rng(0)
    x, word = draw.normal(size=96), draw.choice(list("abc"), 96)
    frame = pd.DataFrame({"x": x, "word": word, "y": x + (word == "a")})
    return TabularDataModule(frame, "y", split=None, batch_size=8, verbose=False)


def fit(folder: Path, *more: Callback) -> dict[str, Any]:
    """The head alone for an epoch, then every layer, on two ranks; goes on from `last.ckpt` where there is one."""
    pl.seed_everything(0, verbose=False)
    data, first = make_data(), FirstStep()
    module = TabularModule(data.schema, widths=[16, 8], dropout=0.2)
    saves = ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=SAVE_EVERY)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        num_nodes=2,
        strategy="ddp",
        max_epochs=EPOCHS,
        callbacks=[FineTune(base_lr=1e-2), ExactResume(), saves, first, *more],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path="last", weights_only=True)
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return {"weights": weights, "went_on_from": first.step, "steps": trainer.global_step}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    killed = KilledOnce(KILLED_AT, folder / "killed")
    seen = {"interrupted": fit(folder / "interrupted", killed), "undisturbed": fit(folder / "undisturbed")}
    torch.save(seen, folder / f"rank{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
