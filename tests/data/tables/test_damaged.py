"""Damaged table files end in rows or in a sentence: no signal, no foreign exception, no endless wait."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.made.fuzz import check

FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".feather", ".csv.gz")


def written(folder: Path, suffix: str) -> Path:
    """A small table with every kind of column."""
    draw, rows, path = np.random.default_rng(0), 120, folder / f"table{suffix}"
    frame = pd.DataFrame(
        {
            "number": draw.normal(size=rows),
            "count": pd.array(draw.integers(0, 2**60, rows), dtype="Int64"),
            "text": draw.choice(["x", "yy", "a longer text, with a comma", ""], rows),
            "day": pd.date_range("2024-01-01", periods=rows).astype(str),
        }
    )
    frame.loc[::7, ["count", "text"]] = None
    match suffix:
        case ".parquet":
            frame.assign(kind=pd.Categorical(draw.choice(list("abc"), rows))).to_parquet(path)
        case ".feather":
            frame.assign(kind=pd.Categorical(draw.choice(list("abc"), rows))).to_feather(path)
        case ".json" | ".jsonl":
            frame.to_json(path, orient="records", lines=suffix == ".jsonl")
        case _:
            frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_some_damage_to_a_file(suffix: str, tmp_path: Path) -> None:
    check(written(tmp_path, suffix), seed=0, cases=40)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_much_damage_to_a_file(suffix: str, tmp_path: Path) -> None:
    check(written(tmp_path, suffix), seed=1, cases=300)
