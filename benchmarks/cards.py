"""Render the card of a recipe, or of a bag of its fits, from result.json or best.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.common import describe_run, table

_BAG = " The networks train on the training and validation rows; val/ covers all of these rows, each predicted out of fold."


def render_card(recipe: str, result: Mapping[str, Any]) -> str:
    """Return the text of card.md.

    Args:
        recipe: Name of the recipe's folder.
        result: The result that `benchmarks/measure_recipe.py` wrote.
    """
    data, bag = result["data"], result.get("bag")
    figures, repeat = "best.json", [result["command"]]
    if not bag:
        figures, repeat = "result.json", ["tabvision fit --config", f"models/{recipe}/recipe.yaml", *result["settings"]]
    parts = [
        f"# {recipe}{f', a bag of {bag}' if bag else ''}",
        f"{data['summary']} " + _training(result),
        f"`{result['command']}` wrote {figures} and rendered this card from it.",
        "## Figures",
        _seeds(result["seeds"]) + (_BAG if bag else ""),
        table(["metric", "mean", "std", "baseline"], _metric_rows(result["metrics"], result["baseline"])),
        "The baseline is the best prediction that looks at no column.",
        table(["cost of one seed", ""], _cost_rows(result)),
        describe_run(dict(result)) + ".",
        "## Data",
        *_origin(data),
        "## Repeat",
        f"```bash\n{' '.join(repeat)}\n```",
    ]
    if limits := data.get("limits"):
        parts += ["## Limits", limits[0].upper() + limits[1:]]
    return "\n\n".join(parts) + "\n"


def _training(result: Mapping[str, Any]) -> str:
    model = result["model"]
    settings = ", ".join(f"{name} {value}" for name, value in model["settings"].items()) or "default settings"
    name = model["class"].rpartition(".")[2]
    size = f"{model['parameters']:,} parameters"
    if bag := result.get("bag"):
        size = f"a bag of {bag} such networks, as `tabvision train --preset best` trains it, {size} in all"
    epochs = f"{result['epochs']} epochs{' in all' if bag else ''}"
    return f"`{name}` with {settings}, {size}; {epochs}, batch {result['data']['batch_size']:,}."


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"Seed {seeds[0]}, with the weights at the end of the fit."
    return (
        f"Mean and standard deviation over seeds {', '.join(map(str, seeds))}, with the weights at the end of the fit."
    )


def _metric_rows(metrics: Mapping[str, Any], baseline: Mapping[str, float]) -> list[list[str]]:
    rows = []
    for name, facts in sorted(metrics.items()):
        naive = _number(baseline[name]) if name in baseline else ""
        rows.append([name, _number(facts["mean"]), _number(facts["spread"]), naive])
    return rows


def _number(value: float) -> str:
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def _cost_rows(result: Mapping[str, Any]) -> list[list[str]]:
    speed = [f"{result[key]['mean']:,.0f}" for key in ("training_rows_per_second",) if key in result]
    unit = "CPU s" if result.get("clock") == "processor" else "s"
    return [
        ["training, without validation", f"{result['training_seconds']['mean']:.1f} {unit}"],
        *(["training rows per second", each] for each in speed),
        ["total, from imports to metrics", f"{result['total_seconds']['mean']:.1f} {unit}"],
        ["peak memory of the process", f"{result['peak_memory_mib']:,.0f} MiB"],
    ]


def _origin(data: Mapping[str, Any]) -> list[str]:
    sizes = ", ".join(f"{name} {number:,}" for name, number in data["rows"].items())
    lines = [f"`{data['class']}`; rows: {sizes}."]
    lines += [f"{label}: {data[key]}." for label, key in (("Source", "source"), ("License", "license")) if key in data]
    return lines
