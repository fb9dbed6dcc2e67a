"""Made-up ratings for tests: tastes along two axes, and items that are good or bad whatever the taste."""

from typing import Any

import numpy as np
import pandas as pd

from tabvision.data import CollabDataModule


def made_ratings(users: int = 30, items: int = 20, share: float = 0.6, seed: int = 0) -> pd.DataFrame:
    """Ratings from 1 to 5 in steps of a half, each pair once, with times; item 1 is the best, the last the worst."""
    draw = np.random.default_rng(seed)
    user, item = np.divmod(np.flatnonzero(draw.random(users * items) < share), items)
    taste, kind = draw.normal(size=(users, 2)), draw.normal(size=(items, 2))
    worth = np.linspace(1.2, -1.2, items)
    liking = 3 + worth[item] + 0.7 * (taste[user] * kind[item]).sum(axis=1) + 0.2 * draw.normal(size=len(user))
    stars = np.round(liking.clip(1, 5) * 2) / 2
    when = draw.permutation(len(user)) + 1_000_000
    return pd.DataFrame({"who": 100 + user, "film": item + 1, "stars": stars, "when": when})


def made_titles(items: int = 20) -> pd.DataFrame:
    """A title for each item."""
    return pd.DataFrame(
        {"film": range(1, items + 1), "title": [f"Film No. {number}" for number in range(1, items + 1)]}
    )


def ratings_data(frame: pd.DataFrame | None = None, **overrides: Any) -> CollabDataModule:
    """A quiet datamodule of made-up ratings."""
    settings: dict[str, Any] = {"user": "who", "item": "film", "rating": "stars", "batch_size": 32, "verbose": False}
    return CollabDataModule(made_ratings() if frame is None else frame, **(settings | overrides))


def rows_of(data: CollabDataModule) -> set[int]:
    """The row numbers in the source of everything that a datamodule uses."""
    return {row for part in data.parts.values() for row in part.tensors["index"][part.rows].tolist()}
