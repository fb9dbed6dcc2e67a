"""RESULTS.md is rendered from what the scripts wrote."""

import json
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from benchmarks.quality import Goal
from benchmarks.report import RESULTS, render

GUIDES = Path(__file__).parents[2] / "docs"

FACTS: dict[str, Any] = {
    "machine": {"cpu": "Abacus", "cores": 1, "threads": 1, "system": "Linux"},
    "versions": {"python": "3"},
    "commit": None,
}
RATE = {"median": 900_000.0, "rounds": [900_000.0]}
QUALITY = FACTS | {
    "seeds": [0, 1],
    "recipes": {
        "flights": {
            "metric": "val/auroc",
            "mean": 0.8,
            "spread": 0.001,
            "goal": "at least 0.795",
            "is_met": True,
            "epochs": 3,
            "batch_size": 4096,
        }
    },
}
PREDICTION = FACTS | {
    "rows": 327_346,
    "raw_rows": 100_000,
    "trainer_rows_per_second": RATE,
    "module_rows_per_second": RATE,
    "raw_rows_per_second": RATE,
    "single_row_milliseconds": {"p50": 0.25, "p95": 0.5, "p99": 0.75},
}
SPEEDS = {
    "medians": {"raw": 100.0, "lightning": 90.0, "tabvision": 110.0},
    "ratios": {"lightning": 0.9, "tabvision": 1.1},
}
TRAINING = FACTS | {"clock": "wall", "sets": {"flights": {"batch_size": 4096, "nets": {"MLP, dropout 0.1": SPEEDS}}}}


def test_sections_stand_in_the_order_of_the_scripts() -> None:
    text = render({"quality": QUALITY, "prediction_speed": PREDICTION, "training_speed_threads_2": TRAINING})

    assert text.index("(threads 2)") < text.index("## Quality") < text.index("## Prediction")


def test_figures_are_those_of_the_results() -> None:
    text = render({"quality": QUALITY, "prediction_speed": PREDICTION, "training_speed": TRAINING})

    assert "| flights, 3 epochs, batch 4,096 | val/auroc | 0.8000 | 0.0010 | at least 0.795 | yes |" in text
    assert "| one raw row, Predictor | 0.25 ms (95 % within 0.50 ms) |" in text
    assert "| flights, batch 4,096, MLP, dropout 0.1 | 100 | 90 | 110 | 1.10 | 0.90 |" in text


def test_a_file_of_no_script_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no script in benchmarks/ writes notes\.json"):
        render({"notes": {}})


@pytest.mark.parametrize(("goal", "value"), [(Goal("a", least=0.8), 0.8), (Goal("a", most=0.1), 0.1)])
def test_a_goal_is_met_at_its_bound(goal: Goal, value: float) -> None:
    assert goal.is_met(value)


@pytest.mark.parametrize(
    ("way", "row"),
    [
        ("linear probe", "a linear probe"),
        ("1 epoch", "`FineTune(1)`"),
        ("5 epochs", "`FineTune(5, frozen_pct_start=0.3)`"),
        ("5 epochs, features of 2 views", "the same, `FrozenFeatures(views=2)`"),
        ("5 epochs, features of 1 view", "the same, `FrozenFeatures(views=1)`"),
    ],
)
def test_the_guide_has_the_figures_of_frozen_stages(way: str, row: str) -> None:
    sets = json.loads((RESULTS / "frozen_features.json").read_text(encoding="utf-8"))["sets"]
    cells = [
        f"{fmean(run['frozen'] for run in runs):.3f} / {fmean(run['frozen_loss'] for run in runs):.3f},"
        f" {median(run['frozen_seconds'] for run in runs):.1f} s"
        for runs in (ways[way] for ways in sets.values())
    ]

    assert f"| {row} | {' | '.join(cells)} |" in (GUIDES / "staged-training.md").read_text(encoding="utf-8")
