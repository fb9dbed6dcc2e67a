"""What two gloo processes do with tables, each writing down what it saw.

`test_two_processes.py` reads the records and holds them to what one process does.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import distributed
from typing_extensions import override

from tabvision.callbacks import FitTable, OneCycle
from tabvision.data import IndexSplit, base
from tabvision.inference import gather
from tabvision.modules import SupervisedModule, TabularModule
from tabvision.tuning import cross_validate
from tests.made.pairs import ALL_TARGETS, TARGETS, Pair, make_frame
from tests.made.trainers import quiet_trainer


class Scenario(NamedTuple):
    """Rows in all, rows that validate (None: no such part), the kind of target, and settings."""

    rows: int
    validation: int | None
    target: str
    data: dict[str, Any] = {}  # noqa: RUF012 - read, never written
    module: dict[str, Any] = {}  # noqa: RUF012
    callback: type[pl.Callback] = OneCycle
    is_grown: bool = False  # from a module that knows two thirds of the rows, and one class less

    def build(self, **overrides: Any) -> tuple[SupervisedModule, Any]:
        """The module and its data, the same in every process."""
        pair = Pair(TabularModule, self.target)
        frame = make_frame(self.rows).assign(weight=[row % 4 + 0.5 for row in range(self.rows)])
        # rows of every class are in both parts, since the draws of a frame come in no order
        split = None if self.validation is None else IndexSplit(range(0, 5 * self.validation, 5))
        frame["weight"] = frame["weight"].where(frame.index != 3, 0.0)
        settings = {"split": split, "batch_size": 8, "ignore": self.ignored} | self.data | overrides
        data = pair.data(frame, **settings)
        if not self.is_grown:
            return pair.module(data.schema, **self.module), data
        some = frame[frame["kind"] != "mid"].reset_index(drop=True)
        grown = pair.module(pair.data(some, **settings | {"split": None}).schema, **self.module).grow(data.schema)
        return grown, pair.data(frame, **settings, schema=grown.schema)

    @property
    def ignored(self) -> list[str]:
        """Columns that are no features of this target."""
        target = TARGETS[self.target].target
        columns = [target] if isinstance(target, str) else target
        spared = {self.data.get("weight"), *columns}
        return [name for name in (*ALL_TARGETS, "weight") if name not in spared]


NO_FEATURES = [*(name for name in ALL_TARGETS if name != "paid"), "weight"]
WITHOUT_NORMS = {"batch_norm": False, "continuous_norm": False, "optimizer": "sgd", "momentum": 0.0, "lr": 0.1}
SCENARIOS = {
    "even": Scenario(100, 20, "binary"),
    "uneven, three classes": Scenario(101, 19, "multiclass"),
    "uneven, labels": Scenario(101, 19, "multilabel_text"),
    "uneven, numbers": Scenario(101, 19, "regression_several"),
    "weights": Scenario(101, 19, "binary", data={"weight": "weight"}),
    "balanced draws": Scenario(101, 19, "multiclass", data={"sampler": "balanced"}),
    "fewer validation rows than processes": Scenario(41, 1, "binary"),
    "fewer validation rows, numbers": Scenario(41, 1, "regression"),
    "no validation rows": Scenario(61, None, "binary"),
    "categories alone": Scenario(61, 12, "binary", data={"ignore": [*NO_FEATURES, "x", "z"]}),
    "grown": Scenario(101, 19, "multiclass", is_grown=True),
    "folds": Scenario(101, None, "regression", data={"seed": 0}, callback=FitTable),
    "no norms": Scenario(100, 20, "regression", module=WITHOUT_NORMS),
}


class RowsSeen(pl.Callback):
    """The row numbers that this process trained on, epoch by epoch and batch by batch."""

    def __init__(self) -> None:
        self.epochs: list[list[list[int]]] = []

    @override
    def on_train_epoch_start(self, *args: Any) -> None:
        self.epochs.append([])

    @override
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.epochs[-1].append(batch["index"].tolist())


def make_trainer(folder: Path, **settings: Any) -> pl.Trainer:
    """Two epochs."""
    return quiet_trainer(**({"default_root_dir": folder, "max_epochs": 2} | settings))


def record(scenario: Scenario, folder: Path) -> dict[str, Any]:
    """What this process saw of a run of two."""
    module, data = scenario.build()
    seen = RowsSeen()
    callback = scenario.callback()
    trainer = make_trainer(folder, devices=2, strategy="ddp", callbacks=[seen, callback])
    trainer.fit(module, data)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name != "train/loss_step"}
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    rest: dict[str, Any] = {"score": callback.best_score} if isinstance(callback, FitTable) else {}
    if scenario.validation is not None:
        (rest["validated"],) = trainer.validate(module, data, verbose=False)
        outputs: Any = trainer.predict(module, data)
        rest["own_rows"] = [row for batch in outputs for row in batch["index"].tolist()]
        rest["gathered"] = gather(outputs)
    return {"steps": trainer.global_step, "seen": seen.epochs, "logged": logged, "state": state, **rest}


def cross_validated(folder: Path) -> dict[str, Any]:
    """What this process saw of a cross-validation by two, and the bag that it saved."""
    module, data = SCENARIOS["folds"].build()
    assert isinstance(module, TabularModule)
    made: list[pl.Trainer] = []

    def trainer() -> pl.Trainer:
        made.append(make_trainer(folder, devices=2, strategy="ddp", callbacks=[FitTable(folds=False)]))
        return made[-1]

    found = cross_validate(module, data, trainer=trainer, num_folds=3)
    made[-1].strategy.connect(found.module)
    made[-1].save_checkpoint(folder / "bag.ckpt", weights_only=True)
    numbers = torch.from_numpy(found.predictions[["row", "prediction"]].to_numpy())
    return {"state": found.module.state_dict(), "metrics": dict(found.metrics), "numbers": numbers}


def main(folder: Path) -> None:
    """Runs every scenario and writes down what this process saw."""
    torch.set_num_threads(1)
    base.CPU_EVAL_BATCH_SIZE = 8  # several steps of validation, the last an uneven one
    records = {name: record(scenario, folder) for name, scenario in SCENARIOS.items()}
    records["cross-validation"] = cross_validated(folder)
    torch.save(records, folder / f"rank{distributed.get_rank()}.pt")
