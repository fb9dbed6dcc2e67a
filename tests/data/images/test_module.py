"""The datamodule of images: folders, tables and names in, rows with their targets out."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tabvision.data import ColumnSplit, IndexSplit, RandomSplit
from tabvision.errors import BadValueError
from tabvision.inference.inputs import InputReader
from tabvision.schema import Schema
from tests.made.images import frame_of, make, write_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", {"ants": 12, "bees": 8})


def test_class_folders_are_divided_in_proportion(photos: Path) -> None:
    data = make(photos, split=0.25)

    assert (data.schema.task.name, data.schema.classes) == ("binary", ("ants", "bees"))
    assert data.schema.image is not None
    assert (data.schema.image.name, data.schema.image.size, data.schema.image.mean) == ("image", (8, 8), ())
    labels = data.frame["label"].to_numpy()
    assert [int((labels[data.parts["val"].rows] == name).sum()) for name in ("ants", "bees")] == [3, 2]
    assert Schema.from_dict(data.schema.to_dict()) == data.schema


def test_the_summary_counts_the_images_of_every_class(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(photos, split=0.25, verbose=True)

    printed = capsys.readouterr().out
    assert "target 'label': binary (2 values: ants, bees)" in printed
    assert "train: 15 images (ants 9, bees 6)" in printed
    assert "val: 5 images (ants 3, bees 2)" in printed


def test_folders_say_which_images_validate_and_which_are_to_predict(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/a": 4, "train/b": 3, "valid/a": 2, "valid/b": 1, "test": 5})

    data = make(root)

    assert {name: len(part.rows) for name, part in data.parts.items()} == {"train": 7, "val": 3, "predict": 5}
    assert "target" not in next(iter(data.predict_dataloader()))
    with pytest.raises(BadValueError, match="the folders already divide the images, and so does split="):
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
    assert other.image.std == data.image.std == (0.229, 0.224, 0.225)


def test_one_image_of_a_class_trains(tmp_path: Path) -> None:
    data = make(write_folder(tmp_path, {"a": 6, "b": 6, "c": 1}), split=0.3)

    assert 2 in data.parts["train"].tensors["target"][data.parts["train"].rows]
    assert 2 not in data.parts["val"].tensors["target"][data.parts["val"].rows]


def test_it_pickles(photos: Path) -> None:
    data = make(photos)
    list(data.train_dataloader())

    other = pickle.loads(pickle.dumps(data))

    for one, two in zip(data.loader("val"), other.loader("val"), strict=True):
        assert torch.equal(one["image"], two["image"])


def test_a_batch_is_shown_with_labels(photos: Path) -> None:
    shown = make(photos).show_batch(5)

    assert len(shown) == 5
    assert all(image.shape == (8, 8, 3) and image.dtype == np.uint8 for image, _ in shown)
    assert all((image.mean(axis=(0, 1)).argmax() == 1) == (label == "bees") for image, label in shown)
    numbers = make(frame_of(photos), ["x", "y"], path="file", root=photos).show_batch(1)
    assert numbers[0][1].count(",") == 1


def test_the_baseline_is_the_share_of_the_largest_class(photos: Path) -> None:
    assert make(photos, split=0.25).baseline()["val/accuracy"] == pytest.approx(0.6)
    assert make(photos, split=None).baseline() == {}


def test_zero_padded_names_and_labels_of_files_stay_text(tmp_path: Path) -> None:
    write_folder(tmp_path, {".": 12})
    for number, file in enumerate(sorted(tmp_path.glob("*.jpg"))):
        file.rename(tmp_path / f"{number:03}.jpg")
    rows = "".join(f"{number:03},{('001', '007')[number % 2]},{number}\n" for number in range(12))
    (tmp_path / "labels.csv").write_text(f"id,label,age\n{rows}")

    data = make(tmp_path / "labels.csv", "label", path="id", suffix=".jpg", split=0.25)

    assert data.schema.classes == ("001", "007")
    assert len(data.parts["train"].rows) == 9


def test_columns_that_are_not_used_are_reported(photos: Path) -> None:
    data = make(frame_of(photos), "kind", path="file", root=photos, split=ColumnSplit("part"), weight="weight")

    assert [column.name for column in data.schema.left_out] == ["tags", "x", "y"]
    assert "a network of images reads no columns" in data.summary()


def test_classes_may_be_two_folders_deep(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"pets/cat": 4, "pets/dog": 4, "farm/cow": 4})
    more = write_folder(tmp_path / "more", {"new/cat": 2, "new/cow": 1})

    data = make(root, label_depth=2, split=0.25, test=more)
    again = make(root, schema=data.schema, split=0.25)

    assert data.schema.classes == ("cat", "cow", "dog")
    assert len(data.parts["test"].rows) == 3
    assert again.frame["label"].tolist() == data.frame["label"].tolist()
    labeled = InputReader(data.schema)(str(more), labeled=True)
    assert labeled.frame is not None
    assert labeled.frame["label"].tolist() == ["cat", "cat", "cow"]
    with pytest.raises(BadValueError, match="label_depth=2 applies only to a folder of class folders"):
        make(frame_of(root), "kind", path="file", root=root, label_depth=2)


def test_an_empty_cell_of_joined_labels_means_no_label(photos: Path) -> None:
    frame = frame_of(photos)
    frame.loc[1::4, "tags"] = ""
    frame.to_csv(photos / "tags.csv", index=False)
    frame.replace({"tags": {"": None}}).to_parquet(photos / "tags.parquet")

    for name in ("tags.csv", "tags.parquet"):
        data = make(photos / name, "tags", separator=" ", split=None)

        assert data.parts["train"].tensors["target"].sum(dim=1).tolist()[:6] == [2, 0, 2, 2, 2, 0]


def test_a_folder_of_tables_names_files_too(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    frame = frame_of(photos)
    frame = frame.assign(file=[str(photos / file) for file in frame["file"]])
    for number, half in enumerate((frame[:10], frame[10:])):
        half.to_parquet(tmp_path / "shards" / f"{number}.parquet")

    data = make(tmp_path / "shards", "kind", split=0.25)

    assert len(data.frame) == 20
    assert InputReader(data.schema)(str(tmp_path / "shards")).num_rows == 20


def test_a_balanced_order_draws_each_class_of_photos_equally_often(tmp_path: Path) -> None:
    data = make(write_folder(tmp_path / "photos", {"ants": 30, "bees": 6}), split=None, sampler="balanced")

    labels = torch.cat([batch["target"] for batch in data.train_dataloader()])

    assert labels.bincount().tolist() == [18, 18]


def test_a_column_says_how_often_a_photo_is_drawn(photos: Path) -> None:
    frame = frame_of(photos)
    data = make(frame, "kind", root=photos, split=None, sampler="weight")

    drawn = torch.cat([batch["index"] for batch in data.train_dataloader()])

    assert len(drawn) == len(frame)
    assert (frame["weight"].to_numpy()[drawn.numpy()] > 0).all()


def test_cached_images_are_read_by_few_threads_unless_a_number_is_given(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabvision.data.images.base.check_workers", lambda number, _ranks=1: number or 16)
    seen = []
    for num_workers in (None, 8):
        data = make(photos, cache="memory", num_workers=num_workers)
        loader = data.train_dataloader()
        for _ in range(2):
            list(loader)
            assert loader._reader is not None
            seen.append((loader._reader.num_workers, loader._reader.chunk_rows))

    assert seen == [(16, 16), (3, 64), (8, 16), (8, 64)]
