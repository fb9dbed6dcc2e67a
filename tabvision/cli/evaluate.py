"""`tabvision evaluate`: measure a checkpoint on labeled rows, with a confidence interval for each metric."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tabvision.cli.printing import format_number, format_table, json_number
from tabvision.cli.rows import measured_rows
from tabvision.data.tables.write import FORMATS, check_destination, write_frame, written_whole
from tabvision.errors import speaking
from tabvision.interpret import evaluate


@speaking("tabvision evaluate")
def run(arguments: argparse.Namespace) -> None:
    """Predict the rows, print the metrics and write them."""
    if arguments.out:
        suffixes, reads = [".json", *FORMATS], [arguments.checkpoint, *arguments.data]
        check_destination(arguments.out, suffixes=suffixes, overwrite=arguments.overwrite, reads=reads)
    _, results, title = measured_rows(arguments)
    found = evaluate(results)
    rows = [[name, *map(format_number, values)] for name, *values in found.itertuples(index=False)]
    print(format_table([[title, *found.columns[1:]], *rows]))
    print(f"low, high: {found.attrs['note']}")
    if arguments.out:
        path = Path(arguments.out).expanduser()
        if path.suffix.lower() == ".json":
            by_metric = {
                str(name): {str(column): json_number(value) for column, value in values.items()}
                for name, values in found.set_index("metric").iterrows()
            }
            with written_whole(path) as partial:
                partial.write_text(json.dumps(by_metric, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        else:
            write_frame(found, path, overwrite=True)
        print(f"The metrics: {arguments.out}")
