"""Fits that ranks save after each step and others go on with, and what each sees of the rows, rates and validations."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch import Tensor, distributed
from typing_extensions import override

from tabvision.callbacks import ExactResume, FineTune, FitTable, MixUp, OneCycle, ProgressiveResize, Unfreeze
from tabvision.data import ImageDataModule, IndexSplit
from tabvision.modules import CollabModule, SupervisedModule, TabularModule, VisionModule
from tests.made.drawn import with_files
from tests.made.modules import different
from tests.made.pairs import Pair, make_frame
from tests.made.trainers import quiet_trainer

MICRO_BATCHES, BATCH_SIZE, ROWS = 4, 3, 60  # 48 rows train: four steps of twelve
MOVES = ((1, 2), (2, 1), (2, 4), (4, 1))  # how many ranks save, and how many go on
DOUBLED, HALVED = MOVES[:2]
EPOCHS, PER_EPOCH = 3, 4


class Case(NamedTuple):
    """A way to train."""

    callbacks: Callable[[], list[pl.Callback]]
    settings: dict[str, Any] = {}  # noqa: RUF012 - read, never written
    kind: type[SupervisedModule] = TabularModule


def staged() -> list[pl.Callback]:
    """Three stages under one cycle."""
    return [Unfreeze({0: 1, 1: 2, 2: "all"}), OneCycle((1e-3, 1e-2))]


CASES = {
    "staged, 52 steps": Case(staged, {"val_check_interval": 2, "max_epochs": 13}),
    "staged": Case(staged, {"val_check_interval": 0.5, "precision": "64-true"}),
    "table": Case(lambda: [FitTable(patience=None)], {"precision": "64-true"}),
    "mixed rows": Case(lambda: [FineTune(1, base_lr=1e-2), MixUp(inputs=["continuous"])], {"precision": "64-true"}),
    "accumulation": Case(
        lambda: [GradientAccumulationScheduler({0: 2, 2: 3}), OneCycle(1e-2)], {"precision": "64-true"}
    ),
    "ratings": Case(lambda: [OneCycle()], {"precision": "64-true", "limit_train_batches": 3}, CollabModule),
    "images": Case(lambda: [FineTune(1, base_lr=1e-2), MixUp(), ProgressiveResize({0: 16, 2: 32})], {}, VisionModule),
}

Moves = tuple[tuple[int, tuple[int, int]], ...]
"""After which steps how many ranks hand over to how many."""

# In stages each step hands over in every way; other cases between and within accumulated steps.
EVERY: dict[str, Moves] = {
    **dict.fromkeys(CASES, ((5, DOUBLED), (10, HALVED))),
    "staged": tuple((step, move) for step in range(1, EPOCHS * PER_EPOCH) for move in MOVES),
    "staged, 52 steps": ((21, DOUBLED), (42, HALVED)),
    "ratings": ((4, DOUBLED), (6, HALVED)),  # three steps in an epoch
    "images": ((7, DOUBLED), (7, HALVED)),
}


class Saver(pl.Callback):
    """A checkpoint whenever the ranks have trained each micro-batch of a step, named after how often they have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.total.ready * trainer.world_size
        if done % MICRO_BATCHES == 0:
            trainer.save_checkpoint(self.folder / f"{done // MICRO_BATCHES}.ckpt")


class Record(pl.Callback):
    """The rows and rates of each step, and the steps after which it validated."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.rates: list[list[float]] = []
        self.validated: list[int] = []

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.rows.append(batch["index"].tolist())
        if (batch_idx + 1) % (MICRO_BATCHES // trainer.world_size) == 0:
            self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated.append(trainer.global_step)

    def joined(self) -> dict[str, Any]:
        """Return what all ranks saw, the micro-batches of each step in order."""
        ranks: list[Any] = [self.rows]
        if distributed.is_initialized():
            ranks = [None] * distributed.get_world_size()
            distributed.all_gather_object(ranks, self.rows)
        rows = [batch for together in zip(*ranks, strict=True) for batch in together]
        return {"rows": rows, "rates": self.rates, "validated": self.validated}


class StopAfter(pl.Callback):
    """Stops a fit after that many steps, and saves what it leaves when it has ended."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.steps


def fit(
    name: str, folder: Path, ckpt: Path | None = None, *, ranks: int = 1, cut: int | None = None, first: bool = False
) -> dict[str, Any]:
    """Run a case from the start, writing checkpoints into the folder, or from one of them.

    Args:
        name: The case.
        folder: Where to write.
        ckpt: The checkpoint to resume from.
        ranks: How many train.
        cut: The fit is stopped after so many steps, and `cut.ckpt` written.
        first: Whether `ExactResume` is the first callback, not the last.
    """
    case, rank = CASES[name], int(os.environ.get("LOCAL_RANK", "0"))
    pl.seed_everything(1 if ckpt is None else 99 + rank, verbose=False)
    module, data = _parts(case, folder)
    record = Record()
    resume = ExactResume(MICRO_BATCHES if ckpt is None else None)
    callbacks = [resume, *case.callbacks()] if first else [*case.callbacks(), resume]
    more = [] if ckpt is not None else [Saver(folder)] if cut is None else [StopAfter(cut)]
    trainer = quiet_trainer(
        default_root_dir=folder,
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        callbacks=[*callbacks, record, *more],
        num_sanity_val_steps=0,
        **{"max_epochs": EPOCHS, **case.settings},
    )
    trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    if cut is not None:
        trainer.save_checkpoint(folder / "cut.ckpt")
    state: dict[str, Tensor] = {key: value.clone() for key, value in module.state_dict().items()}
    logged = {key: float(trainer.callback_metrics[key]) for key in ("train/loss", "val/loss")}
    return {**record.joined(), "state": state, "logged": logged, "steps": trainer.global_step}


def _parts(case: Case, folder: Path) -> tuple[SupervisedModule, Any]:
    pair, frame = Pair(case.kind, "regression"), make_frame(ROWS)
    split = IndexSplit(range(0, ROWS, 5))
    if case.kind is VisionModule:
        folder.mkdir(parents=True, exist_ok=True)
        frame = with_files(frame, folder / f"images{os.environ.get('LOCAL_RANK', '0')}")
        data: Any = ImageDataModule(
            frame, "pay", path="file", split=split, batch_size=BATCH_SIZE, num_workers=1, size=32, verbose=False
        )
    else:
        data = pair.data(frame, split=split, batch_size=BATCH_SIZE)
    settings: dict[str, Any] = {} if case.kind is CollabModule else {"dropout": 0.3}
    if case.kind is TabularModule:
        settings["widths"] = [8, 4]
    return pair.module(data.schema, **settings), data


def sweep(folder: Path, ranks: int, cases: dict[str, Moves]) -> dict[str, Any]:
    """Fit each case, unless it was, on ranks that save or go on in it, and go on from where others have left it."""
    seen: dict[str, Any] = {}
    for name, moves in cases.items():
        whole = folder / name / str(ranks)
        is_new = not whole.exists() and any(ranks in move for _, move in moves)
        if distributed.is_initialized():
            distributed.barrier()
        if is_new:
            seen[f"{name}: {ranks}"] = fit(name, whole, ranks=ranks)
        for step, (before, after) in moves:
            path = folder / name / str(before) / f"{step}.ckpt"
            if after == ranks and path.exists():  # else those who save it come later
                key = f"{name}: {before} to {after} after {step}"
                seen[key] = fit(name, folder / "resumed", path, ranks=ranks)
    return seen


def sweep_bits(folder: Path, ranks: int) -> dict[str, Any]:
    """Go on with as many ranks: in an epoch that was cut short, and with `ExactResume` before what freezes layers."""
    inside, whole = folder / "cut", folder / "staged" / str(ranks)
    fit("staged", inside, ranks=ranks, cut=PER_EPOCH + 2)
    return {
        f"staged: {ranks}, cut": fit("staged", inside, inside / "cut.ckpt", ranks=ranks),
        f"staged: {ranks}, first": fit("staged", inside, whole / f"{PER_EPOCH}.ckpt", ranks=ranks, first=True),
    }


def main(folder: Path) -> None:
    """Sweep every case, and an epoch that was cut short."""
    ranks, cut = _ranks(), folder / "cut" / "cut.ckpt"
    seen = sweep(folder, ranks, EVERY)
    if ranks == 2:
        seen |= sweep_bits(folder, ranks)
    elif cut.exists():
        seen[f"staged: 2 to {ranks} after a cut"] = fit("staged", folder / "resumed", cut, ranks=ranks)
    _save(seen, folder)


def few(folder: Path) -> None:
    """Sweep one case from the middle."""
    _save(sweep(folder, _ranks(), {"staged": ((6, DOUBLED), (6, HALVED))}), folder)


def _ranks() -> int:
    torch.set_num_threads(1)
    return int(os.environ.get("RANKS", "1"))


def _save(seen: dict[str, Any], folder: Path) -> None:
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        torch.save(seen, folder / f"seen{len([*folder.glob('seen*')])}.pt")


def compared(folder: Path) -> dict[str, list[str]]:
    """Return how each fit in a folder differs from that of one rank, or of as many by a bit, by its name."""
    seen: dict[str, Any] = {}
    for path in folder.glob("seen*.pt"):
        seen |= torch.load(path, weights_only=True)
    found = {key: _differences(seen[f"{key.partition(':')[0]}: 1"], one) for key, one in seen.items()}
    for key, one in seen.items():
        same, _, rest = key.partition(",")
        if rest in (" cut", " first"):
            found[key] += different(seen[same]["state"], one["state"])
    return found


def _differences(whole: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return what differs between a fit and the end of another."""
    found = [name for name in ("rows", "rates", "validated") if other[name] != whole[name][-len(other[name]) :]]
    found += ["steps"] if whole["steps"] != other["steps"] else []
    one, other_one = (_joined(each["state"]) for each in (whole, other))
    distance = float((one - other_one).norm() / one.norm())
    if distance > (1e-5 if one.dtype == torch.float64 else 1e-4):
        found.append(f"weights by {distance:.1e}")
    return found + [name for name, value in whole["logged"].items() if abs(other["logged"][name] / value - 1) > 1e-4]


def _joined(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])
