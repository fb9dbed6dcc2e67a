"""The card of a recipe: what its result.json says, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.common import describe_run, table


def render_card(recipe: str, result: Mapping[str, Any]) -> str:
    """The text of card.md.

    Args:
        recipe: Name of the recipe's folder.
        result: What `benchmarks/measure_recipe.py` wrote.
    """
    data = result["data"]
    parts = [
        f"# {recipe}",
        f"{data['summary']} " + _training(result),
        f"Measured by a tool, not by hand: `{result['command']}` writes result.json and renders this card from it.",
        "## Figures",
        _seeds(result["seeds"]),
        table(["metric", "mean", "spread", "naive"], _metric_rows(result["metrics"], result["baseline"])),
        "Naive is the best answer that looks at no column.",
        table(["cost of one seed", ""], _cost_rows(result)),
        describe_run(dict(result)) + ".",
        "## Data",
        *_origin(data),
        "## Repeat",
        f"```bash\n{' '.join(['tabvision fit --config', f'models/{recipe}/recipe.yaml', *result['settings']])}\n```",
    ]
    if limits := data.get("limits"):
        parts += ["## Limits", limits[0].upper() + limits[1:]]
    return "\n\n".join(parts) + "\n"


def _training(result: Mapping[str, Any]) -> str:
    model = result["model"]
    settings = ", ".join(f"{name} {value}" for name, value in model["settings"].items()) or "default settings"
    name = model["class"].rpartition(".")[2]
    size = f"{model['parameters']:,} parameters"
    return f"`{name}` with {settings}, {size}; {result['epochs']} epochs, batch {result['data']['batch_size']:,}."


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"Seed {seeds[0]}, weights of the last epoch."
    return f"Mean and standard deviation over seeds {', '.join(map(str, seeds))}, weights of the last epoch."


def _metric_rows(metrics: Mapping[str, Any], baseline: Mapping[str, float]) -> list[list[str]]:
    rows = []
    for name, facts in sorted(metrics.items()):
        naive = _number(baseline[name]) if name in baseline else ""
        rows.append([name, _number(facts["mean"]), _number(facts["spread"]), naive])
    return rows


def _number(value: float) -> str:
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def _cost_rows(result: Mapping[str, Any]) -> list[list[str]]:
    return [
        ["training, validation left out", f"{result['training_seconds']['mean']:.1f} s"],
        ["training rows a second", f"{result['training_rows_per_second']['mean']:,.0f}"],
        ["all, from imports to metrics", f"{result['total_seconds']['mean']:.1f} s"],
        ["peak memory of the process", f"{result['peak_memory_mib']:,.0f} MiB"],
    ]


def _origin(data: Mapping[str, Any]) -> list[str]:
    sizes = ", ".join(f"{name} {number:,}" for name, number in data["rows"].items())
    lines = [f"`{data['class']}`; rows: {sizes}."]
    lines += [f"{label}: {data[key]}." for label, key in (("Source", "source"), ("License", "license")) if key in data]
    return lines
