"""Duplicates: copies are found across parts and within, however they were saved; other photos are not taken for one."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tabvision.data import ImageDataModule
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.interpret import duplicates
from tabvision.modules import TabularModule, VisionModule
from tests.made.crops import LITE0, schema_of
from tests.made.images import photo
from tests.made.pairs import Pair

HEIGHT, WIDTH = 150, 200


def saved_again(image: NDArray[np.uint8], quality: int = 70) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(image).resize((WIDTH // 2, HEIGHT // 2)))


def cropped(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[3 : HEIGHT - 3, 6:WIDTH]


CHANGES = {"saved again": saved_again, "resized": resized, "cropped": cropped}


def network(body: str = "test_resnet") -> VisionModule:
    torch.manual_seed(0)
    weights = "default" if body == LITE0 else None
    return VisionModule(schema_of(side=64), body=body, weights=weights)


@pytest.mark.parametrize(("change", "body"), [*((change, "test_resnet") for change in CHANGES), ("cropped", LITE0)])
def test_copies_are_found_and_other_photos_are_not(change: str, body: str) -> None:
    photos = [photo(HEIGHT, WIDTH, seed=seed, grain=(16, 50)[seed % 2]) for seed in range(24)]
    copies = [CHANGES[change](photos[number]) for number in (3, 8, 17)]

    found = duplicates(network(body), [*photos, *copies])

    pairs = sorted(zip(found["first"], found["second"], strict=True))
    assert pairs == [(3, 24), (8, 25), (17, 26)]
    assert found["similarity"].between(0.85, 1).all()
    assert found["similarity"].is_monotonic_decreasing
    assert found[["first_part", "second_part", "same_label"]].isna().all(axis=None)


def made_folder(root: Path) -> Path:
    """Photos of two classes in folders train and valid: a copy across parts, and one within under another label."""
    for number in range(12):
        name = "class 0" if number % 2 else "class 1"
        folder = root / ("valid" if number > 7 else "train") / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(HEIGHT, WIDTH, seed=number, grain=50)).save(folder / f"{number}.png")
    first = Image.open(root / "train" / "class 1" / "0.png")
    first.save(root / "valid" / "class 1" / "copy.jpg", quality=80)
    Image.open(root / "train" / "class 1" / "2.png").resize((100, 75)).save(root / "train" / "class 0" / "copy.png")
    return root


def known(found: pd.DataFrame) -> set[tuple[Any, ...]]:
    """The pairs as sets of names and parts, and whether they have the same label."""
    ends = [
        frozenset({(Path(row["first"]).name, row["first_part"]), (Path(row["second"]).name, row["second_part"])})
        for row in found.to_dict("records")
    ]
    return set(zip(ends, found["same_label"], strict=True))


EXPECTED = {
    (frozenset({("0.png", "train"), ("copy.jpg", "val")}), True),
    (frozenset({("2.png", "train"), ("copy.png", "train")}), False),
}


def test_the_part_and_the_label_of_photos_are_known(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "photos")
    assert known(duplicates(network(), folder)) == EXPECTED

    data = ImageDataModule(str(folder), size=64, batch_size=4, num_workers=1, verbose=False)
    assert known(duplicates(network(), data)) == EXPECTED


def test_a_table_names_the_part_of_each_row(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "photos")
    files = sorted(folder.rglob("*.*"))
    parts = ["val" if file.parts[-3] == "valid" else "train" for file in files]
    frame = pd.DataFrame({"image": list(map(str, files)), "label": [file.parts[-2] for file in files], "part": parts})

    assert known(duplicates(network(), frame, split="part")) == EXPECTED
    no_parts = duplicates(network(), frame.assign(label=None))
    assert no_parts[["first_part", "same_label"]].isna().all(axis=None)
    with pytest.raises(MissingColumnsError, match=r"duplicates: .*'fold'"):
        duplicates(network(), frame, split="fold")


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"none")
    image = photo(HEIGHT, WIDTH)

    found = duplicates(network(), [str(tmp_path / "a.png"), image, image])

    assert found[["first", "second"]].to_numpy().tolist() == [[1, 2]]
    assert found["similarity"][0] == pytest.approx(1)
    assert duplicates(network(), [str(tmp_path / "a.png")]).empty
    assert list(duplicates(network(), [image])) == list(found)


def test_the_most_similar_pairs_are_kept() -> None:
    image = photo(HEIGHT, WIDTH, grain=50)
    copies = [image, saved_again(image, 20), image]

    found = duplicates(network(), copies, max_pairs=1)

    assert found[["first", "second"]].to_numpy().tolist() == [[0, 2]]


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 1.5}, {"max_pairs": 0}])
def test_numbers_out_of_range_are_a_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(BadValueError, match=f"duplicates: {next(iter(settings))}"):
        duplicates(network(), [photo(20, 20)], **settings)


def test_a_model_of_rows_has_no_photos() -> None:
    pair = Pair(TabularModule, "binary")

    with pytest.raises(BadTypeError, match="duplicates: the model must read only photos and have a body"):
        duplicates(pair.module(pair.data().schema), {"x": 1.0})
