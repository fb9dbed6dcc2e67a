"""A comparison of several runs: their facts and metrics, and a page with their histories in one figure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml

from tabvision.data.tables.write import check_destination, written_whole
from tabvision.errors import BadValueError, count, listed, speaking
from tabvision.report.tables import Section, part_of, rounded, section_of
from tabvision.report.write import render

_LOSSES = ("oof/loss", "val/loss", "val_loss", "train/loss")  # the first of these chooses the best epoch
_FACTS = ("run", "data", "network", "epochs", "best epoch", "seconds", "measured on")
_MAX_BYTES = 1 << 20  # of a recipe or of metrics.json; ours have some thousand
_MAX_SETTINGS, _MAX_DEPTH = 1_000, 8  # that a recipe may hold
_MAX_DRAWN, _MAX_EPOCHS = 8, 300
_LOWER, _HIGHER = ("loss", "mae", "rmse", "distance"), ("accuracy", "auroc", "f1", "r2", "recall@", "ndcg@")
_UNLIKE = ("data.source", "data.split", "data.seed", "data.validation", "seed_everything")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run as its folder describes it.

    Args:
        name: The folder's name.
        facts: The row of the table.
        metrics: The final metrics by name; those of test rows begin with "test ".
        history: Its `metrics.csv`, or None.
        settings: The settings of its recipe by dotted name.
        target: The columns to predict, () if not known.
    """

    name: str
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]
    history: pd.DataFrame | None
    settings: Mapping[str, str]
    target: tuple[str, ...]


class _NoRunError(Exception):
    """A folder holds nothing to compare; the text says why, after the folder's name."""


@speaking("compare_runs")
def compare_runs(folders: Sequence[str | Path]) -> pd.DataFrame:
    """Return a row for each run: data, network, epochs, the best epoch, seconds, and its metrics.

    Args:
        folders: Folders that `tabvision train` wrote, or others with the `metrics.csv` of a Trainer's `CSVLogger`.

    Returns:
        `attrs["best"]` names the best runs of each metric; `attrs["notes"]` are sentences about what was left out, and about
        what cannot be compared.

    Raises:
        BadValueError: No folder holds a run, or the runs predict different targets.
    """
    return _frame_of(*_read_all(folders))


@speaking("write_comparison")
def write_comparison(
    path: str | Path, folders: Sequence[str | Path], *, title: str = "", overwrite: bool = False
) -> Path:
    """Write one HTML file about several runs: their metrics, their histories in one figure, and where their settings differ.

    Args:
        path: A path that ends in .html.
        folders: As for `compare_runs`.
        title: The heading.
        overwrite: Whether an existing file may be replaced.

    Raises:
        BadValueError: The name does not end in .html, the file exists already, or the runs cannot be compared.
        MissingFileError: The folder of the file does not exist.
        UnwritableFileError: The disk is full or read-only.
    """
    path = check_destination(path, suffixes=(".html",), overwrite=overwrite)
    runs, notes = _read_all(folders)
    text = render(_summary(runs, _frame_of(runs, notes), title))
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


# Reading.


def _read_all(folders: Sequence[str | Path]) -> tuple[list[_Run], list[str]]:
    """Return the runs, and a sentence for each folder without one."""
    runs, notes, names = list[_Run](), list[str](), set[str]()
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


def _read(folder: Path, name: str) -> _Run:
    """Return the run of a folder.

    Raises:
        _NoRunError: The folder holds no run, or none with metrics.
    """
    if not folder.is_dir():
        raise _NoRunError("is no folder")
    final, history = folder / "metrics.json", folder / "metrics.csv"
    if not final.exists() and not history.exists():
        if (folder / "best.ckpt").exists():
            raise _NoRunError("holds a model without its metrics; tabvision evaluate measures it on labeled rows")
        raise _NoRunError("holds no run: neither metrics.json nor metrics.csv")
    frame = pd.read_csv(history) if history.exists() else None
    saved = json.loads(_text_of(final)) if final.exists() else {}
    recipe = yaml.safe_load(_text_of(folder / "recipe.yaml")) if (folder / "recipe.yaml").exists() else {}
    settings = dict(itertools.islice(_settings(recipe), _MAX_SETTINGS))
    epochs, best, metrics = _of_history(frame)
    measured = _measured(saved.get("metrics"))
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
    return _Run(
        name=name, facts=facts, metrics=final_metrics or metrics, history=frame, settings=settings, target=names
    )


def _text_of(file: Path) -> str:
    if file.stat().st_size > _MAX_BYTES:
        raise _NoRunError(f"holds a {file.name} of more than {_MAX_BYTES:,} bytes, which no run wrote")
    return file.read_text(encoding="utf-8")


def _measured(metrics: object) -> dict[str, dict[str, float]]:
    """Return the model's metrics of `metrics.json` by the rows they were measured on."""
    parts: Any = metrics or {}
    return {
        str(rows): {str(name): float(value["model"]) for name, value in values.items() if value["model"] is not None}
        for rows, values in parts.items()
    }


def _of_history(frame: pd.DataFrame | None) -> tuple[int | None, int | None, dict[str, float]]:
    """Return the number of epochs, the one with the lowest held-out loss, and its validation metrics.

    Example:
        >>> _of_history(pd.DataFrame({"epoch": [0, 1, 2], "val/loss": [3.0, 1.0, 2.0], "val/f1": [0.1, 0.5, 0.4]}))
        (3, 2, {'loss': 1.0, 'f1': 0.5})
    """
    if frame is None or "epoch" not in frame:
        return None, None, {}
    epochs, monitor = _epochs(frame)
    if monitor is None:
        return len(epochs) or None, None, {}
    best = epochs[monitor].idxmin()
    measured = epochs.loc[best].dropna()
    metrics = {name[4:]: float(value) for name, value in measured.items() if str(name).startswith(("val/", "val_"))}
    return int(epochs.index[-1]) + 1, int(best) + 1, metrics


def _epochs(frame: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Return a row for each epoch, and the name of the loss that chooses the best one; None if no loss was logged."""
    epochs = cast("pd.DataFrame", frame.select_dtypes("number").groupby("epoch").last())
    return epochs, next((name for name in _LOSSES if name in epochs and epochs[name].notna().any()), None)


def _settings(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the settings of a recipe by dotted name; of a path the last part alone.

    Example:
        >>> recipe = {"data": {"class_path": "a.B", "init_args": {"source": "in/x.csv", "widths": [2, 1]}}}
        >>> dict(_settings(recipe))
        {'data': 'a.B', 'data.source': 'x.csv', 'data.widths': '2, 1'}
    """
    if len(path) > _MAX_DEPTH:
        yield ".".join(path), "…"  # counts, so that aliases within aliases end
    elif isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        yield ".".join(path), value["class_path"]
        yield from _settings(value.get("init_args") or {}, path)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _settings(each, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        for number, each in enumerate(value):  # callbacks
            if name := _class_of(each):
                yield ".".join((*path, name)), "yes"
            yield from _settings(each.get("init_args") if name else each, (*path, name or str(number)))
    else:
        yield ".".join(path), ", ".join(map(_named, value if isinstance(value, list) else [value]))


def _class_of(value: object) -> str:
    """Return the name of a callback's class, which says more than its number in the list."""
    found = value.get("class_path") if isinstance(value, Mapping) and "class_path" in value else ""
    return str(found).rpartition(".")[2]


def _named(value: object) -> str:
    text = str(value)
    return (Path(text).name or text) if "/" in text or "\\" in text else text


# Writing.


def _frame_of(runs: Sequence[_Run], notes: Iterable[str]) -> pd.DataFrame:
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    ordered = sorted(names, key=lambda name: (name.startswith("test "), name))
    columns: dict[str, list[Any]] = {fact: [run.facts[fact] for run in runs] for fact in _FACTS}
    columns |= {name: [run.metrics.get(name) for run in runs] for name in ordered}
    frame = pd.DataFrame(columns, dtype=object)
    for name in ordered:
        frame[name] = frame[name].astype("float64")
    best = {name: _best(frame, name) for name in ordered if len(runs) > 1}
    frame.attrs["best"] = {name: found for name, found in best.items() if found}
    frame.attrs["notes"] = [*notes, *_comparability_notes(runs)]
    return frame


def _best(frame: pd.DataFrame, metric: str) -> list[str]:
    """Return the names of the runs with the best value of a metric; none if it is not known which value is better."""
    values, higher = frame[metric].dropna(), _is_higher_better(metric)
    if higher is None or len(values) < 2:
        return []
    top = values.max() if higher else values.min()
    return [str(frame.loc[row, "run"]) for row in values.index[values == top]]


def _is_higher_better(metric: str) -> bool | None:
    """Return which values of a metric are better; None for a metric of the user's own.

    Example:
        >>> _is_higher_better("test accuracy"), _is_higher_better("mae of pay"), _is_higher_better("profit")
        (True, False, None)
    """
    name = metric.removeprefix("test ")
    return True if name.startswith(_HIGHER) else False if name.startswith(_LOWER) else None


def _comparability_notes(runs: Sequence[_Run]) -> list[str]:
    """Return a sentence if the runs were not measured on the same rows, as far as they say so."""
    differing = [name.partition(".")[2] or "seed" for name in _differences(runs) if name in _UNLIKE]
    if len({run.facts["measured on"] for run in runs}) > 1:
        differing.append("what the metrics were measured on")
    if not differing:
        return []
    names = listed([*dict.fromkeys(differing)])
    remedy = "small differences say nothing. tabvision evaluate measures each on the same rows."
    return [f"The runs were not measured on the same rows, since they differ in {names}: {remedy}"]


def _differences(runs: Sequence[_Run]) -> list[str]:
    """Return the names of the settings that are not the same in all runs with a recipe."""
    with_recipe = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(name for settings in with_recipe for name in settings)
    return [name for name in names if len({settings.get(name) for settings in with_recipe}) > 1]


def _summary(runs: Sequence[_Run], frame: pd.DataFrame, title: str) -> dict[str, Any]:
    """Return what `render` takes."""
    caption = "The runs; the best value of each metric is in bold"
    table = part_of(caption if frame.attrs["best"] else "The runs", frame)
    positions = {name: index for index, name in enumerate(frame)}
    table["table"]["attrs"]["best"] = [
        [row, positions[metric]]
        for metric, names in frame.attrs["best"].items()
        for row, name in enumerate(frame["run"])
        if name in names
    ]
    target = next((run.target for run in runs if run.target), ())
    sections = [
        section_of("How well they answer", *frame.attrs["notes"], parts=[table]),
        _history_section(runs),
        _settings_section(runs),
    ]
    return {
        "title": title or f"Runs that predict {listed(target)}" if target else title or "Runs",
        "answer": _answer(frame),
        "sections": [section for section in sections if section["texts"] or section["parts"]],
    }


def _answer(frame: pd.DataFrame) -> str:
    rows, best = frame.set_index("run"), frame.attrs["best"]
    said = [
        f"{listed(names)} {'has' if len(names) == 1 else 'have'} the {'highest' if _is_higher_better(metric) else 'lowest'} "
        f"{metric} ({rounded(float(rows.loc[names[0], metric]))})"
        for metric, names in best.items()
    ]
    return f"Of {count(len(frame), 'run')}, {'; '.join(said)}." if said else f"{count(len(frame), 'run')}."


def _history_section(runs: Sequence[_Run]) -> Section:
    title, drawn, rows = "How they learned", list[pd.DataFrame](), list[dict[str, Any]]()
    for run in runs:
        if run.history is None or "epoch" not in run.history:
            continue
        epochs, monitor = _epochs(run.history)
        if monitor is None:
            continue
        losses = epochs[monitor].dropna()
        rows.append(
            {
                "run": run.name,
                "loss": monitor,
                "first epoch": losses.iloc[0],
                "best epoch": losses.min(),
                "last epoch": losses.iloc[-1],
            }
        )
        thin = epochs.reset_index().iloc[:: math.ceil(len(epochs) / _MAX_EPOCHS)]
        drawn.append(thin[[name for name in thin if not str(name).startswith("lr")]].assign(run=run.name))
    if not drawn:
        return section_of(title)
    some = pd.concat(drawn[:_MAX_DRAWN], ignore_index=True)
    caption = "Loss and metrics over the epochs" + (
        f" of the first {_MAX_DRAWN} runs" if len(drawn) > _MAX_DRAWN else ""
    )
    return section_of(title, parts=[part_of(caption, pd.DataFrame(rows), "history", some)])


def _settings_section(runs: Sequence[_Run]) -> Section:
    title, with_recipe = "What differs", [run for run in runs if run.settings]
    if len(with_recipe) < 2:
        return section_of(title)
    names = _differences(with_recipe)
    if not names:
        return section_of(title, "Their recipes are the same.")
    frame = pd.DataFrame(
        {"setting": names, **{run.name: [run.settings.get(name, "") for name in names] for run in with_recipe}}
    )
    return section_of(title, parts=[part_of("The settings that are not the same in all runs", frame)])
