"""Cross-validate a module for tables: every row is answered by what never saw it, and the networks make a bag."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import pandas as pd
import torch
from torch import Tensor

from tabvision import lightning as pl
from tabvision.checks import check_whole
from tabvision.data import TabularDataModule
from tabvision.data.targets import beside_target
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.inference import Results
from tabvision.lightning import Callback, callbacks_of, check_trainer
from tabvision.logs import notes_at
from tabvision.metrics import values_of
from tabvision.modules import TabularModule
from tabvision.modules.network import OWN
from tabvision.nets.layers import evaluating
from tabvision.random_state import same_random_state

_logger = logging.getLogger("tabvision")


@final
@dataclass(frozen=True)
class CrossValidation:
    """What `cross_validate` returns.

    Args:
        module: The bag: the networks of all folds side by side, as one module that answers with their mean.
        predictions: The out-of-fold answer of each training row in the user's labels: `row` (its number in `data.frame`), the
            target, then the columns of an answer.
        metrics: Metrics of these answers, with the task's names, and `loss`.
        results: The same rows with their targets and losses, for `tabvision.interpret`.
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
) -> CrossValidation:
    """Train several networks, answer each training row by what did not learn from it, and make the networks one bag.

    Each network trains on all folds but one, whose rows validate, and is kept as its fit leaves it. But where the members of
    a network leave out rows by themselves, as with `FitTable()` below 20,000 rows, each network trains on all rows, with
    other folds for its members, and the members that left a row out answer it: the bag then has learned from every row.

    Folds are stratified by class, and with a `GroupSplit` a group is in one fold. Validation and test rows of the data take
    no part. Statistics and vocabularies are those of all training rows. Random states are left unchanged.

    Args:
        module: Its settings, not its weights, are those of each network. It is not trained.
        data: The rows.
        trainer: A function that returns a new Trainer, such as
            `lambda: pl.Trainer(max_epochs=100, callbacks=[FitTable()])`.
        num_folds: Number of networks, and of folds, at least 2.
        seed: Determines folds, weights and what is random in the fits; None for the datamodule's.

    Raises:
        BadTypeError: The module, the data or the trainer is of another kind.
        BadValueError: Rows are split by time, there are fewer rows or groups than folds, the network is the user's own, or
            the module is a bag.
    """
    _check(module, data, trainer)
    check_whole("num_folds", num_folds, 2, remedy="Leave it out for 5")
    seed = data.seed if seed is None else check_whole("seed", seed, 0, remedy="Leave it out for the datamodule's")
    with same_random_state():
        bag, found = _new_like(module, bag=num_folds), list[tuple[Tensor, Tensor]]()
        trainers = _new_trainers(trainer)
        first = next(trainers)
        members_fold = _members_fold(first, module, data)
        parts = _copies_with_seeds(data, num_folds, seed) if members_fold else _fold_data(data, num_folds, seed)
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
                found.append(_logits(fitted.to("cpu", torch.float32), part))  # as the bag's
    if not members_fold:
        return _measured(bag, data, *_logits(bag, data))
    logits, folds = (torch.stack(each, dim=1) for each in zip(*found, strict=True))
    return _measured(bag, data, bag.task.combine(logits), folds)


def _new_trainers(trainer: Callable[[], pl.Trainer]) -> Iterator[pl.Trainer]:
    """Yield what the user's function returns; raise unless it is a new Trainer at each call."""
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


def _members_fold(trainer: pl.Trainer, module: TabularModule, data: TabularDataModule) -> bool:
    """Return whether the members of the module leave out rows by themselves in a fit of this trainer."""
    scored: list[Any] = [each for each in callbacks_of(trainer, Callback) if hasattr(each, "uses_folds")]
    return any(each.uses_folds(trainer, module, data) for each in scored)


def _copies_with_seeds(data: TabularDataModule, num_folds: int, seed: int) -> list[TabularDataModule]:
    """Return copies of the data with other seeds, which determine the folds of the members."""
    parts = [copy.copy(data) for _ in range(num_folds)]
    for number, part in enumerate(parts):
        part.parts, part.seed = {**data.parts}, seed + number
    return parts


def _logits(module: TabularModule, data: TabularDataModule) -> tuple[Tensor, Tensor]:
    """Return the logits of each training row by what left it out, (N, num_outputs), and its fold; the same on all ranks."""
    data.trainer = None  # every rank answers all rows
    with evaluating(module), torch.inference_mode():
        found = [(module.answer_logits(batch).float(), batch["fold"]) for batch in data.fold_loader()]
    logits, fold = zip(*found, strict=True)
    return torch.cat(logits), torch.cat(fold)


def _check(module: object, data: object, trainer: object) -> None:
    if not isinstance(module, TabularModule):
        problem = f"module must be a TabularModule, got {type(module).__name__}"
        raise BadTypeError(problem, "Pass TabularModule(data.schema)")
    if not isinstance(data, TabularDataModule):
        raise BadTypeError(f"data must be a TabularDataModule, got {type(data).__name__}", "Build one from the table")
    if not callable(trainer):
        problem = f"trainer must be a function that returns a new Trainer, got {type(trainer).__name__}"
        raise BadTypeError(problem, "Pass such as trainer=lambda: pl.Trainer(callbacks=[FitTable()])")
    if not data.may_fold:
        problem = (
            "rows that are split by time have no folds: a network would learn from rows later than those it answers"
        )
        raise BadValueError(problem, "Fit the module itself, and validate it on the latest rows")
    if OWN in (module.hparams["net"], module.hparams["numbers"]):
        problem = "each fold trains a network built from settings, and this module has a part of your own"
        raise BadValueError(problem, "Take a network and an encoder of numbers by name")
    if module.hparams["bag"] > 1:
        raise BadValueError(f"module must be a single network, got a bag of {module.hparams['bag']}", "Leave bag out")


def _fold_data(data: TabularDataModule, num_folds: int, seed: int) -> list[TabularDataModule]:
    """Return the data of each fold; `data` itself goes on training on all rows, and its `fold_loader` loads these folds."""
    data.use_folds(num_folds, seed)
    data.leave_folds()
    parts = [data.without_fold(fold) for fold in range(num_folds)]
    if empty := sum(not len(part.parts["val"].rows) for part in parts):
        problem = f"num_folds must be at most the number of training rows, or of their groups, got {num_folds!r}"
        raise BadValueError(problem, f"Pass at most {num_folds - empty}")
    return parts


def _new_like(module: TabularModule, **changed: Any) -> TabularModule:  # noqa: ANN401 - a setting
    """Return a new module with the settings of another."""
    settings = {name: value for name, value in module.hparams.items() if not str(name).startswith("_")}
    optimizer = module._optimizer  # noqa: SLF001 - perhaps the user's own function, which the settings do not hold
    return TabularModule(**{**settings, "schema": module.schema, "optimizer": optimizer, **changed})


def _measured(bag: TabularModule, data: TabularDataModule, logits: Tensor, fold: Tensor) -> CrossValidation:
    """Return the answers for out-of-fold logits, and their metrics."""
    task, target, (tensors, rows) = bag.task, data.targets_of("train"), data.parts["train"]
    predictions = task.activate(logits)
    weights = tensors["weight"][rows] if "weight" in tensors else torch.ones(len(rows))
    losses, index = task.loss(logits, target), tensors["index"][rows]
    numbers, facts = predictions.numpy(), data.schema.target
    answers = pd.DataFrame(task.answers(numbers, task.decode(numbers), facts, proba=True))
    table = beside_target(data.frame, facts.columns, index.numpy(), answers)
    found = {"loss": float((losses * weights).sum() / weights.sum()), **values_of(task.metrics(), predictions, target)}
    gathered = {"predictions": predictions, "index": index, "loss": losses, "fold": fold}
    results = Results.of_gathered(data.schema, data.frame, gathered)
    return CrossValidation(bag, table, found, results)
