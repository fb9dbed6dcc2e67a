"""Cross-validate a module for tables: predict each row with networks that never saw it, and bag the networks."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tabvision import lightning as pl
from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.data import TabularDataModule
from tabvision.data.tables.files import PARQUET_SUFFIXES
from tabvision.data.tables.write import check_destination, written_in_blocks
from tabvision.data.targets import beside_target
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.inference import Results
from tabvision.lightning import Callback, callbacks_of, check_trainer
from tabvision.logs import notes_at
from tabvision.metrics import of_one_process, values_of
from tabvision.modules import TabularModule
from tabvision.modules.network import OWN
from tabvision.nets.layers import evaluating
from tabvision.random_state import same_random_state

_logger = logging.getLogger("tabvision")


@final
@dataclass(frozen=True)
class CrossValidation:
    """The result of `cross_validate`.

    Args:
        module: The bag: the networks of all folds as one module that predicts their mean.
        predictions: The out-of-fold predictions for the training rows in the user's labels: `row` (the number in
            `data.frame`), the target, then the predicted columns. For a prepared table, those for `data.sampled()`.
        metrics: Metrics of the out-of-fold predictions for all training rows, by the task's names, and `loss`.
        results: The rows of `predictions` with their targets and losses, for `tabvision.interpret`.
    """

    module: TabularModule
    predictions: pd.DataFrame
    metrics: Mapping[str, float]
    results: Results


@speaking("cross_validate")
def cross_validate(
    module: TabularModule,
    data: TabularDataModule,
    *,
    trainer: Callable[[], pl.Trainer],
    num_folds: int = 5,
    seed: int | None = None,
    out: str | Path | None = None,
) -> CrossValidation:
    """Train several networks, predict each training row with those that did not train on it, and bag the networks.

    Each network trains on all folds but one, validates on that one, and is kept as its fit leaves it. If the members of a
    network hold out rows themselves, as with `FitTable()` below 20,000 rows, each network trains on all rows instead, with
    different folds for its members, and a row is predicted by the members that held it out.

    Folds are stratified by class; with a `GroupSplit`, each group is in a single fold. The data's validation and test rows
    are not used. Statistics and vocabularies come from all training rows. Random states are left unchanged.

    Args:
        module: A module with the settings for each network. Its weights are not used, and it is not trained.
        data: The rows.
        trainer: A function that returns a new Trainer at each call, such as
            `lambda: pl.Trainer(max_epochs=100, callbacks=[FitTable()])`.
        num_folds: Number of networks, and of folds, at least 2.
        seed: Determines the folds, the weights and the randomness in the fits; None for the datamodule's seed.
        out: A Parquet file for the out-of-fold predictions for all training rows, written block by block for tables larger
            than memory; None for no file.

    Raises:
        BadTypeError: The module, the data or the trainer has the wrong type.
        BadValueError: The rows are split by time, there are fewer rows or groups than folds, the network is the user's own,
            or the module is already a bag.
    """
    _check(module, data, trainer)
    check_whole("num_folds", num_folds, 2, remedy="Leave it out for 5")
    seed = data.seed if seed is None else check_whole("seed", seed, 0, remedy="Leave it out for the datamodule's")
    file = None if out is None else check_destination(out, suffixes=PARQUET_SUFFIXES)
    with same_random_state():
        bag = _new_like(module, bag=num_folds)
        trainers = _new_trainers(trainer)
        first = next(trainers)
        scored: list[Any] = [each for each in callbacks_of(first, Callback) if hasattr(each, "uses_folds")]
        members_fold = any(each.uses_folds(first, module, data) for each in scored)
        parts = _data_of_networks(data, num_folds, seed, members_fold=members_fold)
        for number, (part, net) in enumerate(zip(parts, bag.net.children(), strict=True)):
            with notes_at(data.verbose):
                _logger.info(
                    f"Network {number + 1} of {num_folds}: {count(len(part.parts['train'].rows), 'training row')}."
                )
            torch.manual_seed(seed + number)
            fitted = _new_like(module)
            (next(trainers) if number else first).fit(fitted, part)
            net.load_state_dict(fitted.net.state_dict())
    if members_fold:
        data.use_folds_of(parts)
    found, is_first = _measured(bag, data.sampled()), first.is_global_zero
    if data.sampled() is data and file is None:
        return found
    return replace(found, metrics=_streamed(bag, data, file if is_first else None))


def _new_trainers(trainer: Callable[[], pl.Trainer]) -> Iterator[pl.Trainer]:
    """Yield Trainers from the user's function; raise if a call does not return a new one."""
    last: object = None
    while True:
        made = trainer()
        check_trainer(made)
        if not isinstance(made, pl.Trainer) or made is last:
            problem = (
                f"trainer must return a new Trainer at each call, got {'the same' if made is last else repr(made)}"
            )
            raise BadTypeError(problem, "Build it inside the function: trainer=lambda: pl.Trainer(...)")
        yield made
        last = made


def _answered(bag: TabularModule, data: TabularDataModule) -> Iterator[tuple[Batch, Tensor]]:
    """Yield the batches of training rows with their out-of-fold logits, the same on all ranks."""
    data.trainer = None  # every rank predicts all rows
    with evaluating(bag), torch.inference_mode():
        for batch in data.fold_loader():
            yield batch, bag.answer_logits(batch).float()


def _check(module: object, data: object, trainer: object) -> None:
    if not isinstance(module, TabularModule):
        problem = f"module must be a TabularModule, got {type(module).__name__}"
        raise BadTypeError(problem, "Pass TabularModule(data.schema)")
    if not isinstance(data, TabularDataModule):
        raise BadTypeError(f"data must be a TabularDataModule, got {type(data).__name__}", "Build one from the table")
    if not callable(trainer):
        problem = f"trainer must be a function that returns a new Trainer, got {type(trainer).__name__}"
        raise BadTypeError(problem, "Pass a function such as lambda: pl.Trainer(callbacks=[FitTable()])")
    if not data.may_fold:
        problem = "rows split by time have no folds: a network would learn from rows later than those it predicts"
        raise BadValueError(problem, "Fit the module itself, and validate it on the latest rows")
    if OWN in (module.hparams["net"], module.hparams["numbers"]):
        problem = "each fold trains a network built from settings, and this module has a part of your own"
        raise BadValueError(problem, "Choose the network and the encoder of numbers by name")
    if module.hparams["bag"] > 1:
        raise BadValueError(f"module must be a single network, got a bag of {module.hparams['bag']}", "Leave bag out")


def _data_of_networks(
    data: TabularDataModule, num_folds: int, seed: int, *, members_fold: bool
) -> list[TabularDataModule]:
    """Return the data for each network; `data` itself keeps all its training rows, and its `fold_loader` loads the folds.

    Args:
        data: The rows.
        num_folds: The number of networks.
        seed: Determines the folds.
        members_fold: Whether the members of a network hold out rows themselves; each network then gets all rows, with a
            different seed for its members' folds.
    """
    if members_fold:
        parts = [copy.copy(data) for _ in range(num_folds)]
        for number, part in enumerate(parts):
            part.parts, part.seed = {**data.parts}, seed + number
        return parts
    data.use_folds(num_folds, seed)
    data.leave_folds()
    parts = [data.without_fold(fold) for fold in range(num_folds)]
    if empty := sum(not len(part.parts["val"].rows) for part in parts):
        problem = (
            f"num_folds={num_folds!r} leaves {count(empty, 'fold')} without a row: there are too few rows or groups"
        )
        raise BadValueError(problem, f"Pass at most {num_folds - empty}")
    return parts


def _new_like(module: TabularModule, **changed: Any) -> TabularModule:  # noqa: ANN401 - a setting
    """Return a new module with another's settings."""
    settings = {name: value for name, value in module.hparams.items() if not str(name).startswith("_")}
    optimizer = module._optimizer  # noqa: SLF001 - may be the user's own function, which the settings cannot hold
    return TabularModule(**{**settings, "schema": module.schema, "optimizer": optimizer, **changed})


def _measured(bag: TabularModule, data: TabularDataModule) -> CrossValidation:
    """Return the out-of-fold predictions for a table in memory, with their metrics."""
    task, target, (tensors, rows) = bag.task, data.targets_of("train"), data.parts["train"]
    found = [(logits, batch["fold"]) for batch, logits in _answered(bag, data)]
    logits, fold = (torch.cat(each) for each in zip(*found, strict=True))
    predictions = task.activate(logits)
    weights = tensors["weight"][rows] if "weight" in tensors else torch.ones(len(rows))
    losses, index = task.loss(logits, target), tensors["index"][rows]
    table = beside_target(data.frame, data.schema.target.columns, index.numpy(), _answers(bag, predictions))
    metrics = {
        "loss": float((losses * weights).sum() / weights.sum()),
        **values_of(task.metrics(), predictions, target),
    }
    gathered = {"predictions": predictions, "index": index, "loss": losses, "fold": fold}
    return CrossValidation(bag, table, metrics, Results.of_gathered(data.schema, data.frame, gathered))


def _answers(bag: TabularModule, predictions: Tensor) -> pd.DataFrame:
    numbers, task = predictions.numpy(), bag.task
    return pd.DataFrame(task.answers(numbers, task.decode(numbers), bag.schema.target, proba=True))


def _streamed(bag: TabularModule, data: TabularDataModule, out: Path | None) -> dict[str, float]:
    """Return the metrics of the out-of-fold predictions for all training rows, and write these to a file block by block."""
    task, facts, total, weight = bag.task, bag.schema.target, 0.0, 0.0
    metrics = of_one_process(task.metrics())
    with nullcontext() if out is None else written_in_blocks(out) as append:
        for batch, logits in _answered(bag, data):
            predictions, target = task.activate(logits), batch["target"]
            weights = batch["weight"].double() if "weight" in batch else torch.ones(len(target), dtype=torch.float64)
            total += float(task.loss(logits, target).double() @ weights)
            weight += float(weights.sum())
            metrics.update(predictions, target)
            if append is not None:
                labels = task.labels(target.numpy(), facts)
                truth = dict(zip(facts.columns, labels.T if labels.ndim > 1 else [labels], strict=True))
                answers, every = _answers(bag, predictions), np.arange(len(labels))
                table = beside_target(pd.DataFrame(truth), facts.columns, every, answers)
                append(table.assign(row=batch["index"].numpy()))
    return {"loss": total / weight, **{name: float(value) for name, value in metrics.compute().items()}}
