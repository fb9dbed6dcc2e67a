"""Adult, UCI's census income data: predict whether a person earns over 50,000 dollars a year."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import pandas as pd

from datamodules.adult_download import ADULT_COLUMNS, download_adult
from datamodules.splits import benchmark_split
from tabvision.data import IndexSplit, TabularDataModule
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadValueError, MissingColumnsError, listed, speaking
from tabvision.schema import Schema

CONTINUOUS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")


@final
class AdultDataModule(TabularDataModule):
    """Predict whether a person earned over 50,000 dollars a year, from the US census of 1994.

    48,842 people: age, final weight, years of education, capital gain and loss and weekly hours as numbers; work class,
    education, marital status, occupation, relationship, race, sex and country as categories. `?` is a missing value.

    UCI's test rows are the test part. A fixed fifth of its training rows validates, whatever the seed.

    Source: Barry Becker and Ronny Kohavi 1996, UCI Machine Learning Repository, https://doi.org/10.24432/C5XW20

    License: CC BY 4.0

    Limits: one country, thirty years ago; race and sex are among the inputs, so predictions reproduce that society's
    inequalities. A benchmark, not a tool to judge people.

    Args:
        path: A CSV file with a header, UCI's columns, and a column `split` with the values train and test.
        download: Whether to download the data from UCI over https to `path` if the file does not exist.
        batch_size: Rows in one training step.
        seed: Determines the order of training rows.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print the schema.
    """

    @speaking()
    def __init__(
        self,
        path: str | Path,
        *,
        download: bool = False,
        batch_size: int = 1024,
        seed: int = 0,
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        if download and not Path(path).expanduser().exists():
            download_adult(path)
        frame = read_adult(path)
        super().__init__(
            frame,
            "salary",
            continuous=CONTINUOUS,
            ignore=["split"],
            split=adult_split(frame),
            batch_size=batch_size,
            seed=seed,
            schema=schema,
            verbose=verbose,
        )


@speaking("AdultDataModule")
def read_adult(path: str | Path) -> pd.DataFrame:
    """Read the rows of a file, with `?` as a missing value.

    Raises:
        MissingFileError: The file does not exist.
        MissingColumnsError: A column does not exist.
    """
    frame = read_frame(path)
    if missing := [name for name in (*ADULT_COLUMNS, "split") if name not in frame.columns]:
        raise MissingColumnsError(missing, frame.columns, "Pass the file that download=True writes, or one like it")
    text = [name for name in ADULT_COLUMNS if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{name: frame[name].mask(frame[name] == "?") for name in text})


@speaking("AdultDataModule")
def adult_split(frame: pd.DataFrame) -> IndexSplit:
    """Return a split with UCI's test rows for testing and a fixed fifth of the others for validation.

    Raises:
        BadValueError: The column `split` holds a value other than train or test.

    Example:
        >>> parts = adult_split(pd.DataFrame({"split": ["test"] + ["train"] * 10}))
        >>> list(parts.validation), list(parts.test)
        ([4, 7], [0])
    """
    if unknown := sorted(set(map(str, frame["split"])) - {"train", "test"}):
        raise BadValueError(f"column 'split' must say train or test, got {listed(unknown)}", "Correct the file")
    is_test = (frame["split"] == "test").to_numpy(bool)
    training = np.flatnonzero(~is_test)
    validation = training[list(benchmark_split(len(training)).validation)]
    return IndexSplit(validation.tolist(), np.flatnonzero(is_test).tolist())
