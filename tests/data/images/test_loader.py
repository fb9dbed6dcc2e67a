"""The loader keeps the order that seed and epoch decide, resumes bit for bit, and bears a damaged file."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tabvision.augment.settings import augmentation_named
from tabvision.data.images.files import ImageTable
from tabvision.data.images.loader import ImageLoader
from tabvision.data.images.reader import BatchReader
from tabvision.data.images.stores import BadFiles, FileStore
from tabvision.data.images.views import View
from tabvision.errors import BadTypeError, BadValueError
from tests.made.images import encoded, pixels


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    files = [tmp_path / f"{row:02}.jpg" for row in range(23)]
    for row, file in enumerate(files):
        file.write_bytes(encoded(pixels(seed=row)))
    return ImageTable(pd.DataFrame({"image": pd.array([str(file) for file in files], dtype="str")}))


def make(table: ImageTable, *, num_workers: int = 2, bad_share: float = 1.0, **settings: Any) -> ImageLoader:
    bad = BadFiles(bad_share)
    bad.num_files = len(table.frame)
    settings = {"batch_size": 4, "shuffle": True, **settings}
    view = View((8, 8), "crop", augmentation_named("strong") if settings["shuffle"] else None, seed=5)
    store = FileStore(table, bad)
    rows = torch.arange(len(table.frame))
    tensors = {"target": rows * 10}
    return ImageLoader(
        lambda: BatchReader(store, view, num_workers=num_workers), tensors, rows, bad, seed=3, **settings
    )


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def spoil(table: ImageTable, *rows: int) -> None:
    for file in table.files(np.array(rows)):
        Path(file).write_bytes(b"")


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_image_comes_once_and_ranks_take_as_many_steps(table: ImageTable, world_size: int, shuffle: bool) -> None:
    loaders = [make(table, shuffle=shuffle, rank=rank, world_size=world_size) for rank in range(world_size)]

    batches = [list(loader) for loader in loaders]

    rows = [row for rank in batches for batch in rank for row in batch["index"].tolist()]
    assert sorted(rows) == list(range(23))
    assert {len(rank) for rank in batches} == {len(loaders[0])}
    assert all(torch.equal(batch["target"], batch["index"] * 10) for rank in batches for batch in rank)


def test_each_row_has_its_own_image(table: ImageTable) -> None:
    batches = list(make(table, shuffle=False))
    whole = {int(row): image for batch in batches for row, image in zip(batch["index"], batch["image"], strict=True)}
    alone = list(make(table, shuffle=False, batch_size=1, num_workers=0))

    assert all(torch.equal(batch["image"][0], whole[int(batch["index"])]) for batch in alone)


def test_ranks_and_batch_sizes_do_not_change_how_a_row_is_varied(table: ImageTable) -> None:
    def varied(*loaders: ImageLoader) -> dict[int, torch.Tensor]:
        batches = itertools.chain(*loaders)
        return {int(row): image for batch in batches for row, image in zip(batch["index"], batch["image"], strict=True)}

    alone = varied(make(table))
    shared = varied(*(make(table, batch_size=3, rank=rank, world_size=2) for rank in range(2)))

    assert all(torch.equal(alone[row], shared[row]) for row in range(23))


@pytest.mark.parametrize("workers", [(0, 0), (0, 3), (3, 1)])
def test_a_pass_that_goes_on_gives_what_the_whole_one_gives(
    table: ImageTable, workers: tuple[int, int], subtests: pytest.Subtests
) -> None:
    for steps in [1, 3, 5]:
        with subtests.test(steps=steps):
            loader, other = (make(table, num_workers=num) for num in workers)
            list(loader)  # the first epoch
            passing = iter(loader)
            before = list(itertools.islice(passing, steps))
            state = loader.state_dict()
            rest = list(passing)

            other.load_state_dict(state)
            other.batch_sampler.sampler.set_epoch(1)
            resumed = list(other)

            assert state["done"] == steps == len(before)
            assert_same(resumed, rest)
            assert_same(list(other), list(loader))  # the epoch after is whole


def test_epochs_differ_and_a_seed_repeats_them(table: ImageTable) -> None:
    loader, twin = make(table), make(table)
    first, second = list(loader), list(loader)

    assert_same(list(twin), first)
    assert_same(list(twin), second)
    assert first[0]["index"].tolist() != second[0]["index"].tolist()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_damaged_file_is_left_out_and_written_down(table: ImageTable, num_workers: int) -> None:
    spoil(table, 3, 9)
    loader = make(table, num_workers=num_workers)

    batches = list(loader)

    assert sorted(row for batch in batches for row in batch["index"].tolist()) == sorted(set(range(23)) - {3, 9})
    assert len(batches) == len(loader)
    for batch in batches:
        assert len(batch["image"]) == len(batch["target"]) == len(batch["index"])
    assert loader.bad.frame()["image"].tolist() == table.files(np.array([3, 9]))
    assert loader.bad.frame()["reason"].tolist() == ["0 bytes"] * 2


def test_a_file_known_to_be_damaged_is_not_opened_again(table: ImageTable) -> None:
    spoil(table, 3)
    loader = make(table)
    list(loader)
    Path(table.files(np.array([3]))[0]).write_bytes(encoded(pixels()))

    assert 3 not in {row for batch in loader for row in batch["index"].tolist()}


@pytest.mark.parametrize("num_good", [2, 5])
def test_steps_stay_as_many_and_no_training_batch_has_fewer_than_two_rows(table: ImageTable, num_good: int) -> None:
    spoil(table, *range(num_good, 23))
    loaders = [make(table, rank=rank, world_size=2) for rank in range(2)]

    for loader in loaders:
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(len(batch["index"]) >= 2 for batch in batches)
        assert all(set(batch["index"].tolist()) <= set(range(num_good)) for batch in batches)
        assert all(len(batch["image"]) == len(batch["target"]) == len(batch["index"]) for batch in batches)


def test_an_evaluation_batch_without_a_image_is_passed_over(table: ImageTable) -> None:
    spoil(table, 4, 5, 6, 7)

    assert [batch["index"].tolist()[0] for batch in make(table, shuffle=False)] == [0, 8, 12, 16, 20]


def test_too_many_damaged_files_are_a_sentence(table: ImageTable) -> None:
    spoil(table, 3, 9, 11, 15)  # one in ten, at most three, never stop a run

    with pytest.raises(BadValueError, match=r"of 23 images cannot be read so far, more than bad_share=0.01"):
        list(make(table, bad_share=0.01))


def test_nothing_to_train_on_is_a_sentence(table: ImageTable) -> None:
    spoil(table, *range(1, 23))

    with pytest.raises(BadValueError, match="too few images can be read to train on"):
        list(make(table))


def test_the_end_of_a_pass_is_told_even_if_it_breaks_off(table: ImageTable) -> None:
    told: list[int] = []
    loader = make(table, on_end=lambda: told.append(1))
    list(loader)
    next(iter(loader))

    assert len(told) == 2


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"batch_size": 0}, BadValueError, "batch_size must be at least 1"),
        ({"batch_size": "x"}, BadTypeError, "batch_size must be a whole number"),
        ({"world_size": 24}, BadValueError, "24 ranks cannot share 23 training images"),
    ],
)
def test_a_wrong_setting_is_a_sentence(table: ImageTable, settings: Any, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make(table, **settings)
