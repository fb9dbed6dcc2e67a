"""Houses in California: predict the price from four photos and four columns."""

from __future__ import annotations

from pathlib import Path
from typing import final

from tabvision.data import FusedDataModule
from tabvision.data.splits.base import Split
from tabvision.schema import Schema

PHOTOS = ("frontal", "kitchen", "bathroom", "bedroom")


@final
class HousesDataModule(FusedDataModule):
    """Predict the price of 535 Californian houses from photos of the front, kitchen, bathroom and bedroom, and four columns.

    The columns are the numbers of bedrooms and bathrooms, the area in square feet and the zip code, a category.

    Source: Ahmed and Moustafa 2016, "House Price Estimation from Visual and Textual Features", arXiv:1609.08399

    License: none stated; the authors ask users to cite the paper

    Limits: few houses, from one state and year; the owners of the photos are unknown. A benchmark, not an appraisal tool.

    Args:
        path: A CSV file with the columns frontal, kitchen, bathroom and bedroom, which hold photo paths relative to the
            file, and bedrooms, bathrooms, area, zipcode and price.
        size: Side of the network's input in pixels.
        split: As for FusedDataModule.
        batch_size: Rows in one training step.
        seed: Determines the split, the order and the augmentation.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print the schema.

    Raises:
        MissingFileError: The file does not exist.
        MissingColumnsError: A column does not exist.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int = 160,
        split: float | Split | None = 0.2,
        batch_size: int = 16,
        seed: int = 0,
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            path,
            "price",
            image=PHOTOS,
            categorical=None if schema else ["zipcode"],
            size=size,
            split=split,
            batch_size=batch_size,
            seed=seed,
            schema=schema,
            verbose=verbose,
        )
