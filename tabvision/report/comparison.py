"""Compare several runs: a table of facts and metrics, and a page with all histories in one figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tabvision.data.tables.write import check_destination
from tabvision.errors import count, listed, speaking
from tabvision.metrics import is_higher_better
from tabvision.report.runs import Run, epochs_of, read_runs
from tabvision.report.tables import Section, part_of, rounded, section_of
from tabvision.report.write import write_page

_FACTS = ("run", "data", "network", "epochs", "best epoch", "seconds", "measured on")
_MAX_DRAWN, _MAX_EPOCHS = 8, 300
_UNLIKE = ("data.source", "data.split", "data.seed", "data.validation", "seed_everything")


@speaking("compare_runs")
def compare_runs(folders: Sequence[str | Path]) -> pd.DataFrame:
    """Return one row per run: data, network, epochs, best epoch, seconds and metrics.

    Args:
        folders: Folders that `tabvision train` wrote, or others with the `metrics.csv` of a Trainer's `CSVLogger`.

    Returns:
        `attrs["best"]` names the best runs by each metric; `attrs["notes"]` has sentences about what was left out and what
        cannot be compared; `attrs["same_rows"]` tells whether the runs were measured on the same rows, as far as is known.

    Raises:
        BadValueError: No folder holds a run, or the runs predict different targets.
    """
    return _frame_of(*read_runs(folders))


@speaking("write_comparison")
def write_comparison(
    path: str | Path, folders: Sequence[str | Path], *, title: str = "", overwrite: bool = False
) -> Path:
    """Write one HTML file about several runs: metrics, all histories in one figure, and the settings that differ.

    Args:
        path: A path that ends in .html.
        folders: As for `compare_runs`.
        title: The heading.
        overwrite: Whether to replace an existing file.

    Raises:
        BadValueError: The name does not end in .html, the file exists already, or the runs cannot be compared.
        MissingFileError: The folder of the file does not exist.
        UnwritableFileError: The disk is full or read-only.
    """
    path = check_destination(path, suffixes=(".html",), overwrite=overwrite)
    runs, notes = read_runs(folders)
    return write_page(path, _summary(runs, _frame_of(runs, notes), title))


def _frame_of(runs: Sequence[Run], notes: Iterable[str]) -> pd.DataFrame:
    """Return the frame of `compare_runs`, with the best runs by each metric whose better direction is known."""
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    ordered = sorted(names, key=lambda name: (name.startswith("test "), name))
    columns: dict[str, list[Any]] = {fact: [run.facts[fact] for run in runs] for fact in _FACTS}
    columns |= {name: [run.metrics.get(name) for run in runs] for name in ordered}
    frame = pd.DataFrame(columns, dtype=object)
    for name in ordered:
        frame[name] = frame[name].astype("float64")
    frame.attrs["best"] = {}
    for name in ordered:
        values, higher = frame[name].dropna(), is_higher_better(name)
        if higher is not None and len(values) > 1:
            best = values.index[values == (values.max() if higher else values.min())]
            frame.attrs["best"][name] = [str(frame.loc[row, "run"]) for row in best]
    frame.attrs["notes"] = [*notes]
    unlike = [name.partition(".")[2] or "seed" for name in _differences(runs) if name in _UNLIKE]
    if len({run.facts["measured on"] for run in runs}) > 1:
        unlike.append("what the metrics were measured on")
    frame.attrs["same_rows"] = not unlike
    if unlike:
        problem = (
            f"The runs were not measured on the same rows, since they differ in {listed([*dict.fromkeys(unlike)])}"
        )
        remedy = "small differences mean nothing. tabvision evaluate measures each on the same rows."
        frame.attrs["notes"].append(f"{problem}: {remedy}")
    return frame


def _differences(runs: Sequence[Run]) -> list[str]:
    """Return the names of the settings that differ among the runs with a recipe."""
    with_recipe = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(name for settings in with_recipe for name in settings)
    return [name for name in names if len({settings.get(name) for settings in with_recipe}) > 1]


def _summary(runs: Sequence[Run], frame: pd.DataFrame, title: str) -> dict[str, Any]:
    """Return the summary that `write_page` takes."""
    caption = "The runs; the best value of each metric is in bold"
    shown = frame[["run", *(name for name in frame if name not in _FACTS), *_FACTS[1:]]]  # the metrics are seen first
    table = part_of(caption if frame.attrs["best"] else "The runs", shown)
    positions = {name: index for index, name in enumerate(shown)}
    table["table"]["attrs"]["best"] = [
        [row, positions[metric]]
        for metric, names in frame.attrs["best"].items()
        for row, name in enumerate(frame["run"])
        if name in names
    ]
    rows, best = frame.set_index("run"), frame.attrs["best"]
    said = [
        f"{listed(names)} {'has' if len(names) == 1 else 'have'} the {'highest' if is_higher_better(metric) else 'lowest'} "
        f"{metric} ({rounded(float(rows.loc[names[0], metric]))})"
        for metric, names in best.items()
    ]
    said += [] if frame.attrs["same_rows"] else ["but they were not measured on the same rows"]
    num_runs = count(len(frame), "run")
    target = next((run.target for run in runs if run.target), ())
    sections = [
        section_of("How accurate they are", *frame.attrs["notes"], parts=[table]),
        _history_section(runs),
        _settings_section(runs),
    ]
    return {
        "title": title or (f"Runs that predict {listed(target)}" if target else "Runs"),
        "answer": f"Of {num_runs}, {'; '.join(said)}." if said else f"{num_runs}.",
        "sections": [section for section in sections if section["texts"] or section["parts"]],
    }


def _history_section(runs: Sequence[Run]) -> Section:
    title, drawn, rows = "How training went", list[pd.DataFrame](), list[dict[str, Any]]()
    for run in runs:
        if run.history is None or "epoch" not in run.history:
            continue
        epochs, monitor = epochs_of(run.history)
        if monitor is None:
            continue
        losses = epochs[monitor].dropna()
        rows.append(
            {
                "run": run.name,
                "loss": monitor,
                "in the first epoch": losses.iloc[0],
                "the lowest": losses.min(),
                "in the last epoch": losses.iloc[-1],
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


def _settings_section(runs: Sequence[Run]) -> Section:
    title, with_recipe = "What differs", [run for run in runs if run.settings]
    if len(with_recipe) < 2:
        return section_of(title)
    names = _differences(with_recipe)
    if not names:
        return section_of(title, "Their recipes are the same.")
    frame = pd.DataFrame(
        {"setting": names, **{run.name: [run.settings.get(name, "") for name in names] for run in with_recipe}}
    )
    return section_of(title, parts=[part_of("The settings that differ between the runs", frame)])
