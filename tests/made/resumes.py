"""Fits that are resumed from every checkpoint they wrote, and what each must have in common with the uninterrupted fit."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    Checkpoint,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger
from torch import distributed
from typing_extensions import override

from tabvision.callbacks import (
    CosineRestarts,
    ExactResume,
    FineTune,
    FlatCosine,
    MixUp,
    OneCycle,
    ProgressiveResize,
    Unfreeze,
)
from tabvision.data import ImageDataModule, IndexSplit
from tabvision.modules import CollabModule, FusedModule, SupervisedModule, TabularModule, VisionModule
from tests.made.drawn import with_files
from tests.made.pairs import Pair, make_frame
from tests.made.plug_ins import PLUG_INS
from tests.made.trainers import quiet_trainer

EPOCHS, ROWS, BATCH_SIZE = 3, 60, 8  # 48 rows train: six batches in an epoch on one rank, three on two
SIDE = 32


class Case(NamedTuple):
    """A way to train: callbacks, settings of the Trainer, and what the data is."""

    callbacks: Callable[[], list[pl.Callback]] = lambda: [OneCycle()]
    settings: dict[str, Any] = {}  # noqa: RUF012 - read, never written
    kind: type[SupervisedModule] = TabularModule
    data: Callable[[Path], Any] | None = None
    table: dict[str, Any] = {}  # noqa: RUF012 - settings of the datamodule of a table


def _stopping(patience: int = 2) -> EarlyStopping:
    return EarlyStopping("val/loss", patience=patience, min_delta=0.15)


CASES = {
    "one cycle": Case(),
    "staged": Case(lambda: [Unfreeze({0: 1, 1: 2, 2: "all"}), OneCycle((1e-3, 1e-2))]),
    "fine tune": Case(lambda: [FineTune(1, base_lr=1e-2)]),
    "flat cosine": Case(lambda: [FlatCosine()], {"max_steps": 16}),
    "restarts": Case(lambda: [CosineRestarts(1e-2)]),
    "average": Case(lambda: [OneCycle(), EMAWeightAveraging(decay=0.8)]),
    "average, validating within epochs": Case(
        lambda: [EMAWeightAveraging(decay=0.8, update_every_n_steps=2)], {"val_check_interval": 2}
    ),
    "early stopping": Case(lambda: [_stopping(1)]),
    "early stopping, validating within epochs": Case(lambda: [_stopping()], {"val_check_interval": 2}),
    "validating within epochs": Case(settings={"val_check_interval": 2}),
    "validating every second epoch": Case(settings={"check_val_every_n_epoch": 2}),
    "validating across epochs": Case(settings={"val_check_interval": 4, "check_val_every_n_epoch": None}),
    "mixed rows": Case(lambda: [MixUp(inputs=["continuous"]), OneCycle()]),
    "accumulation": Case(settings={"accumulate_grad_batches": 4}),
    "accumulation, validating within epochs": Case(
        lambda: [OneCycle(), _stopping()], {"accumulate_grad_batches": 4, "val_check_interval": 3}
    ),
    "validating while gradients accumulate": Case(settings={"accumulate_grad_batches": 4, "val_check_interval": 2}),
    "accumulation that changes": Case(lambda: [OneCycle(), GradientAccumulationScheduler({0: 3, 1: 2})]),
    "drawn rows": Case(settings={"val_check_interval": 2}, table={"sampler": "often"}),
    "ratings": Case(lambda: [OneCycle(), _stopping()], {"val_check_interval": 2}, CollabModule),
    "images": Case(lambda: [FineTune(1), MixUp()], {"val_check_interval": 2}, VisionModule),
    "images that grow": Case(lambda: [ProgressiveResize({0: 16, 2: SIDE}), OneCycle()], {}, VisionModule),
}

_KINDS: dict[str, type[SupervisedModule]] = {
    "houses": FusedModule,
    "movielens": CollabModule,
    **dict.fromkeys(("adult", "diamonds", "flights"), TabularModule),
}
_LIMITS = {"limit_train_batches": 6, "limit_val_batches": 2, "val_check_interval": 2, "accumulate_grad_batches": 2}
PLUG_IN_CASES = {
    f"plug-in {name}": Case(lambda: [OneCycle(), _stopping(6)], _LIMITS, _KINDS.get(name, VisionModule), data)
    for name, data in PLUG_INS.items()
}
CASES |= PLUG_IN_CASES


# Cases of which a rank holds other rows, random states, running statistics or scores than the other; the rest is the same.
ON_TWO = (
    "staged",
    "average, validating within epochs",
    "validating while gradients accumulate",
    "early stopping, validating within epochs",
    "mixed rows",
    "validating across epochs",
    "accumulation that changes",
    "ratings",
    "images",
)


class Saver(Checkpoint):
    """A checkpoint after each batch, validation and epoch, with a copy of what a `ModelCheckpoint` had written by then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batches = 0

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.batches += 1
        self._save(trainer, "batch")

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._save(trainer, "validation")

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 < EPOCHS:  # else the fit is over: a resumed one has nothing to do
            self._save(trainer, "epoch")

    def _save(self, trainer: pl.Trainer, moment: str) -> None:
        if trainer.global_step == trainer.max_steps:
            return
        name = f"{self.batches:02}-{moment}"
        trainer.save_checkpoint(self.folder / f"{name}.ckpt")
        if trainer.is_global_zero:
            shutil.copytree(self.folder / "kept", self.folder / name, dirs_exist_ok=True)
        trainer.strategy.barrier()


class Outcome(NamedTuple):
    """All that a fit leaves behind."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    rows: list[dict[str, float]]  # of metrics.csv


def fit(name: str, folder: Path, ckpt: str | None = None, *, own: bool = False, **settings: Any) -> Outcome:
    """Run a case from the start, writing checkpoints, or from one of them.

    Args:
        name: The case.
        folder: Where to write.
        ckpt: The name of the checkpoint to resume from.
        own: Whether to resume from the last file that a `ModelCheckpoint` had written by then.
        settings: Of the Trainer.
    """
    case, rank = CASES[name], int(os.environ.get("LOCAL_RANK", "0"))
    # a process that resumes has random states of its own
    pl.seed_everything((1 if ckpt is None else 99) + rank, verbose=False)
    module, data = parts_of(case, folder)
    kept, logger = folder / "kept", CSVLogger(folder, name="logs" if ckpt is None else "resumed")
    if rank == 0:
        shutil.rmtree(kept, ignore_errors=True)
        if ckpt is None:
            kept.mkdir(parents=True)
        else:
            shutil.copytree(folder / ckpt, kept)
    checkpoint = ModelCheckpoint(kept, monitor="val/loss", save_top_k=2, every_n_train_steps=2, save_last=True)
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=EPOCHS,
        enable_checkpointing=True,
        callbacks=[*case.callbacks(), ExactResume(), checkpoint, *([Saver(folder)] if ckpt is None else [])],
        logger=logger,
        log_every_n_steps=1,
        num_sanity_val_steps=1,
        **case.settings,
        **settings,
    )
    path = None if ckpt is None else kept / "last.ckpt" if own else folder / f"{ckpt}.ckpt"
    trainer.fit(module, data, ckpt_path=path, weights_only=True)
    return outcome_of(trainer, module, kept, logger)


def parts_of(case: Case, folder: Path) -> tuple[SupervisedModule, Any]:
    """Return the module and the data of a case, always the same."""
    kind = case.kind
    pair, frame = Pair(kind, "regression"), make_frame(ROWS)
    if "sampler" in case.table:
        frame["often"] = [row % 4 for row in range(ROWS)]
    split = IndexSplit(range(0, ROWS, 5))
    if case.data is not None:
        own = folder / f"files{os.environ.get('LOCAL_RANK', '0')}"  # each rank its own
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        data: Any = case.data(own)
    elif kind is VisionModule:
        folder.mkdir(parents=True, exist_ok=True)
        frame = with_files(frame, folder / f"images{os.environ.get('LOCAL_RANK', '0')}")  # each rank its own
        data = ImageDataModule(
            frame, "pay", path="file", split=split, batch_size=BATCH_SIZE, num_workers=1, size=SIDE, verbose=False
        )
    else:
        data = pair.data(frame, split=split, batch_size=BATCH_SIZE, **case.table)
    settings: dict[str, Any] = {} if kind is CollabModule else {"dropout": 0.3}
    if (
        kind is TabularModule
    ):  # the packed network's batched products may round otherwise where memory is aligned otherwise
        settings["widths"] = [8, 4]
    return pair.module(data.schema, **settings), data


def outcome_of(trainer: pl.Trainer, module: pl.LightningModule, kept: Path, logger: CSVLogger) -> Outcome:
    """Return what a fit left behind, with the names of the files in the folder `kept`."""
    tensors = {f"weight {key}": value.clone() for key, value in module.state_dict().items()}
    facts: dict[str, Any] = {"step": trainer.global_step, "epoch": trainer.current_epoch}
    for place, optimizer in enumerate(trainer.optimizers):
        state = optimizer.state_dict()
        facts[f"rates {place}"] = [(group["lr"], group.get("betas")) for group in state["param_groups"]]
        for number, moments in state["state"].items():
            tensors |= {f"{key} {number}": value for key, value in moments.items() if torch.is_tensor(value)}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(callback, ExactResume | Saver):
            facts[callback.state_key] = _plain(callback.state_dict())
    facts["metrics"] = _plain(dict(trainer.callback_metrics))
    if not trainer.is_global_zero:
        return Outcome(tensors, facts, [])
    facts["files"] = sorted(path.name for path in kept.iterdir())
    path = Path(logger.log_dir) / "metrics.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    filled = [{str(key): value for key, value in row.items() if pd.notna(value)} for row in rows]
    return Outcome(tensors, facts, filled)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def differences(whole: Outcome, resumed: Outcome) -> list[str]:
    """Return what a resumed fit left behind that differs by a bit from the uninterrupted one."""
    found = [name for name in whole.tensors if not torch.equal(whole.tensors[name], resumed.tensors[name])]
    for name, value in whole.facts.items():
        if str(value) != str(resumed.facts[name]):
            found.append(f"{name}: {value} against {resumed.facts[name]}")
    expected = whole.rows[len(whole.rows) - len(resumed.rows) :]
    if resumed.rows != expected:
        found.append(f"rows {expected} against {resumed.rows}")
    return found


def sweep(name: str, folder: Path, every: int = 1, first: int = 0, **settings: Any) -> dict[str, list[str]]:
    """Resume a case from every n-th of its checkpoints, and from the first that a `ModelCheckpoint` wrote.

    An epoch has eight or ten on one rank and five to seven on two: every seventh is another of them in each epoch.

    Args:
        name: The case.
        folder: Where to write.
        every: How many checkpoints further the next fit resumes.
        first: At which to begin.
        settings: Of the Trainer.

    Returns:
        What differs, by checkpoint.
    """
    whole = fit(name, folder, **settings)
    names = [path.stem for path in sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)]
    found = {ckpt: differences(whole, fit(name, folder, ckpt, **settings)) for ckpt in names[first::every]}
    own = next(ckpt for ckpt in names if (folder / ckpt / "last.ckpt").exists())
    return found | {"last": differences(whole, fit(name, folder, own, own=True, **settings))}


def main(folder: Path) -> None:
    """Sweep many cases on two ranks, and write down what differs."""
    _sweep_on_two(folder, dict.fromkeys(ON_TWO, 7) | {"plug-in houses": 20})


def few(folder: Path) -> None:
    """Sweep one case on two ranks."""
    _sweep_on_two(folder, {"average, validating within epochs": 7})


def _sweep_on_two(folder: Path, each: dict[str, int]) -> None:
    torch.set_num_threads(1)
    on_two: dict[str, Any] = {"devices": 2, "strategy": "ddp"}
    found = {name: sweep(name, folder / name, every, **on_two) for name, every in each.items()}
    torch.save(found, folder / f"rank{distributed.get_rank()}.pt")
