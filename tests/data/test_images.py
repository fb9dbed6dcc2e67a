"""The datamodule of pictures: folders, tables and names in, finished batches out, under a Trainer and without."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.callbacks import ExactResume
from tabvision.data import ColumnSplit, ImageDataModule, IndexSplit, RandomSplit
from tabvision.errors import (
    BadTypeError,
    BadValueError,
    MissingColumnsError,
    MissingFileError,
    TabvisionError,
    UnknownNameError,
)
from tabvision.schema import Schema
from tests.data.pictures import write_folder

MakeTrainer = Callable[..., pl.Trainer]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", {"ants": 12, "bees": 8})


def make(source: Any, target: Any = None, **settings: Any) -> ImageDataModule:
    quiet: dict[str, Any] = {"size": 8, "batch_size": 4, "num_workers": 1, "verbose": False}
    return ImageDataModule(source, target, **(quiet | settings))


def frame_of(photos: Path) -> pd.DataFrame:
    files = sorted(photos.rglob("*.jpg"))
    names = [str(file.relative_to(photos)) for file in files]
    return pd.DataFrame(
        {
            "file": names,
            "kind": [file.parent.name for file in files],
            "tags": [f"{file.parent.name} {'odd' if row % 2 else 'even'}" for row, file in enumerate(files)],
            "x": np.linspace(0, 1, len(files)),
            "y": np.linspace(5, 9, len(files)) ** 2,
            "part": ["valid" if row % 4 == 0 else "train" for row in range(len(files))],
            "weight": [float(row % 3) for row in range(len(files))],
        }
    )


class Net(pl.LightningModule):
    """Sees what a module sees, and learns something."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(3, 2)
        self.seen: list[dict[str, Tensor]] = []

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return nn.functional.cross_entropy(self.layer(batch["image"].mean(dim=(2, 3))), batch["target"])

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.seen.append(batch)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(pl.Callback):
    """Saves after that many steps."""

    def __init__(self, steps: int, file: Path) -> None:
        self.steps, self.file = steps, file

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.file)


def test_class_folders_are_divided_in_proportion(photos: Path) -> None:
    data = make(photos, split=0.25)

    assert (data.schema.task.name, data.schema.classes) == ("binary", ("ants", "bees"))
    assert data.schema.image is not None
    assert (data.schema.image.name, data.schema.image.size, data.schema.image.mean) == ("image", (8, 8), ())
    labels = data.frame["label"].to_numpy()
    assert [int((labels[data.parts["val"].rows] == name).sum()) for name in ("ants", "bees")] == [3, 2]
    assert Schema.from_dict(data.schema.to_dict()) == data.schema


def test_the_summary_counts_the_pictures_of_every_class(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(photos, split=0.25, verbose=True)

    printed = capsys.readouterr().out
    assert "target 'label': binary (2 values: ants, bees)" in printed
    assert "train: 15 pictures (ants 9, bees 6)" in printed
    assert "val: 5 pictures (ants 3, bees 2)" in printed


def test_folders_say_which_pictures_validate_and_which_are_to_predict(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/a": 4, "train/b": 3, "valid/a": 2, "valid/b": 1, "test": 5})

    data = make(root)

    assert {name: len(part.rows) for name, part in data.parts.items()} == {"train": 7, "val": 3, "predict": 5}
    assert "target" not in next(iter(data.predict_dataloader()))
    with pytest.raises(BadValueError, match="the folders say which pictures train and validate, and so does split="):
        make(root, split=RandomSplit(0.2))


def test_test_folders_with_labels_are_tested(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/a": 8, "train/b": 8, "test/a": 2, "test/b": 1})

    data = make(root, split=0.25)

    assert {name: len(part.rows) for name, part in data.parts.items()} == {"train": 12, "val": 4, "test": 3}
    assert "test" in str(data.frame["image"].iloc[int(data.parts["test"].rows[0])])


@pytest.mark.parametrize(
    ("target", "settings", "task", "shape", "dtype"),
    [
        ("kind", {}, "binary", (4,), torch.int64),
        ("tags", {"separator": " "}, "multilabel", (4, 4), torch.float32),
        ("x", {}, "regression", (4, 1), torch.float32),
        (["x", "y"], {}, "regression", (4, 2), torch.float32),
    ],
)
@pytest.mark.parametrize("kind", ["frame", "csv", "parquet"])
def test_a_table_has_any_kind_of_target(
    photos: Path, kind: str, target: Any, settings: dict[str, Any], task: str, shape: Any, dtype: torch.dtype
) -> None:
    frame = frame_of(photos)
    source: Any = frame if kind == "frame" else photos / f"table.{kind}"
    if kind == "csv":
        frame.to_csv(source, index=False)
    elif kind == "parquet":
        frame.to_parquet(source)

    data = make(source, target, root=photos if kind == "frame" else None, path="file", **settings)

    batch = next(iter(data.train_dataloader()))
    assert data.schema.task.name == task
    assert data.schema.inputs == ("file",)
    assert (tuple(batch["target"].shape), batch["target"].dtype) == (shape, dtype)
    assert data.frame["file"].tolist() == frame["file"].tolist()


def test_file_names_hold_labels(photos: Path) -> None:
    data = make(photos, "insect", label_pattern=r"^(\w+)_\d+")

    assert (data.schema.target.columns, data.schema.classes) == (("insect",), ("ants", "bees"))


def test_splits_are_those_of_tables(photos: Path) -> None:
    frame = frame_of(photos)

    by_column = make(frame, "kind", path="file", root=photos, split=ColumnSplit("part"))
    by_number = make(frame, "kind", path="file", root=photos, split=IndexSplit([0, 13]))

    assert by_column.parts["val"].rows.tolist() == [0, 4, 8, 12, 16]
    assert by_number.parts["val"].rows.tolist() == [0, 13]
    assert list(make(photos, split=None).parts) == ["train"]
    assert make(photos, split=None).val_dataloader() == []


def test_index_names_the_row_of_the_source_and_targets_are_of_that_row(photos: Path) -> None:
    data = make(frame_of(photos), "x", path="file", root=photos, weight="weight")

    for part in ("train", "val"):
        for batch in data.loader(part):
            rows = data.frame.iloc[batch["index"].numpy()]
            assert batch["target"][:, 0].tolist() == pytest.approx(rows["x"].tolist())
            assert batch["weight"].tolist() == rows["weight"].tolist()


def test_a_rare_label_trains(photos: Path) -> None:
    frame = frame_of(photos)
    for row in range(len(frame)):
        rare = frame.assign(tags=[tags + " rare" if row == place else tags for place, tags in enumerate(frame["tags"])])
        data = make(rare, "tags", path="file", root=photos, separator=" ")
        assert row in data.parts["train"].rows


def test_test_and_predict_sources_are_read_like_the_first(photos: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", {"bees": 3})
    data = make(photos, test=other, predict=sorted((other / "bees").iterdir()))

    assert len(data.parts["test"].rows) == len(data.parts["predict"].rows) == 3
    (batch,) = data.test_dataloader()
    assert batch["target"].tolist() == [1, 1, 1]
    (batch,) = data.predict_dataloader()
    assert batch["index"].tolist() == [0, 1, 2]
    assert make(photos, predict=other).tables["predict"].frame["image"].str.contains("bees").all()


def test_a_schema_can_be_used_again(photos: Path, tmp_path: Path) -> None:
    data = make(photos, size=(8, 10), resize="squish", normalize="imagenet")
    other = make(write_folder(tmp_path / "more", {"bees": 5, "ants": 4}), schema=data.schema, size=None)

    assert other.schema is data.schema
    assert next(iter(other.train_dataloader()))["image"].shape[2:] == (8, 10)
    assert other.image.resize == "squish"
    assert other.image.spread == data.image.spread == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("cache", [None, "memory", "folder"])
@pytest.mark.parametrize("device_augment", [False, True])
def test_a_module_gets_finished_pictures(
    photos: Path, tmp_path: Path, cache: Any, device_augment: bool, quick_trainer: MakeTrainer
) -> None:
    data = make(
        photos,
        cache=tmp_path / "cache" if cache == "folder" else cache,
        device_augment=device_augment,
        augment="strong",
        normalize=([0.5] * 3, [0.25] * 3),
    )
    net = Net()

    quick_trainer(max_epochs=2, num_sanity_val_steps=0).fit(net, data)

    assert len(net.seen) == 2 * (len(data.train_dataloader()) + 1)
    for batch in net.seen:
        assert batch.keys() == {"image", "target", "index"}
        assert (batch["image"].shape[1:], batch["image"].dtype) == ((3, 8, 8), torch.float32)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert -6 < float(batch["image"].min()) < float(batch["image"].max()) < 6


@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_evaluation_sees_the_same_pixels_with_a_cache(photos: Path, tmp_path: Path, cache: str) -> None:
    plain = make(photos, cache=None)
    kept = make(photos, cache=tmp_path / "cache" if cache == "folder" else cache)

    for _ in range(2):
        for one, other in zip(plain.loader("val"), kept.loader("val"), strict=True):
            assert torch.equal(one["image"], other["image"])


@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_a_cached_epoch_is_varied_as_if_nothing_were_kept(photos: Path, tmp_path: Path, cache: str) -> None:
    wish: Any = tmp_path / "cache" if cache == "folder" else cache
    data, fresh = make(photos, cache=wish), make(photos, cache="memory")
    loader, other = data.train_dataloader(), fresh.train_dataloader()
    list(loader)
    other.batch_sampler.sampler.set_epoch(1)

    for one, two in zip(loader, other, strict=True):
        assert torch.equal(one["image"], two["image"])


def test_the_size_changes_from_the_next_pass_on(photos: Path) -> None:
    data = make(photos)
    loader = data.train_dataloader()
    passing = iter(loader)
    next(passing)

    data.set_size((10, 12))

    assert next(passing)["image"].shape[2:] == (8, 8)
    assert next(iter(loader))["image"].shape[2:] == (10, 12)
    assert next(iter(data.loader("val")))["image"].shape[2:] == (10, 12)


def test_statistics_come_from_the_module_first(photos: Path, quick_trainer: MakeTrainer) -> None:
    data, net = make(photos, normalize=([0.0] * 3, [1.0] * 3)), Net()
    net.schema = make(photos, normalize=([0.0] * 3, [0.5] * 3)).schema  # type: ignore[assignment]
    plain = Net()
    quick_trainer(num_sanity_val_steps=0).fit(net, data)
    quick_trainer(num_sanity_val_steps=0).fit(plain, data)

    torch.testing.assert_close(net.seen[0]["image"], plain.seen[0]["image"] * 2)


def test_damaged_files_are_listed_in_the_trainer_s_folder(
    photos: Path, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    (photos / "ants" / "ants_000.jpg").write_bytes(b"")
    data, net = make(photos, bad_share=0.1, split=None), Net()

    quick_trainer(max_epochs=2).fit(net, data)

    listed = pd.read_csv(tmp_path / "bad_files.csv")
    assert listed.to_dict("records") == [{"image": str(photos / "ants" / "ants_000.jpg"), "reason": "0 bytes"}]
    assert sum(len(batch["index"]) for batch in net.seen) == 2 * 19
    with pytest.raises(BadValueError, match=r"1 of 20 pictures cannot be read so far, more than bad_share=0.01 allows"):
        quick_trainer().fit(Net(), make(photos, split=None))


def test_one_picture_of_a_class_trains(tmp_path: Path) -> None:
    data = make(write_folder(tmp_path, {"a": 6, "b": 6, "c": 1}), split=0.3)

    assert 2 in data.parts["train"].tensors["target"][data.parts["train"].rows]
    assert 2 not in data.parts["val"].tensors["target"][data.parts["val"].rows]


@pytest.mark.parametrize("workers", [(0, 2), (3, 1)])
@pytest.mark.parametrize("steps", [2, 6])
def test_a_resumed_fit_ends_bit_for_bit_where_the_whole_one_does(
    photos: Path, tmp_path: Path, workers: tuple[int, int], steps: int, quick_trainer: MakeTrainer
) -> None:
    whole, first, second = Net(), Net(), Net()
    runs = [make(photos, augment="strong", num_workers=num) for num in (1, *workers)]
    settings: dict[str, Any] = {"max_epochs": 2, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    quick_trainer(**settings).fit(whole, runs[0])
    file = tmp_path / "saved.ckpt"
    quick_trainer(**settings | {"callbacks": [SaveAt(steps, file), ExactResume()]}).fit(first, runs[1])

    resumed = quick_trainer(**settings | {"callbacks": [ExactResume()]})
    resumed.fit(second, runs[2], ckpt_path=file)

    assert len(second.seen) == len(whole.seen) - steps
    for one, other in zip(whole.seen[steps:], second.seen, strict=True):
        assert torch.equal(one["index"], other["index"])
        assert torch.equal(one["image"], other["image"])
    assert torch.equal(whole.layer.weight, second.layer.weight)


def test_it_pickles(photos: Path) -> None:
    data = make(photos)
    list(data.train_dataloader())

    other = pickle.loads(pickle.dumps(data))

    for one, two in zip(data.loader("val"), other.loader("val"), strict=True):
        assert torch.equal(one["image"], two["image"])


def test_a_batch_is_shown_with_labels(photos: Path) -> None:
    shown = make(photos).show_batch(5)

    assert len(shown) == 5
    assert all(picture.shape == (8, 8, 3) and picture.dtype == np.uint8 for picture, _ in shown)
    assert all((picture.mean(axis=(0, 1)).argmax() == 1) == (label == "bees") for picture, label in shown)
    numbers = make(frame_of(photos), ["x", "y"], path="file", root=photos).show_batch(1)
    assert numbers[0][1].count(",") == 1


def test_the_baseline_is_the_share_of_the_largest_class(photos: Path) -> None:
    assert make(photos, split=0.25).baseline()["val/accuracy"] == pytest.approx(0.6)
    assert make(photos, split=None).baseline() == {}


def test_rows_without_a_target_are_refused_or_left_out(photos: Path) -> None:
    frame = frame_of(photos)
    frame.loc[3, "kind"] = None

    with pytest.raises(BadValueError, match="the target 'kind' is missing in 1 of 20 rows"):
        make(frame, "kind", path="file", root=photos)
    data = make(frame, "kind", path="file", root=photos, missing_target="drop")
    assert 3 not in torch.cat([part.rows for part in data.parts.values()])


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"size": 0}, BadValueError, "size must be positive, got 0"),
        ({"size": (8, -1)}, BadValueError, "size must be positive"),
        ({"size": 8.5}, BadTypeError, "size must be a whole number or two of them, got 8.5"),
        ({"resize": "crpo"}, UnknownNameError, "no resize named 'crpo'. Choices: crop"),
        ({"augment": "defualt"}, UnknownNameError, "no preset named 'defualt'. Choices: default"),
        ({"normalize": "imagnet"}, UnknownNameError, "no normalize named 'imagnet'. Choices: imagenet"),
        ({"normalize": ([0.5], [0.5])}, BadTypeError, "normalize needs three numbers each"),
        ({"normalize": 3}, BadTypeError, "normalize must be means and spreads, got 3"),
        ({"normalize": ([0.5] * 3, [0.0] * 3)}, BadValueError, "spreads must be positive"),
        ({"num_workers": -1}, BadValueError, "num_workers must be at least 0, got -1"),
        ({"batch_size": 0}, BadValueError, "batch_size must be at least 1"),
        ({"seed": -1}, BadValueError, "seed must be at least 0"),
        ({"bad_share": 2}, BadValueError, r"bad_share must lie in \[0, 1\], got 2"),
        ({"missing_target": "dorp"}, UnknownNameError, "no missing_target named 'dorp'"),
        ({"target": 3}, BadTypeError, "target must be a column name or a list of them, got 3"),
        ({"weight": "w"}, MissingColumnsError, "lacks 1 column: 'w'"),
        ({"task": "binry"}, UnknownNameError, "'binry'"),
    ],
)
def test_a_wrong_setting_is_a_sentence(photos: Path, settings: dict[str, Any], error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        make(photos, **settings)

    assert isinstance(caught.value, TabvisionError)


def test_a_label_that_training_lacks_is_a_sentence(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/a": 3, "train/b": 3, "valid/a": 1, "valid/c": 2})

    with pytest.raises(
        BadValueError, match=r"the target 'label' holds 1 class that no training row has: 'c' \(2 rows\)"
    ):
        make(root)


def test_paths_that_do_not_exist_are_a_sentence(photos: Path) -> None:
    frame = frame_of(photos)
    frame.loc[[2, 5], "file"] = "gone.jpg"

    with pytest.raises(MissingFileError, match=f"2 of 20 paths in 'file' do not exist, first '{photos}/gone.jpg'"):
        make(frame, "kind", path="file", root=photos)


def test_a_table_needs_a_target_and_a_part_must_be_there(photos: Path) -> None:
    with pytest.raises(BadValueError, match="a table needs the name of its target"):
        make(frame_of(photos), path="file", root=photos)
    with pytest.raises(BadValueError, match=r"there is no test part, only train, val. Pass test= a folder or table"):
        make(photos).loader("test")


def test_a_schema_of_another_target_or_without_a_picture_is_a_sentence(photos: Path) -> None:
    data = make(photos)

    with pytest.raises(BadValueError, match="the schema predicts 'label', not 'kind'"):
        make(frame_of(photos), "kind", path="file", root=photos, schema=data.schema)
    with pytest.raises(BadValueError, match="the schema holds no picture"):
        make(photos, schema=Schema(target=data.schema.target))


@pytest.mark.parametrize("column", [["0"] * 20, [-1.0] * 20])
def test_weights_that_cannot_be_are_a_sentence(photos: Path, column: list[Any]) -> None:
    with pytest.raises(
        BadValueError, match=r"the weights of all 16 train rows are 0|must be numbers from 0, but 20 rows"
    ):
        make(frame_of(photos).assign(weight=column), "kind", path="file", root=photos, weight="weight")
