"""`tabvision train`: a table file in; a trained network, its measure and its predictions out."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.arguments import names, share, whole


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("train", help="train on a table file, with good defaults")
    parser.add_argument("data", metavar="DATA", help="a CSV, Parquet or Feather file")
    parser.add_argument("--target", metavar="COL", type=names, required=True, help="the column to predict, or several")
    columns = parser.add_argument_group("columns (what is not named is inferred and printed)")
    columns.add_argument("--categorical", metavar="A,B", type=names, help="columns to take as categories")
    columns.add_argument("--continuous", metavar="A,B", type=names, help="columns to take as numbers")
    columns.add_argument("--dates", metavar="A,B", type=names, help="columns to take as dates")
    columns.add_argument("--ignore", metavar="A,B", type=names, help="columns to leave out")
    columns.add_argument("--weight", metavar="COL", help="column with the weight of each row")
    columns.add_argument("--task", choices=["binary", "multiclass", "multilabel", "regression"], help="kind of target")
    columns.add_argument("--separator", help="what parts the labels in one multi-label column")
    columns.add_argument("--drop-missing-target", action="store_true", help="leave out rows without a target")
    columns.add_argument("--encoding", help='of a text file that is not UTF-8, such as "latin-1"')
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=whole, help="passes over the training rows (default: by the number of rows)")
    training.add_argument("--lr", default=None, help='peak learning rate, "1e-2" or first and last "1e-4:1e-2"')
    training.add_argument("--batch-size", type=whole, help="rows in a step (default: by the number of rows)")
    training.add_argument("--validation", metavar="SHARE", type=share, default=0.2, help="share of rows (default 0.2)")
    training.add_argument("--seed", type=int, default=0, help="decides split, weights and order (default 0)")
    training.add_argument("--accelerator", default="auto", help="auto (default), cpu, gpu …: as for a Trainer")
    training.add_argument("--devices", default="auto", help="how many, or auto (default): as for a Trainer")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", help="folder for everything written (default runs/NAME-OF-DATA)")
    output.add_argument("--overwrite", action="store_true", help="replace the run that DIR holds")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the recipe, trains it, and writes what it answers on the validation rows."""
    from tabvision.cli.run import free_folder, train_table

    train_table(arguments, free_folder(arguments.out, arguments.data, overwrite=arguments.overwrite))
