"""`tabvision verify`: replay random stretches of a fit to check that its recipe and data give its checkpoints."""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks import AverageAndStop
from tabvision.cli.chain import Stretch, checkpoints_of, facts_of, read_chain
from tabvision.cli.jobs import KEEP_EVERY, LAST, build, model_checkpoint, monitor_of
from tabvision.cli.run_recipe import read_recipe
from tabvision.cli.safe import check_writes_here
from tabvision.cli.trainer import guard_checkpoints, reworded_resume_errors, reworded_trainer_errors, state_after_epoch
from tabvision.errors import speaking
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import ModelCheckpoint, callbacks_of, seed_everything
from tabvision.logs import notes_at, quiet_lightning

_WHO = "tabvision verify"
_TOLERANCE = 0.05  # on another machine, where rounding differs: fraction of how far the weights moved in the stretch
_RESUMED = (
    "epoch",
    "global_step",
    "state_dict",
    "current_model_state",
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
)


def draw(num_stretches: int, share: float, chance: random.Random) -> list[int]:
    """Return the stretches to replay: a fraction of all, rounded up, drawn uniformly without replacement.

    Example:
        >>> len(draw(100, 0.05, random.Random(0))), draw(3, 1, random.Random(0))
        (5, [0, 1, 2])
    """
    return sorted(chance.sample(range(num_stretches), min(num_stretches, math.ceil(round(share * num_stretches, 6)))))


def chance_to_find(num_forged: int, num_stretches: int, num_drawn: int) -> float:
    """Return the probability that a draw contains a forged stretch: 1 - C(n - t, k) / C(n, k).

    Example:
        >>> [round(chance_to_find(forged, 100, 5), 3) for forged in (1, 10, 100)]
        [0.05, 0.416, 1.0]
    """
    missed = math.comb(num_stretches - num_forged, num_drawn) / math.comb(num_stretches, num_drawn)
    return 1 - missed


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each replayed stretch, and what the replay proves."""
    folder = Path(arguments.folder).expanduser()
    with speaking(_WHO):
        trained_on, stretches, head = read_chain(folder)
        recipe = read_recipe(folder / "recipe.yaml")
        if arguments.safe:
            check_writes_here(recipe["trainer"], recipe["data"])
    print(f"Every file matches the chain, whose hash is {head}")
    with quiet_lightning(), reworded_trainer_errors("recipe"):  # for the device that the recipe uses on this machine
        where = {"accelerator": recipe["trainer"].get("accelerator", "auto"), "devices": 1}
        trainer = pl.Trainer(**where, logger=False, enable_checkpointing=False, enable_model_summary=False)
    facts = facts_of(trainer.strategy.root_device)
    other = [name for name, value in facts.items() if trained_on.get(name) != value]
    near = f"within {_TOLERANCE:g} of how far the weights moved, since these differ: {', '.join(other)}"
    print(f"Compared {near if other else 'bit for bit'}.")
    drawn = draw(len(stretches), arguments.share, random.SystemRandom())
    forged = 0
    for number in drawn:
        stretch = stretches[number]
        with speaking(_WHO):
            difference = _replay(recipe, stretch, exact=not other)
        forged += bool(difference)
        print(f"steps {stretch.first:,} to {stretch.last:,}: {difference or 'the same when replayed'}", flush=True)
    print(_summary(len(stretches), len(drawn), forged))
    return int(forged > 0)


def _summary(num_stretches: int, num_drawn: int, num_found: int) -> str:
    """Return a sentence that says what the replay proves.

    Example:
        >>> _summary(20, 2, 0).partition(". ")[2].partition("; ")[0]
        'A replay of this many finds a forgery of 1 with probability 0.1, of 2 with 0.195, of 10 with 0.763'
    """
    found = f"{num_found} differ" if num_found > 1 else "1 differs" if num_found else "none differs"
    said = f"{num_drawn} of {num_stretches} stretches were replayed, and {found}."
    if num_drawn == num_stretches:
        return said
    sizes = sorted({1, math.ceil(num_stretches / 10), math.ceil(num_stretches / 2)})
    chances = [f"of {size} with {chance_to_find(size, num_stretches, num_drawn):.3g}" for size in sizes]
    chances[0] = chances[0].replace("with", "with probability")
    return f"{said} A replay of this many finds a forgery {', '.join(chances)}; --share 1 finds any."


def _replay(recipe: Mapping[str, Any], stretch: Stretch, *, exact: bool) -> str:
    """Train a stretch again and return how it differs from the run's folder; "" if it does not.

    Args:
        recipe: The recipe of the run.
        stretch: The stretch.
        exact: Whether machine and versions are those of the fit, so that everything is compared bit for bit.
    """
    with tempfile.TemporaryDirectory(prefix="tabvision-") as folder, notes_at(verbose=False), quiet_lightning():
        trainer, before = _fit(recipe, stretch, Path(folder))
        found = dict(checkpoints_of(Path(folder))).get(stretch.last)
        if found is None or trainer.global_step != stretch.last:
            return f"a fit of this recipe saves no checkpoint at step {stretch.last:,}, or goes on after the last one"
        saved, replayed = state_after_epoch(stretch.end), state_after_epoch(found)
    if exact:
        difference = _difference(stretch.end, _resumed(saved), _resumed(replayed))
    else:
        difference = _difference(stretch.end, saved["state_dict"], replayed["state_dict"], before)
    if difference or not stretch.is_final:
        return difference
    return _kept_differs(recipe, stretch, trainer, None if exact else before)


def _fit(recipe: Mapping[str, Any], stretch: Stretch, folder: Path) -> tuple[pl.Trainer, dict[str, Tensor]]:
    """Train a stretch in its own folder; return the Trainer and the weights at the start of the stretch."""
    settings = {**recipe["trainer"], "devices": 1, "default_root_dir": folder, "logger": False}
    callbacks = [build(each) for each in recipe["trainer"]["callbacks"] if each["class_path"] != model_checkpoint()]
    settings |= {"enable_progress_bar": False, "callbacks": [*callbacks, _KeepUntil(folder, stretch)]}
    seed_everything(recipe["seed_everything"], workers=True, verbose=False)
    data = build(recipe["data"])
    model = build(recipe["model"], data.schema)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start = None
    if stretch.start is not None:
        state = state_after_epoch(stretch.start)
        before = state["state_dict"]
        # here the callbacks that save write to a separate folder
        state["callbacks"] = {key: value for key, value in state["callbacks"].items() if not key.startswith(_SAVING)}
        torch.save(state, start := folder / "start.ckpt")
    with reworded_trainer_errors("recipe"):
        trainer = pl.Trainer(**settings)
    guard_checkpoints(trainer)
    with suppress(_ReachedError), reworded_resume_errors():
        trainer.fit(model, data, ckpt_path=start, weights_only=None if start is None else True)
    return trainer, before


class _ReachedError(Exception):
    """A replay has reached the end of its stretch."""


@final
class _KeepUntil(ModelCheckpoint):
    """Keep each checkpoint as the fit did, and end the replay with its stretch; the final stretch ends by itself."""

    def __init__(self, folder: Path, stretch: Stretch) -> None:
        super().__init__(folder, **KEEP_EVERY, enable_version_counter=False)
        self._stretch = stretch

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.global_step >= self._stretch.last + self._stretch.is_final:
            raise _ReachedError


_SAVING = (ModelCheckpoint.__name__, _KeepUntil.__name__)  # prefixes of the state keys of callbacks that save


def _kept_differs(
    recipe: Mapping[str, Any], stretch: Stretch, trainer: pl.Trainer, before: Mapping[str, Tensor] | None
) -> str:
    """Return how the network that the run kept differs from the one its checkpoints give; "" if it does not.

    That is the average that `AverageAndStop` leaves in the module, or the epoch with the lowest monitored loss.
    """
    folder = stretch.end.parents[1]
    last, best = state_after_epoch(folder / "last.ckpt"), read_state(folder / "best.ckpt")
    if difference := _difference(folder / "last.ckpt", _resumed(last), _resumed(state_after_epoch(stretch.end))):
        return difference
    if any(each.best_epoch >= 0 for each in callbacks_of(trainer, AverageAndStop)):
        kept = {name: value.cpu() for name, value in trainer.lightning_module.state_dict().items()}
    else:
        files, monitor = [file for _, file in checkpoints_of(folder)], monitor_of(recipe)
        chosen = files[-1]  # if no rows are held out
        if monitor != LAST:
            metrics = [state_after_epoch(each)["callbacks"]["ExactResume"]["ranks"][0]["metrics"] for each in files]
            losses = [float(each.get(monitor, math.inf)) for each in metrics]
            chosen = files[losses.index(min(losses))]
        kept, before = read_state(chosen)["state_dict"], None
    return _difference(folder / "best.ckpt", best["state_dict"], kept, before)


def _difference(
    file: Path, saved: Mapping[str, Any], replayed: Mapping[str, Any], before: Mapping[str, Tensor] | None = None
) -> str:
    """Return how a file's contents differ from a replay's; "" if they do not.

    Args:
        file: The file, for the message.
        saved: Its state.
        replayed: The state of the replay.
        before: The weights at the start of the stretch, to allow a difference of `_TOLERANCE` times how far they moved; None
            to compare bit for bit.
    """
    before = before or {}
    moving = {
        name
        for name in before.keys() & replayed.keys()
        if replayed[name].is_floating_point() and replayed[name].shape == before[name].shape
    }
    one, other = (
        {it: list(state[it].shape) if it in moving else state[it] for it in state} for state in (saved, replayed)
    )
    ours, theirs = dict(_values(one)), dict(_values(other))
    if name := next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), ""):
        return f"{name} of {file.name} differs from the replay's"
    statistics = {name for name in moving if name.endswith(("running_mean", "running_var"))}  # on another scale
    for names in (moving - statistics, statistics):
        moved, away = (
            math.sqrt(sum(float((replayed[name].double() - each[name].double()).square().sum()) for name in names))
            for each in (before, saved)
        )
        if not away <= _TOLERANCE * moved:  # true for NaN too
            far = f"{away:.3g} away from the replay's, which moved by {moved:.3g}: more than {_TOLERANCE:g} of it"
            return f"the weights of {file.name} are {far}"
    return ""


def _values(state: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values in a nested state by name, in a form that is equal only if no bit differs.

    Example:
        >>> dict(_values({"a": [1.0, float("nan")]})), list(_values({"a": torch.ones(2)}))[0][0]
        ({'a/0': '1.0', 'a/1': 'nan'}, 'a')
    """
    if isinstance(state, Tensor):
        plain = state.detach().cpu().contiguous()
        yield name, (plain.dtype, plain.shape, plain.flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(state, Mapping | list | tuple) and len(state):
        for key, item in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from _values(item, f"{name}/{key}" if name else str(key))
    else:
        yield name, repr(state)


def _resumed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a checkpoint that determine how a fit continues, without paths and scores of saving callbacks."""
    found = {name: state[name] for name in _RESUMED if name in state}
    callbacks = {key: value for key, value in found["callbacks"].items() if not key.startswith(_SAVING)}
    callbacks["ExactResume"] = {**callbacks["ExactResume"], "checkpoints": {}}
    return {**found, "callbacks": callbacks}
