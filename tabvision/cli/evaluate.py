"""`tabvision evaluate`: the metrics of a checkpoint on labeled rows, with intervals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tabvision.cli.arguments import Commands, add_shared
from tabvision.cli.options import add_form_options, form_of

if TYPE_CHECKING:
    import pandas as pd

_WHO = "tabvision evaluate"


def add_evaluate(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="measure a checkpoint on labeled rows, with intervals")
    add_shared(parser, "checkpoint")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="a table with the target, in one file or several, or a folder of class folders, not used in training",
    )
    parser.add_argument("--out", metavar="FILE", help="the metrics: .json or a table such as .csv")
    add_form_options(parser)
    add_shared(parser, "--device", "--overwrite")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Answer the rows, print the metrics and write them."""
    from tabvision.cli.printing import short_name
    from tabvision.data.tables.write import FORMATS, check_destination
    from tabvision.errors import count, speaking
    from tabvision.inference import Predictor
    from tabvision.interpret import evaluate

    with speaking(_WHO):
        if arguments.out:
            suffixes, reads = [".json", *FORMATS], [arguments.checkpoint, *arguments.data]
            check_destination(arguments.out, suffixes=suffixes, overwrite=arguments.overwrite, reads=reads)
        predictor = Predictor(arguments.checkpoint, device=arguments.device)
        data = arguments.data[0] if len(arguments.data) == 1 else arguments.data
        results = predictor.losses(data, **form_of(arguments))
        found = evaluate(results)
        noun = "image" if predictor.schema.is_of_images else "row"
        print(_evaluation_table(found, f"{count(len(results), noun)} of {short_name(data)}"))
        if arguments.out:
            _write(found, Path(arguments.out).expanduser())
            print(f"The metrics: {arguments.out}")


def _evaluation_table(found: pd.DataFrame, title: str) -> str:
    """Return what `interpret.evaluate` found as text."""
    from tabvision.cli.printing import format_number, format_table

    rows = [[name, *map(format_number, values)] for name, *values in found.itertuples(index=False)]
    return f"{format_table([[title, *found.columns[1:]], *rows])}\nlow, high: {found.attrs['note']}"


def _write(found: pd.DataFrame, path: Path) -> None:
    """Write what `interpret.evaluate` found: as a table, or by metric as JSON, with None for what is not known."""
    from tabvision.cli.printing import json_number
    from tabvision.data.tables.write import write_frame, written_whole

    if path.suffix.lower() != ".json":
        write_frame(found, path, overwrite=True)
        return
    by_metric = {
        str(name): {str(column): json_number(value) for column, value in values.items()}
        for name, values in found.set_index("metric").iterrows()
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(by_metric, indent=1, allow_nan=False) + "\n", encoding="utf-8")
