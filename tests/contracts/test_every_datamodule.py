"""What every datamodule promises, whatever it reads: each row once, the same for the same seed, resumable, picklable."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tabvision import data as data_package
from tabvision.data import CollabDataModule, FusedDataModule, ImageDataModule, TabularDataModule
from tabvision.data.base import PartsDataModule
from tabvision.data.loaders import Order
from tabvision.errors import BadTypeError, BadValueError
from tests.made.drawn import with_files
from tests.made.images import write_folder
from tests.made.pairs import ALL_TARGETS, make_frame, tabular_data
from tests.made.trainers import MakeTrainer

Make = Callable[..., Any]
ROWS, OTHERS = 43, 9  # of the source, and of a test or predict source: no multiple of the batch size
RANKS = 3


def table(_folder: Path, *, others: tuple[str, ...] = (), **settings: Any) -> TabularDataModule:
    """Numbers and categories."""
    sources = {name: make_frame(OTHERS, seed=1) for name in others}
    return tabular_data("binary", make_frame(ROWS), **(sources | settings))


def ratings(_folder: Path, *, others: tuple[str, ...] = (), **settings: Any) -> CollabDataModule:
    """Stars of users for films, each pair once."""

    def rated(rows: int) -> pd.DataFrame:
        pairs = np.arange(rows)
        return pd.DataFrame({"user": pairs % 7, "film": pairs // 7, "stars": pairs % 5 + 1.0})

    quiet: dict[str, Any] = {"verbose": False, "user": "user", "item": "film", "rating": "stars"}
    sources = {name: rated(OTHERS) for name in others}
    return CollabDataModule(rated(ROWS), **(quiet | sources | settings))


def images(folder: Path, *, others: tuple[str, ...] = (), **settings: Any) -> ImageDataModule:
    """Small files in folders of two classes."""
    sizes = {"source": (20, 23), **dict.fromkeys(others, (4, OTHERS - 4))}
    for name, (ants, bees) in sizes.items():
        if not (folder / name).exists():
            write_folder(folder / name, {"ants": ants, "bees": bees}, size=(8, 10), kind="png")
    quiet: dict[str, Any] = {"verbose": False, "size": 8, "num_workers": 1}
    sources = {name: folder / name for name in others}
    return ImageDataModule(folder / "source", **(quiet | sources | settings))


def fused(folder: Path, *, others: tuple[str, ...] = (), **settings: Any) -> FusedDataModule:
    """Numbers and categories, and an image of each row, which every fifth row lacks."""
    frames = {"source": make_frame(ROWS), **{name: make_frame(OTHERS, seed=1) for name in others}}
    named = {}
    for name, frame in frames.items():
        with_image = with_files(frame, folder / f"{name}_of_rows")
        named[name] = with_image.assign(file=with_image["file"].where(np.arange(len(frame)) % 5 > 0))
    ignored = [column for column in ALL_TARGETS if column != "paid"]
    quiet: dict[str, Any] = {"verbose": False, "size": 8, "num_workers": 1, "ignore": ignored}
    sources = {name: named[name] for name in others}
    return FusedDataModule(named["source"], "paid", image="file", **(quiet | sources | settings))


MAKERS: dict[type[PartsDataModule[Any]], Make] = {
    CollabDataModule: ratings,
    FusedDataModule: fused,
    ImageDataModule: images,
    TabularDataModule: table,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where images are written once."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(params=MAKERS.values(), ids=[kind.__name__ for kind in MAKERS])
def make(request: pytest.FixtureRequest, folder: Path) -> Make:
    """Makes a datamodule of 43 rows in batches of 8."""
    maker = request.param
    return lambda **settings: maker(folder, **({"batch_size": 8} | settings))


def batches_of(loader: Any) -> list[dict[str, Tensor]]:
    return [dict(batch) for batch in loader]


def rows_of(loader: Any) -> list[int]:
    return [row for batch in loader for row in batch["index"].tolist()]


def are_same(ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]]) -> bool:
    return len(ours) == len(theirs) and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(ours, theirs, strict=True)
    )


def loaders_of_ranks(data: Any, part: Any) -> list[Any]:
    orders = [Order(shuffle=part == "train", seed=0, rank=rank, world_size=RANKS) for rank in range(RANKS)]
    return [data.make_loader(part, order) for order in orders]


def test_no_datamodule_is_left_out_of_the_sweep() -> None:
    found = {
        kind
        for kind in (getattr(data_package, name) for name in data_package.__all__)
        if inspect.isclass(kind) and issubclass(kind, pl.LightningDataModule)
    }

    assert found == set(MAKERS), "tell this file how to make the new datamodule"


def test_facts_and_baseline_are_there_before_any_trainer_and_every_row_in_one_part(make: Make) -> None:
    data = make()
    assert data.trainer is None
    assert type(data.schema).from_dict(data.schema.to_dict()) == data.schema
    assert data.baseline().keys() == {f"val/{name}" for name in data.schema.task.metrics()}

    rows = torch.cat([part.rows for part in make().parts.values()])
    assert rows.sort().values.tolist() == list(range(ROWS))


@pytest.mark.parametrize("part", ["train", "val", "test", "predict"])
def test_a_batch_names_its_rows_and_has_the_target_of_each(make: Make, part: Any) -> None:
    data = make(others=("test", "predict"))

    for batch in data.loader(part):
        assert batch["index"].dtype == torch.int64
        assert {len(tensor) for tensor in batch.values()} == {len(batch["index"])}
        assert ("target" in batch) == (part != "predict")
        if part != "predict":
            assert torch.equal(batch["target"], data.parts[part].tensors["target"][batch["index"]])


@pytest.mark.parametrize("part", ["train", "val"])
def test_ranks_take_each_row_once_in_as_many_steps(make: Make, part: Any) -> None:
    data = make()

    shares = [rows_of(loader) for loader in loaders_of_ranks(data, part)]

    assert len({len(loader) for loader in loaders_of_ranks(data, part)}) == 1
    assert sorted(row for share in shares for row in share) == data.parts[part].rows.sort().values.tolist()


def test_a_rank_trains_on_its_rows_alone_as_one_process_would(make: Make) -> None:
    data = make(augment="light") if make().schema.image else make()
    whole = {int(row): batch for batch in data.loader("train") for row in batch["index"]}

    for loader in loaders_of_ranks(data, "train"):
        for batch in loader:
            for place, row in enumerate(batch["index"].tolist()):
                other = whole[row]
                (there,) = (other["index"] == row).nonzero()[0].tolist()
                assert all(torch.equal(batch[name][place], other[name][there]) for name in batch)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(make: Make) -> None:
    one, twin, other = make(), make(), make(seed=1)

    for part in ("train", "val"):
        assert are_same(batches_of(one.loader(part)), batches_of(twin.loader(part)))
    assert one.parts["val"].rows.tolist() != other.parts["val"].rows.tolist()
    assert rows_of(one.train_dataloader()) != rows_of(other.train_dataloader())


def test_each_pass_has_an_order_of_its_own_which_its_epoch_decides(make: Make) -> None:
    loader = make().train_dataloader()

    first, second = batches_of(loader), batches_of(loader)
    loader.batch_sampler.sampler.set_epoch(0)

    assert [batch["index"].tolist() for batch in first] != [batch["index"].tolist() for batch in second]
    assert sorted(row for batch in first for row in batch["index"].tolist()) == sorted(
        row for batch in second for row in batch["index"].tolist()
    )
    assert are_same(batches_of(loader), first)


def test_a_pass_goes_on_where_another_was_left_with_the_same_batches_alone(make: Make) -> None:
    whole = batches_of(make().train_dataloader())
    left = make().train_dataloader()
    begun = iter(left)
    first = [dict(next(begun)) for _ in range(2)]
    state = left.state_dict()
    resumed = make().train_dataloader()
    resumed.load_state_dict(state)
    rest = batches_of(resumed)
    assert len(whole) > 3
    assert are_same(first + rest, whole)
    assert len(batches_of(resumed)) == len(whole)  # only that pass

    left = make().train_dataloader()
    next(iter(left))
    other = make(batch_size=4).train_dataloader()
    other.load_state_dict(left.state_dict())
    with pytest.raises(
        BadValueError, match=r"the fit stopped after step 1 of an epoch with .* Resume with the same batch size"
    ):
        next(iter(other))


def test_no_training_batch_is_left_with_one_row_unless_that_is_asked_for(make: Make) -> None:
    data = make(batch_size=3, split=None)  # 43 = 14 * 3 + 1
    sizes = [len(batch["index"]) for batch in data.train_dataloader()]
    assert sizes == [3] * 13 + [4]

    data = make(batch_size=1)
    sizes = [len(batch["index"]) for batch in data.train_dataloader()]
    assert set(sizes[:-1]) == {1}
    assert sum(sizes) == len(data.parts["train"].rows)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_a_copy_serves_the_same_batches(make: Make, again: Any) -> None:
    data = make()
    before = batches_of(data.train_dataloader())

    other = again(data)

    assert other.schema == data.schema
    assert are_same(batches_of(other.train_dataloader()), before)
    assert are_same(batches_of(other.val_dataloader()), batches_of(data.val_dataloader()))


def test_what_is_not_trained_on_comes_in_the_order_of_the_source_and_the_same_each_time(make: Make) -> None:
    data = make(others=("test", "predict"))

    for part in ("val", "test", "predict"):
        loader = data.loader(part)
        first = batches_of(loader)
        rows = [row for batch in first for row in batch["index"].tolist()]
        assert rows == data.parts[part].rows.sort().values.tolist()
        assert are_same(batches_of(loader), first)


def test_prediction_takes_the_best_part_there_is(make: Make) -> None:
    validation = make().parts["val"].rows.tolist()

    assert rows_of(make().predict_dataloader()) == validation
    for others in (("test",), ("predict",), ("test", "predict")):
        data = make(others=others)
        assert rows_of(data.predict_dataloader()) == list(range(OTHERS))
        assert ("target" in next(iter(data.predict_dataloader()))) == ("predict" not in others)


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("val", "Pass a fraction such as split=0.2"),
        ("test", "Pass a (table or file|folder or table) as test="),
        ("predict", "Pass a (table or file|folder or table) as predict="),
    ],
)
def test_a_part_that_is_not_there_is_refused(make: Make, part: Any, remedy: str) -> None:
    data = make(split=None)

    with pytest.raises(BadValueError, match=f"{type(data).__name__}: there is no {part} split, only train. {remedy}"):
        data.loader(part)


def test_without_validation_rows_there_is_nothing_to_validate_and_no_baseline(make: Make) -> None:
    data = make(split=None)

    assert data.val_dataloader() == []
    assert data.baseline() == {}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, BadValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": "many"}, BadTypeError, "batch_size must be a whole number, got 'many'"),
        ({"seed": -1}, BadValueError, "seed must be at least 0, got -1"),
        ({"seed": 0.5}, BadTypeError, "seed must be a whole number, got 0.5"),
        ({"seed": None}, BadTypeError, "seed must be a whole number, got None"),
    ],
)
def test_a_wrong_setting_is_a_sentence(
    make: Make, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"DataModule: {message}"):
        make(**settings)


def test_more_ranks_than_training_rows_are_refused(make: Make) -> None:
    order = Order(shuffle=True, seed=0, rank=0, world_size=ROWS + 1)

    with pytest.raises(BadValueError, match=r"44 ranks cannot share .* training (row|image)s"):
        make().make_loader("train", order)


def test_overfitting_turns_the_shuffling_off(make: Make, quick_trainer: MakeTrainer) -> None:
    data = make()
    data.trainer = quick_trainer(overfit_batches=1)

    assert rows_of(data.train_dataloader()) == data.parts["train"].rows.tolist()


def test_a_notebook_shows_columns_and_rows(make: Make) -> None:
    data = make()

    shown = data._repr_html_()

    assert shown.startswith(data.schema._repr_html_())
    assert all(f"{len(part.rows):,}" in shown.rpartition("</table>")[2] for part in data.parts.values())


def test_what_was_found_is_printed_unless_that_is_not_wanted(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make()
    assert capsys.readouterr().out == ""

    data = make(verbose=True)

    assert data.summary() in capsys.readouterr().out
