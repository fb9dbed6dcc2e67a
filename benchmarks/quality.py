"""Quality of tabvision's recipes with fastai's number of epochs over three seeds, against the figures they must reach.

    python benchmarks/quality.py --out benchmarks/results/quality.json

Each recipe trains as in `benchmarks/measure_recipe.py` and is measured on the fixed validation rows of its datamodule.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, available_cores, describe_run, make_parser, run_facts, table, tell
from benchmarks.measure_recipe import measure


@final
@dataclass(frozen=True)
class Goal:
    """The figure that a recipe must reach.

    Args:
        metric: The metric's logged name.
        least: The lowest acceptable mean over seeds, if higher is better.
        most: The highest acceptable mean over seeds, if lower is better.

    Example:
        >>> Goal("val/rmse", most=0.1).is_met(0.09), Goal("val/auroc", least=0.8).is_met(0.79)
        (True, False)
    """

    metric: str
    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        """Return whether a mean is good enough."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"at least {self.least}" if self.least is not None else f"at most {self.most}"


GOALS = {
    "flights": Goal("val/auroc", least=0.795),
    "diamonds": Goal("val/rmse", most=0.105),
    "diamonds_piecewise": Goal("val/rmse", most=0.095),
}


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    result = {
        **run_facts(options.threads),
        "seeds": options.seeds,
        "recipes": {name: reached(name, options.seeds, options.threads) for name in options.recipes},
    }
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--recipes", type=lambda text: text.split(","), default=list(GOALS))
    parser.add_argument("--threads", type=int, default=available_cores())
    return parser.parse_args(words)


def reached(name: str, seeds: Sequence[int], threads: int) -> dict[str, Any]:
    """Return the goal's metric over the seeds."""
    goal = GOALS[name]
    measured = measure(ROOT / "models" / name, seeds, threads)
    found = measured["metrics"][goal.metric]
    return {
        "metric": goal.metric,
        **found,
        "goal": str(goal),
        "is_met": goal.is_met(found["mean"]),
        "epochs": measured["epochs"],
        "batch_size": measured["data"]["batch_size"],
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    rows = []
    for name, found in result["recipes"].items():
        label = f"{name}, {found['epochs']} epochs, batch {found['batch_size']:,}"
        verdict = "yes" if found["is_met"] else "no"
        rows.append([label, found["metric"], f"{found['mean']:.4f}", f"{found['spread']:.4f}", found["goal"], verdict])
    seeds = ", ".join(map(str, result["seeds"]))
    headers = [f"recipe, seeds {seeds}", "metric", "mean", "spread", "goal", "reached"]
    return f"{table(headers, rows)}\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
