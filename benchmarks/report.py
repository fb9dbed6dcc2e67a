"""Render benchmarks/RESULTS.md from the JSON that the scripts wrote to benchmarks/results/.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    asking,
    bytes_per_row,
    collab,
    elastic,
    export,
    fine_tune,
    found_rates,
    frozen_features,
    frozen_stage,
    fused_answers,
    image_loading,
    importance_speed,
    on_gpu,
    peers,
    photo_answers,
    planet,
    prediction_speed,
    prepared_tables,
    quality,
    scaling,
    serving_speed,
    short_fine_tunes,
    soft_targets,
    sorted_rows,
    table_answers,
    training_speed,
    warm_start,
)
from benchmarks.common import table, write_text

RESULTS = Path(__file__).resolve().parent / "results"
REPORT = Path(__file__).resolve().parent / "RESULTS.md"


def preprocessing(result: Mapping[str, Any]) -> str:
    """Return the figures of preprocess.py as a table."""
    rows = [
        [
            name,
            f"{facts['rows_per_second'] / 1e6:.2f} M",
            f"{facts['ours_times_as_fast']:.2f}",
            f"{facts['extra_megabytes']:,.0f}",
        ]
        for name, facts in result["routes"].items()
    ]
    headers = [f"{result['rows']:,} rows", "rows/s", "ours is … times as fast", "extra MB"]
    names = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    size = f"The frame holds {result['frame_megabytes']:,.0f} MB."
    return f"{table(headers, rows)}\n\n{size} python {result['python']}, {names}."


SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "training_speed": ("Training, compared with a raw loop", training_speed.to_markdown),
    "peers": ("Training, compared with other libraries", peers.to_markdown),
    "quality": ("Quality", quality.to_markdown),
    "table_answers": ("Errors on tables, compared with gradient boosting", table_answers.to_markdown),
    "photo_answers": ("Errors on a few photos, compared with logistic regression", photo_answers.to_markdown),
    "fused_answers": ("Errors on photos with a table", fused_answers.to_markdown),
    "prediction_speed": ("Prediction", prediction_speed.to_markdown),
    "serving_speed": ("Serving, compared with a minimal application", serving_speed.to_markdown),
    "asking": ("Prediction from raw rows, compared with fastai", asking.to_markdown),
    "export": ("Exported files", export.to_markdown),
    "prepared_tables": ("Tables larger than memory", prepared_tables.to_markdown),
    "sorted_rows": ("Rows sorted by their target", sorted_rows.to_markdown),
    "bytes_per_row": ("Memory of long lists", bytes_per_row.to_markdown),
    "scaling": ("How costs grow", scaling.to_markdown),
    "importance_speed": ("Importance of columns, compared with scikit-learn", importance_speed.to_markdown),
    "preprocess": ("Preprocessing", preprocessing),
    "image_loading": ("Loading photos", image_loading.to_markdown),
    "fine_tune": ("Fine-tuning on photos, compared with fastai", fine_tune.to_markdown),
    "short_fine_tunes": ("BatchNorm and head in a short fine-tune", short_fine_tunes.to_markdown),
    "soft_targets": ("MixUp and label smoothing in short and long fine-tunes", soft_targets.to_markdown),
    "frozen_features": ("A frozen stage, compared with a linear probe", frozen_features.to_markdown),
    "planet": ("Several labels per image, compared with fastai", planet.to_markdown),
    "simulated_ratings": ("Ratings of many users and items", collab.simulation_to_markdown),
    "collab": ("Ratings, compared with fastai", collab.to_markdown),
    "warm_start": ("Continuing with new rows", warm_start.to_markdown),
    "found_rates": ("Learning rates that the finder suggests", found_rates.to_markdown),
    "frozen_stage": ("A frozen stage on two ranks", frozen_stage.to_markdown),
    "on_gpu": ("On a GPU", on_gpu.to_markdown),
    "elastic": ("A lost host", elastic.to_markdown),
}
HEAD = """# Results

Rendered by `python benchmarks/report.py` from the JSON in `results/`, which the scripts in this folder write. Absolute
figures vary from machine to machine and from run to run. What a ratio compares ran in alternation."""


def main() -> None:
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    if not found:
        raise SystemExit(f"no JSON in {RESULTS}; run a script in benchmarks/ with --out first")
    write_text(REPORT, render(found))
    print(REPORT)


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the report on results by name; a name may extend a script's, such as `training_speed_threads_2`.

    Raises:
        ValueError: A name does not start with a script's name.
    """
    parts = [HEAD]
    for name, result in sorted(results.items(), key=lambda item: (list(SECTIONS).index(_section(item[0])), item[0])):
        title, to_markdown = SECTIONS[_section(name)]
        addition = name.removeprefix(_section(name)).replace("_", " ").strip()
        parts += [f"## {title}" + (f" ({addition})" if addition else ""), to_markdown(result)]
    return "\n\n".join(parts) + "\n"


def _section(name: str) -> str:
    section = next((known for known in SECTIONS if name.startswith(known)), None)
    if section is None:
        raise ValueError(f"no script in benchmarks/ writes {name}.json; known are {', '.join(SECTIONS)}")
    return section


if __name__ == "__main__":
    main()
