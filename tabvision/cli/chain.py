"""The chain of a run: hashes of its recipe, data and checkpoints; and the replay of a stretch between two checkpoints."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from typing_extensions import override

from tabvision import __version__
from tabvision import lightning as pl
from tabvision.callbacks import AverageAndStop
from tabvision.cli.jobs import CHECKPOINTS, KEEP_EVERY, LAST, model_checkpoint
from tabvision.cli.resume import component
from tabvision.cli.trainer import guard_checkpoints, reworded_resume_errors, reworded_trainer_errors
from tabvision.data.tables.files import files_of, is_glob
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, MissingFileError
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import ModelCheckpoint, seed_everything, tree
from tabvision.logs import notes_at, quiet_lightning

CHAIN = "chain.jsonl"
TOLERANCE = 0.05  # on another machine: of how far the weights moved in the stretch, as rounding differs there
_SOURCES = ("source", "validation", "test", "titles", "corrections", "weights")  # settings that name files
_RESUMED = (
    "epoch",
    "global_step",
    "state_dict",
    "current_model_state",
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
)


class Stretch(NamedTuple):
    """The steps between two checkpoints.

    Args:
        start: The checkpoint that it begins at; None for the seed.
        first: The step of that checkpoint.
        end: The checkpoint that it ends at.
        last: The step of that one.
        is_final: Whether the fit ends there.
    """

    start: Path | None
    first: int
    end: Path
    last: int
    is_final: bool


def write_chain(folder: Path, recipe: Mapping[str, Any], datamodule: object, device: torch.device) -> str:
    """Write the chain of a finished run, and return the hash of its last line.

    Args:
        folder: The folder of the run.
        recipe: Its recipe.
        datamodule: Its data.
        device: What it was trained on.
    """
    files = [folder / "recipe.yaml", *_data_files(recipe, datamodule)]
    steps = [0] * len(files)
    for step, file in _by_step(folder):
        files.append(file)
        steps.append(step)
    for name in ("last.ckpt", "best.ckpt"):
        files.append(folder / name)
        steps.append(steps[-1])
    lines = [json.dumps({"trained_on": facts_of(device)})]
    for step, file in zip(steps, files, strict=True):
        name = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
        link = {"step": step, "file": name, "sha256": _sha256(file), "previous": _hash(lines[-1])}
        lines.append(json.dumps(link, ensure_ascii=False))
    with written_whole(folder / CHAIN) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _hash(lines[-1])


def read_chain(folder: Path) -> tuple[dict[str, str], list[Stretch], str]:
    """Return what a run was trained on, its stretches, and the hash of the last line, once every file is as it was.

    Raises:
        MissingFileError: The folder has no chain, or a file of it is missing.
        BadValueError: A line or a file was changed, or a checkpoint is in no line.
    """
    chain, remedy = folder / CHAIN, "Ask for the original"
    if not chain.is_file():
        problem = f"{str(folder)!r} has no {CHAIN}, which tabvision train --verifiable writes"
        raise MissingFileError(problem, "Pass the folder of such a run")
    try:
        lines = chain.read_text(encoding="utf-8").splitlines()
        facts, links = dict(json.loads(lines[0])["trained_on"]), [json.loads(line) for line in lines[1:]]
        wanted = [(int(link["step"]), str(link["file"]), str(link["sha256"]), link["previous"]) for link in links]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadValueError(f"{str(chain)!r} is not a chain of hashes ({type(error).__name__})", remedy) from error
    for number, (before, (_, name, digest, previous)) in enumerate(zip(lines, wanted, strict=False), 2):
        if previous != _hash(before):
            problem = f"line {number - 1} of {str(chain)!r} was changed after line {number} was written"
            raise BadValueError(problem, remedy)
        file = folder / name if (folder / name).is_file() else Path(name).expanduser()
        if not file.is_file():
            where = "data are looked for from the folder in which the fit was started"
            raise MissingFileError(f"{name!r} is missing, which {str(chain)!r} names", f"Put it back; {where}")
        if _sha256(file) != digest:
            problem = f"{str(file)!r} is not the file of the fit: its hash is not that in {str(chain)!r}"
            raise BadValueError(problem, remedy)
    kept = [(step, folder / name) for step, name, *_ in wanted if Path(name).parts[:1] == (CHECKPOINTS,)]
    names = {name for _, name, *_ in wanted}
    if kept != _by_step(folder) or not kept or not {"recipe.yaml", "best.ckpt", "last.ckpt"} <= names:
        raise BadValueError(f"{str(chain)!r} does not name every file of the run", remedy)
    found = [
        Stretch(start, first, end, last, is_final=end == kept[-1][1])
        for (first, start), (last, end) in zip([(0, None), *kept[:-1]], kept, strict=True)
    ]
    return facts, found, _hash(lines[-1])


def facts_of(device: torch.device) -> dict[str, str]:
    """Return the machine and the versions on which a fit gives the same bits."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    file = Path("/proc/cpuinfo")
    models = [line for line in file.read_text().splitlines() if "model name" in line] if file.is_file() else []
    processor = models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": importlib.import_module(tree()).__version__,
    }
    where = {"system": platform.system(), "processor": processor, "device": chip}
    return {**versions, "tabvision": __version__, **where, "threads": str(torch.get_num_threads())}


def differing_facts(recipe: Mapping[str, Any], trained_on: Mapping[str, str]) -> list[str]:
    """Return in which facts this machine, with the device that the recipe takes here, is another than that of the fit."""
    with quiet_lightning(), reworded_trainer_errors("recipe"):
        where = {"accelerator": recipe["trainer"].get("accelerator", "auto"), "devices": 1}
        trainer = pl.Trainer(**where, logger=False, enable_checkpointing=False, enable_model_summary=False)
    return [name for name, value in facts_of(trainer.strategy.root_device).items() if trained_on.get(name) != value]


def replay(recipe: Mapping[str, Any], stretch: Stretch, *, exact: bool) -> str:
    """Train a stretch again, and return how it differs from what the run's folder holds; "" if it does not.

    Args:
        recipe: The recipe of the run.
        stretch: The stretch.
        exact: Whether the machine and the versions are those of the fit, so that all is compared to the bit.
    """
    with tempfile.TemporaryDirectory(prefix="tabvision-") as folder, notes_at(verbose=False), quiet_lightning():
        trainer, before = _fit(recipe, stretch, Path(folder))
        found = dict(_by_step(Path(folder))).get(stretch.last)
        if found is None or trainer.global_step != stretch.last:
            return f"a fit of this recipe saves no checkpoint at step {stretch.last:,}, or goes on after the last one"
        saved, replayed = _state_of(stretch.end), _state_of(found)
    if exact:
        difference = _difference(stretch.end, _resumed(saved), _resumed(replayed))
    else:
        difference = _difference(stretch.end, saved["state_dict"], replayed["state_dict"], before)
    if difference or not stretch.is_final:
        return difference
    return _kept_differs(recipe, stretch, trainer, None if exact else before)


def _fit(recipe: Mapping[str, Any], stretch: Stretch, folder: Path) -> tuple[pl.Trainer, dict[str, Tensor]]:
    """Train a stretch in a folder of its own, and return the Trainer and the weights at its start."""
    settings = {**recipe["trainer"], "devices": 1, "default_root_dir": folder, "logger": False}
    parts = [component(part) for part in recipe["trainer"]["callbacks"]]
    callbacks = [part.build() for part in parts if part.class_path != model_checkpoint()]
    settings |= {"enable_progress_bar": False, "callbacks": [*callbacks, _KeepUntil(folder, stretch)]}
    seed_everything(recipe["seed_everything"], workers=True, verbose=False)
    data = component(recipe["data"]).build()
    model = component(recipe["model"]).build(data.schema)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start = None
    if stretch.start is not None:
        state = _state_of(stretch.start)
        before = state["state_dict"]
        # the callbacks that save write into a folder of their own here
        state["callbacks"] = {key: value for key, value in state["callbacks"].items() if not _saves(key)}
        torch.save(state, start := folder / "start.ckpt")
    with reworded_trainer_errors("recipe"):
        trainer = pl.Trainer(**settings)
    guard_checkpoints(trainer)
    with suppress(_ReachedError), reworded_resume_errors():
        trainer.fit(model, data, ckpt_path=start, weights_only=None if start is None else True)
    return trainer, before


class _ReachedError(Exception):
    """A replay is where its stretch ends."""


@final
class _KeepUntil(ModelCheckpoint):
    """Keep each checkpoint, as the fit did, and end the replay where its stretch ends; the fit's end ends itself."""

    def __init__(self, folder: Path, stretch: Stretch) -> None:
        super().__init__(folder, **KEEP_EVERY, enable_version_counter=False)
        self._stretch = stretch

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.global_step >= self._stretch.last + self._stretch.is_final:
            raise _ReachedError


def _kept_differs(
    recipe: Mapping[str, Any], stretch: Stretch, trainer: pl.Trainer, before: Mapping[str, Tensor] | None
) -> str:
    """Return how the network that the run kept differs from that of its checkpoints; "" if it does not.

    It is the average that `AverageAndStop` leaves in the module, or else that of the epoch with the lowest monitored loss.
    """
    folder = stretch.end.parents[1]
    last, best = _state_of(folder / "last.ckpt"), read_state(folder / "best.ckpt")
    if difference := _difference(folder / "last.ckpt", _resumed(last), _resumed(_state_of(stretch.end))):
        return difference
    averages = [each for each in trainer.callbacks if isinstance(each, AverageAndStop)]  # type: ignore[attr-defined]
    if any(each.best_epoch >= 0 for each in averages):
        kept = {name: value.cpu() for name, value in trainer.lightning_module.state_dict().items()}
    else:
        kept, before = read_state(_best_of(recipe, _by_step(folder)))["state_dict"], None
    return _difference(folder / "best.ckpt", best["state_dict"], kept, before)


def _best_of(recipe: Mapping[str, Any], kept: Sequence[tuple[int, Path]]) -> Path:
    """Return the checkpoint with the lowest monitored loss; the last one where no rows are held out."""
    settings = [part.get("init_args", {}) for part in recipe["trainer"]["callbacks"]]
    monitor = next((each["monitor"] for each in settings if "monitor" in each), LAST)
    if monitor == LAST:
        return kept[-1][1]

    def score(link: tuple[int, Path]) -> float:
        return float(_state_of(link[1])["callbacks"]["ExactResume"]["ranks"][0]["metrics"].get(monitor, math.inf))

    return min(kept, key=score)[1]


def _difference(
    file: Path, saved: Mapping[str, Any], replayed: Mapping[str, Any], before: Mapping[str, Tensor] | None = None
) -> str:
    """Return how what a file holds is not what a replay gives; "" if it is.

    Args:
        file: The file.
        saved: Its state.
        replayed: That of the replay.
        before: Of weights those at the start of the stretch: they may be away by `TOLERANCE` of how far they moved. None to
            compare to the bit.
    """
    before = before or {}
    moving = {it for it in before if it in replayed and _moves(before[it], replayed[it])}
    one, other = (
        {it: list(state[it].shape) if it in moving else state[it] for it in state} for state in (saved, replayed)
    )
    if name := first_difference(one, other):
        return f"{name} of {file.name} is not what the replay gives"
    statistics = {name for name in moving if name.endswith(("running_mean", "running_var"))}  # of a size of their own
    for names in (moving - statistics, statistics):
        moved, away = (
            math.sqrt(sum(float((replayed[name].double() - each[name].double()).square().sum()) for name in names))
            for each in (before, saved)
        )
        if not away <= TOLERANCE * moved:  # so if it is not a number
            far = f"{away:.3g} away from the replay's, which moved by {moved:.3g}: more than {TOLERANCE:g} of it"
            return f"the weights of {file.name} are {far}"
    return ""


def _moves(before: Tensor, after: Tensor) -> bool:
    return after.is_floating_point() and after.shape == before.shape


def first_difference(one: object, other: object) -> str:
    """Return the name of the first value in which two nested states differ in a bit; "" if there is none.

    Example:
        >>> first_difference({"a": [1.0, torch.ones(2)]}, {"a": [1.0, torch.tensor([1.0, 2.0])]})
        'a/1'
        >>> first_difference({"a": float("nan")}, {"a": float("nan")})
        ''
    """
    ours, theirs = dict(_values(one)), dict(_values(other))
    return next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), "")


def _values(state: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values in a nested state by their names, in a form that can be compared."""
    if isinstance(state, Tensor):
        plain = state.detach().cpu().contiguous()
        yield name, (plain.dtype, plain.shape, plain.flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(state, Mapping | list | tuple) and len(state):
        for key, item in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from _values(item, f"{name}/{key}" if name else str(key))
    else:
        yield name, repr(state)


def _resumed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a checkpoint decides how a fit goes on, without the paths and scores of the callbacks that save."""
    found = {name: state[name] for name in _RESUMED if name in state}
    callbacks = {key: value for key, value in found["callbacks"].items() if not _saves(key)}
    callbacks["ExactResume"] = {**callbacks["ExactResume"], "checkpoints": {}}
    return {**found, "callbacks": callbacks}


def _saves(state_key: str) -> bool:
    """Return whether a callback with that key saves checkpoints."""
    return state_key.startswith((ModelCheckpoint.__name__, _KeepUntil.__name__))


def _data_files(recipe: Mapping[str, Any], datamodule: Any) -> list[Path]:  # noqa: ANN401 - one of ours
    """Return the files that a recipe reads: tables, photos and weights."""
    named = [Path(text).expanduser() for text in _sources([recipe["data"], recipe["model"]])]
    photos = [Path(file) for file in getattr(datamodule, "files", ()) if file]
    found = [file for path in named for file in (path.rglob("*") if path.is_dir() else [path])]
    return sorted({file for file in (*found, *photos) if file.is_file()})


def _sources(value: object, name: str = "") -> Iterator[str]:
    """Yield the paths that the settings of a recipe name, each file of a pattern."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _sources(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _sources(item, name)
    elif isinstance(value, str) and name in _SOURCES:
        yield from map(str, files_of(value)) if is_glob(value) else [value]


def _by_step(folder: Path) -> list[tuple[int, Path]]:
    """Return the kept checkpoints of a run, each with its step."""
    files = {file.stem.partition("=")[2]: file for file in (folder / CHECKPOINTS).glob("step=*.ckpt")}
    return sorted((int(step), file) for step, file in files.items() if step.isdecimal())


def _state_of(file: Path) -> dict[str, Any]:
    """Return the state of a fit, with what `ExactResume` saves.

    Raises:
        BadValueError: It lacks that.
    """
    state = read_state(file)
    try:
        state["callbacks"]["ExactResume"]["ranks"][0]["metrics"].keys()
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadValueError(f"{str(file)!r} is not what a run saves after an epoch", "Ask for the original") from error
    return state


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
