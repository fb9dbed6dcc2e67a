"""Read runs from their folders: the facts, metrics and history that training wrote, and the settings of the recipe."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml

from tabvision.errors import BadValueError, listed

HELD_OUT_LOSSES = ("oof/loss", "val/loss", "val_loss")
_LOSSES = (*HELD_OUT_LOSSES, "train/loss")  # the first one that was logged selects the best epoch
_RECIPES = ("recipe.yaml", "resume.yaml")  # resume.yaml if the run started from a trained network
_MAX_BYTES = 1 << 20  # of a recipe or metrics.json; ours have a few thousand
_MAX_SETTINGS, _MAX_DEPTH = 1_000, 8  # the most in a recipe


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, read from its folder.

    Args:
        name: The folder's name.
        facts: The run's row in the table.
        metrics: The final metrics by name; those on test rows start with "test ".
        history: Its `metrics.csv`, or None.
        settings: The settings of its recipe by dotted name.
        target: The columns to predict, () if unknown.
    """

    name: str
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]
    history: pd.DataFrame | None
    settings: Mapping[str, str]
    target: tuple[str, ...]


class _NoRunError(Exception):
    """A folder holds nothing to compare; the message continues a sentence that starts with its name."""


def read_runs(folders: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Return the runs, with a sentence about each folder that has none."""
    runs, notes, names = list[Run](), list[str](), set[str]()
    for folder in dict.fromkeys(Path(each).expanduser() for each in folders):
        first = folder.resolve().name or "run"
        numbered = (f"{first} ({number})" for number in itertools.count(2))
        name = next(each for each in itertools.chain([first], numbered) if each not in names)
        try:
            runs.append(_read(folder, name))
            names.add(name)
        except _NoRunError as error:
            notes.append(f"{first} {error}.")
        except (OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError, RecursionError) as error:
            notes.append(f"{first} holds files that no run wrote ({type(error).__name__}).")
    if not runs:
        problem = f"there is no run to compare: {' '.join(notes)}".rstrip(".")
        raise BadValueError(problem, "Pass folders that tabvision train wrote, such as runs/*")
    targets = {run.target: run.name for run in runs if run.target}
    if len(targets) > 1:
        each = listed([f"{listed(target)} ({name})" for target, name in targets.items()])
        raise BadValueError(f"the runs predict different targets: {each}", "Compare those with the same target")
    return runs, notes


def _read(folder: Path, name: str) -> Run:
    """Read the run in a folder.

    Raises:
        _NoRunError: The folder holds no run, or one without metrics.
    """
    if not folder.is_dir():
        raise _NoRunError("is not a folder")
    final, history = folder / "metrics.json", folder / "metrics.csv"
    if not final.exists() and not history.exists():
        if (folder / "best.ckpt").exists():
            raise _NoRunError("holds a model without its metrics; tabvision evaluate measures it on labeled rows")
        raise _NoRunError("holds no run: neither metrics.json nor metrics.csv")
    frame = pd.read_csv(history) if history.exists() else None
    saved = json.loads(_text_of(final)) if final.exists() else {}
    file = next((file for name in _RECIPES if (file := folder / name).exists()), None)
    recipe = {} if file is None else yaml.safe_load(_text_of(file))
    settings = dict(itertools.islice(_settings(recipe), _MAX_SETTINGS))
    epochs, best, metrics = _of_history(frame)
    measured = {  # the model's metrics, grouped by the rows they were measured on
        str(rows): {
            str(metric): float(value["model"]) for metric, value in values.items() if value["model"] is not None
        }
        for rows, values in (saved.get("metrics") or {}).items()
    }
    target = saved.get("target") or recipe.get("data", {}).get("init_args", {}).get("target") or ()
    facts = {
        "run": name,
        "data": _named(saved.get("data") or settings.get("data.source", "")),
        "network": str(saved.get("network") or settings.get("model", "").rpartition(".")[2]),
        "epochs": epochs,
        "best epoch": best,
        "seconds": saved.get("seconds"),
        "measured on": next(iter(measured), "validation" if metrics else ""),
    }
    final_metrics = {
        f"test {metric}" if rows == "test" else metric: value
        for rows, values in measured.items()
        for metric, value in values.items()
    }
    names = (target,) if isinstance(target, str) else tuple(map(str, target))
    return Run(name=name, facts=facts, metrics=final_metrics or metrics, history=frame, settings=settings, target=names)


def _text_of(file: Path) -> str:
    if file.stat().st_size > _MAX_BYTES:
        raise _NoRunError(f"holds a {file.name} of more than {_MAX_BYTES:,} bytes, which no run wrote")
    return file.read_text(encoding="utf-8")


def _of_history(frame: pd.DataFrame | None) -> tuple[int | None, int | None, dict[str, float]]:
    """Return the number of epochs, the epoch with the lowest held-out loss, and that epoch's validation metrics.

    Example:
        >>> _of_history(pd.DataFrame({"epoch": [0, 1, 2], "val/loss": [3.0, 1.0, 2.0], "val/f1": [0.1, 0.5, 0.4]}))
        (3, 2, {'loss': 1.0, 'f1': 0.5})
    """
    if frame is None or "epoch" not in frame:
        return None, None, {}
    epochs, monitor = epochs_of(frame)
    if monitor is None:
        return len(epochs) or None, None, {}
    best = epochs[monitor].idxmin()
    measured = epochs.loc[best].dropna()
    metrics = {name[4:]: float(value) for name, value in measured.items() if str(name).startswith(("val/", "val_"))}
    return int(epochs.index[-1]) + 1, int(best) + 1, metrics


def epochs_of(frame: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Return one row per epoch, and the name of the loss that selects the best one; None if no loss was logged."""
    epochs = cast("pd.DataFrame", frame.select_dtypes("number").groupby("epoch").last())
    return epochs, next((name for name in _LOSSES if name in epochs and epochs[name].notna().any()), None)


def _settings(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the settings of a recipe by dotted name, with paths cut to their last part.

    Example:
        >>> recipe = {"data": {"class_path": "a.B", "init_args": {"source": "in/x.csv", "widths": [2, 1]}}}
        >>> dict(_settings(recipe))
        {'data': 'a.B', 'data.source': 'x.csv', 'data.widths': '2, 1'}
    """
    if len(path) > _MAX_DEPTH:
        yield ".".join(path), "…"  # yield it, so that nested YAML aliases reach the limit
    elif isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        yield ".".join(path), value["class_path"]
        yield from _settings(value.get("init_args") or {}, path)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _settings(each, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        for number, each in enumerate(value):  # callbacks: a class says more than a list index
            found = each.get("class_path", "") if isinstance(each, Mapping) else ""
            if name := str(found).rpartition(".")[2]:
                yield ".".join((*path, name)), "yes"
            yield from _settings(each.get("init_args") if name else each, (*path, name or str(number)))
    else:
        yield ".".join(path), ", ".join(map(_named, value if isinstance(value, list) else [value]))


def _named(value: object) -> str:
    text = str(value)
    return (Path(text).name or text) if "/" in text or "\\" in text else text
