"""Tables whose rows name images: missing and broken files, two per row, other sources, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from tabvision import lightning as pl
from tabvision.data import FusedDataModule, IndexSplit
from tabvision.data.splits.given import SourceSplit
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, MissingFileError

BRIGHT = {"front": 40, "back": 200}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 20 houses with a dark front and a bright back; some images are missing, one is broken."""
    folder = tmp_path_factory.mktemp("houses")
    (folder / "photos").mkdir()
    for row in range(20):
        for side, brightness in BRIGHT.items():
            pixels = np.full((20, 30, 3), brightness + row, np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"{row}_{side}.png")
    frame = pd.DataFrame({"rooms": range(20), "zip": ["a", "b"] * 10, "price": np.arange(20) * 1.5})
    for side in BRIGHT:
        frame[side] = [f"photos/{row}_{side}.png" for row in range(20)]
    frame.loc[2, "front"], frame.loc[3, "back"] = None, "photos/nowhere.png"
    (folder / "photos" / "4_front.png").write_bytes(b"broken")
    frame.to_csv(folder / "houses.csv", index=False)
    return folder


def make(folder: Path, **settings: Any) -> Any:
    defaults: dict[str, Any] = {
        "image": ["front", "back"], "size": 8, "split": None, "augment": "none", "num_workers": 1, "verbose": False,
    }  # fmt: skip
    return FusedDataModule(folder / "houses.csv", "price", **(defaults | settings))


def by_row(data: FusedDataModule) -> dict[int, dict[str, Tensor]]:
    """What each training row has in its batch."""
    found = {}
    for batch in data.train_dataloader():
        tensors: dict[str, Any] = {**batch}
        for at, row in enumerate(batch["index"].tolist()):
            found[row] = {name: values[at] for name, values in tensors.items()}
    return found


def test_each_row_has_its_images_in_the_order_of_the_columns(folder: Path) -> None:
    rows = by_row(make(folder))

    assert sorted(rows) == list(range(20))
    for row in (0, 7, 19):
        assert rows[row]["image"].shape == (2, 3, 8, 8)
        assert rows[row]["image"].float().mean(dim=(1, 2, 3)).tolist() == [40.0 + row, 200.0 + row]


def test_a_row_without_a_readable_image_stays_and_says_so(folder: Path) -> None:
    data = make(folder)
    rows = by_row(data)

    absent = {row: rows[row]["has_image"].tolist() for row in rows if rows[row]["has_image"].min() < 1}
    assert absent == {2: [0.0, 1.0], 3: [1.0, 0.0], 4: [0.0, 1.0]}
    assert not rows[2]["image"][0].any()
    assert [Path(name).name for name in data.bad_files["image"]] == ["4_front.png"]


def test_a_broken_image_that_only_features_and_folds_read_is_listed_too(folder: Path, tmp_path: Path) -> None:
    for name in ("features", "folds"):
        data = make(folder)
        data.trainer = pl.Trainer(default_root_dir=tmp_path / name, accelerator="cpu", logger=False)
        data.setup("fit")
        data.use_folds(2)
        list(data.fold_loader() if name == "folds" else data.ordered_loader("train"))

        (file,) = pd.read_csv(tmp_path / name / "bad_files.csv")["image"]
        assert file == str(folder / "photos" / "4_front.png")


def test_columns_are_read_as_without_images_and_no_path_is_a_feature(folder: Path) -> None:
    schema = make(folder).schema

    assert {column.name for column in schema.continuous + schema.categorical} <= {"rooms", "zip"}
    assert schema.image is not None
    assert schema.image.columns == ("front", "back")
    assert schema.inputs[-2:] == ("front", "back")
    assert not {column.name for column in schema.left_out} & {"front", "back"}
    assert type(schema).from_dict(schema.to_dict()) == schema


def test_one_column_may_be_named_alone(folder: Path) -> None:
    data = make(folder, image="back")

    assert by_row(data)[0]["image"].shape == (1, 3, 8, 8)
    assert "back" not in {column.source for column in data.schema.categorical}


def test_test_and_predict_rows_have_images_of_their_own(folder: Path) -> None:
    frame = pd.read_csv(folder / "houses.csv").iloc[[5, 6]]
    frame["price"] = [None, 3.0]
    data = make(folder, test=frame, predict=frame.drop(columns="price"), root=str(folder), missing_target="drop")

    (tested,), (predicted,) = data.test_dataloader(), data.predict_dataloader()

    assert tested["index"].tolist() == [1]
    assert tested["image"][0, 0].float().mean() == 46
    assert predicted["image"][:, 1].float().mean(dim=(1, 2, 3)).tolist() == [205.0, 206.0]


def test_validation_rows_may_come_from_another_table(folder: Path) -> None:
    other = pd.read_csv(folder / "houses.csv").iloc[[9]]
    data = make(folder, split=SourceSplit(other))

    (batch,) = data.val_dataloader()

    assert batch["index"].tolist() == [20]
    assert batch["image"][0, 0].float().mean() == 49


def test_rows_without_a_target_keep_the_images_of_the_others_in_place(folder: Path) -> None:
    frame = pd.read_csv(folder / "houses.csv")
    frame.loc[:4, "price"] = None
    settings: dict[str, Any] = {"image": ["front", "back"], "root": folder, "size": 8, "augment": "none"}
    data = FusedDataModule(frame, "price", split=IndexSplit([6]), missing_target="drop", verbose=False, **settings)

    rows = by_row(data)

    assert sorted(rows) == [5, *range(7, 20)]
    assert rows[19]["image"][0].float().mean() == 59


@pytest.mark.parametrize("on_device", [False, True])
def test_every_image_of_a_row_is_varied_by_itself_and_missing_ones_are_zero(folder: Path, on_device: bool) -> None:
    data = make(folder, augment="strong", device_augment=on_device, batch_size=20)
    batch = next(iter(data.train_dataloader()))

    done = data.on_after_batch_transfer(batch, 0)

    assert done["image"].shape == (20, 2, 3, 8, 8)
    assert done["image"].dtype == torch.float32
    is_absent = done["has_image"] == 0
    assert int(is_absent.sum()) == 3
    assert not done["image"][is_absent].any()
    assert set(done) == {"continuous", "categorical", "index", "target", "image", "has_image"}


def test_rows_that_all_lack_their_images_are_served(folder: Path) -> None:
    frame = pd.read_csv(folder / "houses.csv").assign(front=None, back=None)
    settings: dict[str, Any] = {"image": ["front", "back"], "size": 8, "device_augment": True, "verbose": False}
    data = FusedDataModule(frame, "price", **settings)

    done = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)

    assert done["image"].shape[1:] == (2, 3, 8, 8)
    assert not done["has_image"].any()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"image": ["front", "sides"]}, MissingColumnsError, "sides"),
        ({"image": ["front", "front"]}, BadValueError, "twice"),
        ({"image": None}, BadValueError, "column of paths"),
        ({"image": 3}, BadTypeError, "3"),
        ({"root": "/nowhere"}, MissingFileError, "do not exist"),
        ({"task": "points"}, BadValueError, "points"),
    ],
)
def test_what_cannot_be_read_is_refused(
    folder: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(folder, **settings)


def test_too_many_broken_images_end_the_pass(folder: Path) -> None:
    with pytest.raises(BadValueError, match="4_front"):
        list(make(folder, bad_share=0.0).train_dataloader())


def test_a_wrong_cache_is_refused_in_the_name_of_the_datamodule(folder: Path) -> None:
    with pytest.raises(BadTypeError, match="FusedDataModule: cache must be"):
        list(make(folder, cache=3).train_dataloader())


def test_a_broken_image_in_every_row_ends_the_pass(folder: Path) -> None:
    frame = pd.read_csv(folder / "houses.csv").assign(front=str(folder / "photos"))  # a folder, say

    with pytest.raises(BadValueError, match="FusedDataModule: 1 of 1 image cannot be read"):
        list(FusedDataModule(frame, "price", image="front", size=8, split=None, verbose=False).train_dataloader())


def test_addresses_are_not_opened(folder: Path) -> None:
    frame = pd.read_csv(folder / "houses.csv")
    frame["front"] = [f"https://example.com/{row}.png" for row in range(len(frame))]

    with pytest.raises(MissingFileError, match="URLs are not opened: download the photos"):
        FusedDataModule(frame, "price", image="front", verbose=False)


def test_a_schema_is_taken_and_must_fit(folder: Path) -> None:
    schema = make(folder).schema

    assert make(folder, image=None, schema=schema).schema == schema
    with pytest.raises(BadValueError, match="back"):
        make(folder, image="back", schema=schema)


def test_rows_that_are_drawn_repeatedly_have_their_images(folder: Path) -> None:
    plain, data = by_row(make(folder)), make(folder, sampler="rooms", batch_size=20)

    drawn = [row for batch in data.train_dataloader() for row in batch["index"].tolist()]

    assert len(drawn) == 20
    assert 0 not in drawn
    assert len(set(drawn)) < 20
    assert "rooms" not in data.schema.inputs
    for row, found in by_row(data).items():
        assert torch.equal(found["image"], plain[row]["image"])
        assert torch.equal(found["has_image"], plain[row]["has_image"])
