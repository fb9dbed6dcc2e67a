"""A card says what its result.json says, and nothing else."""

from typing import Any

from benchmarks.cards import render_card

RESULT: dict[str, Any] = {
    "format": 1,
    "command": "python benchmarks/measure_recipe.py models/coins --seeds 0,1",
    "settings": ["--data.init_args.path=coins.csv"],
    "seeds": [0, 1],
    "data": {
        "class": "datamodules.coins.CoinsDataModule",
        "summary": "Is a coin false?",
        "source": "the mint",
        "license": "CC0",
        "limits": "one mint only.",
        "rows": {"train": 8000, "val": 2000},
        "batch_size": 1024,
    },
    "model": {"class": "tabvision.modules.TabularModule", "settings": {"numbers": "piecewise"}, "parameters": 12345},
    "epochs": 3,
    "metrics": {
        "val/loss": {"mean": 0.25, "spread": 0.01, "values": [0.24, 0.26]},
        "val/auroc": {"mean": 0.9, "spread": 0.002, "values": [0.898, 0.902]},
    },
    "baseline": {"val/auroc": 0.5},
    "training_seconds": {"mean": 1.25, "spread": 0.1, "values": [1.2, 1.3]},
    "training_rows_per_second": {"mean": 19200.4, "spread": 1.0, "values": [19200.0, 19200.8]},
    "total_seconds": {"mean": 9.0, "spread": 0.0, "values": [9.0, 9.0]},
    "peak_memory_mib": 810.2,
    "versions": {"python": "3.11.7", "torch": "2.14.1"},
    "commit": {"revision": "0123456789abcdef", "dirty": False},
    "machine": {"cpu": "Abacus", "cores": 2, "threads": 1, "system": "Linux"},
}

CARD = """\
# coins

Is a coin false? `TabularModule` with numbers piecewise, 12,345 parameters; 3 epochs, batch 1,024.

`python benchmarks/measure_recipe.py models/coins --seeds 0,1` wrote result.json and rendered this card from it.

## Figures

Mean and standard deviation over seeds 0, 1, with the weights at the end of the fit.

| metric | mean | std | baseline |
|---|---:|---:|---:|
| val/auroc | 0.9000 | 0.0020 | 0.5000 |
| val/loss | 0.2500 | 0.0100 |  |

The baseline is the best prediction that looks at no column.

| cost of one seed |  |
|---|---:|
| training, without validation | 1.2 s |
| training rows per second | 19,200 |
| total, from imports to metrics | 9.0 s |
| peak memory of the process | 810 MiB |

Abacus, 2 cores, 1 thread, Linux; python 3.11.7, torch 2.14.1; commit 0123456789.

## Data

`datamodules.coins.CoinsDataModule`; rows: train 8,000, val 2,000.

Source: the mint.

License: CC0.

## Repeat

```bash
tabvision fit --config models/coins/recipe.yaml --data.init_args.path=coins.csv
```

## Limits

One mint only.
"""


def test_the_card_is_this_text() -> None:
    assert render_card("coins", RESULT) == CARD


def test_the_card_follows_its_result() -> None:
    changed = RESULT | {"commit": {"revision": "0123456789abcdef", "dirty": True}}
    assert "commit 0123456789, with changes." in render_card("coins", changed)

    metrics = RESULT["metrics"] | {"val/auroc": {"mean": 0.8, "spread": 0.0, "values": [0.8]}}
    assert "| val/auroc | 0.8000 | 0.0000 | 0.5000 |" in render_card("coins", RESULT | {"metrics": metrics})

    data = {key: RESULT["data"][key] for key in ("class", "summary", "rows", "batch_size")}
    card = render_card("coins", RESULT | {"data": data, "commit": None})
    assert "Source" not in card
    assert "Limits" not in card
    assert "no commit" in card


def test_the_card_of_a_bag_says_how_many_networks_it_has_and_how_to_repeat_it() -> None:
    facts = {key: value for key, value in RESULT.items() if key != "training_rows_per_second"}
    command = "python benchmarks/measure_recipe.py models/coins --seeds 0,1 --bag 5"

    card = render_card("coins", facts | {"bag": 5, "command": command, "clock": "processor"})

    assert card.startswith("# coins, a bag of 5\n")
    assert "a bag of 5 such networks" in card
    assert "wrote best.json" in card
    assert f"```bash\n{command}\n```" in card
    assert "rows per second" not in card
    assert "| training, without validation | 1.2 CPU s |" in card
