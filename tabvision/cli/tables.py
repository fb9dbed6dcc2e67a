"""`tabvision train` on a table file."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import Job, Part, default_batch_size, default_epochs, finder, given_rate, without_nones
from tabvision.data import TabularDataModule


def table_job(arguments: argparse.Namespace) -> Job:
    """The run for a table: data prepared, batch size and epochs chosen by the number of rows."""
    settings = data_settings(arguments)
    data = TabularDataModule(**settings)
    num_rows = len(data.parts["train"].rows)
    data.batch_size = settings["batch_size"] = arguments.batch_size or default_batch_size(num_rows)
    return Job(
        seed=arguments.seed,
        data=Part("tabvision.data.TabularDataModule", settings),
        datamodule=data,
        model=Part("tabvision.modules.TabularModule", without_nones({"lr": given_rate(arguments.lr)})),
        callbacks=[Part("tabvision.callbacks.OneCycle"), *finder(arguments.lr)],
        trainer={
            "max_epochs": arguments.epochs or default_epochs(num_rows, data.batch_size),
            "log_every_n_steps": max(1, min(10, num_rows // data.batch_size)),  # steps between two looks at the loss
        },
    )


def data_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The datamodule's settings, as in a recipe; what was not asked for is left out."""
    return without_nones(
        {
            "source": arguments.data,
            "target": one_or_several(arguments.target),
            "categorical": arguments.categorical,
            "continuous": arguments.continuous,
            "dates": arguments.dates,
            "ignore": arguments.ignore,
            "weight": arguments.weight,
            "task": arguments.task,
            "separator": arguments.separator,
            "split": arguments.validation,
            "seed": arguments.seed,
            "encoding": arguments.encoding,
            "missing_target": "drop" if arguments.drop_missing_target else None,
        }
    )


def one_or_several(names: list[str]) -> str | list[str]:
    """A single name by itself.

    Example:
        >>> one_or_several(["price"]), one_or_several(["x", "y"])
        ('price', ['x', 'y'])
    """
    return names[0] if len(names) == 1 else names
