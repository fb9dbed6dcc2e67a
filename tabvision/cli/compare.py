"""`tabvision compare`: compare several runs, as a table and as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from tabvision.cli.printing import format_number, format_table
from tabvision.data.tables.write import check_destination
from tabvision.errors import shown, speaking
from tabvision.report import compare_runs, write_comparison


@speaking("tabvision compare")
def run(arguments: argparse.Namespace) -> int:
    """Print the table and write the page; return 1 if a folder has no run."""
    if arguments.out:
        check_destination(arguments.out, suffixes=[".html"], overwrite=arguments.overwrite)
    found = compare_runs(arguments.runs)
    print(_table_of(found))
    for note in found.attrs["notes"]:
        print(shown(note))
    if arguments.out:
        write_comparison(arguments.out, arguments.runs, overwrite=arguments.overwrite)
        print(f"The runs and their histories: {arguments.out}")
    return int(len(found) < len({Path(each).expanduser() for each in arguments.runs}))


def _table_of(found: pd.DataFrame) -> str:
    """Return the table as text, with a star at the best value of each metric and without empty columns."""
    best = found.attrs["best"]
    columns = [name for name in found if found[name].notna().any() and any(found[name] != "")]
    rows = [[f"{name} " if best.get(name) else name for name in columns]]  # pad the names to leave room for a star
    for row in found.to_dict("records"):
        marks = ["*" if row["run"] in best.get(name, ()) else " " if best.get(name) else "" for name in columns]
        rows.append([_cell(name, row[name]) + mark for name, mark in zip(columns, marks, strict=True)])
    legend = "\n* the best of these runs" if best else ""
    return format_table(rows) + legend


def _cell(name: object, value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}" if name == "seconds" else format_number(value)
    return "" if value is None else str(value)
