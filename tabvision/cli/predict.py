"""`tabvision predict`: a raw file in, answers out, from a checkpoint alone."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("predict", help="answer the rows of a file with a checkpoint alone")
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, such as best.ckpt")
    parser.add_argument("data", metavar="DATA", help="a CSV, Parquet or Feather file with the training columns")
    parser.add_argument("--out", metavar="FILE", required=True, help="where the answers go: .csv, .parquet or .feather")
    parser.add_argument("--no-proba", action="store_true", help="labels alone, without a probability for each class")
    parser.add_argument("--encoding", help='of a text file that is not UTF-8, such as "latin-1"')
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes one row of answers for each row of the file."""
    from tabvision.data.sources import read_frame
    from tabvision.data.writing import check_destination, write_frame
    from tabvision.errors import count
    from tabvision.inference import Predictor

    who = "tabvision predict"
    check_destination(arguments.out, who=who, overwrite=arguments.overwrite)
    predictor = Predictor(arguments.checkpoint, device=arguments.device)
    frame = read_frame(arguments.data, who=who, encoding=arguments.encoding)
    answers = predictor.predict(frame, proba=not arguments.no_proba)
    write_frame(answers, arguments.out, who=who, overwrite=arguments.overwrite)
    extra = [name for name in frame.columns if name not in predictor.schema.inputs]
    if extra:
        print(f"Not used: {', '.join(map(str, extra))}")
    print(f"{count(len(answers), 'row')} answered: {arguments.out}")
