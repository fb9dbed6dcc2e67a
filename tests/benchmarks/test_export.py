"""Sizes and speeds of exported files stand in the report, a line for each file of each module."""

from typing import Any

from benchmarks.report import render

RESULT: dict[str, Any] = {
    "machine": {"cpu": "Abacus", "cores": 1, "threads": 1, "system": "Linux"},
    "versions": {"python": "3"},
    "commit": None,
    "rows": 100_000,
    "photos": 64,
    "modules": {
        "tabular": {
            "checkpoint": {"bytes": 170_400.0, "open_seconds": 0.05, "rows_per_second": 205_160.0, "single_ms": 0.56},
            ".pt2": {"bytes": 229_000.0, "write_seconds": 1.94},
        }
    },
}


def test_every_file_of_every_module_has_its_line() -> None:
    text = render({"export": RESULT})

    assert "## Exported files" in text
    assert "| tabular | checkpoint | 170 |  | 0.05 | 205,160 | 0.56 |" in text
    assert "| tabular | .pt2 | 229 | 1.9 |  |  |  |" in text
