"""`tabvision check-images` lists what training would leave out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import check_images
from tabvision.errors import BadValueError
from tests.made.commands import run as run_command
from tests.made.images import encoded, pixels, tiff, write_folder


def run(*words: str) -> int:
    status: int = run_command(check_images, *words)
    return status


def test_damaged_images_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "photos", {"a": 25})
    for file in sorted((root / "a").iterdir())[:22]:
        file.write_bytes(b"")

    assert run(str(root), "--out", str(tmp_path / "bad.csv"), "--workers", "2") == 1

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{root}/a/a_000.jpg: 0 bytes"
    assert printed[20:] == [
        "… and 2 more files",
        "25 images checked, 22 of them cannot be read.",
        f"Listed in {tmp_path}/bad.csv",
    ]
    assert len(pd.read_csv(tmp_path / "bad.csv")) == 22
    with pytest.raises(ValueError, match=r"bad\.csv"):
        run(str(root), "--out", str(tmp_path / "bad.csv"))


def test_a_name_with_control_characters_is_shown_as_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\x1b[2J.jpg").write_bytes(b"")

    run(str(tmp_path))

    assert f"{tmp_path}/a\\x1b[2J.jpg: 0 bytes" in capsys.readouterr().out


@pytest.mark.parametrize("num_workers", [0, 3])
def test_every_damaged_image_is_found_with_its_reason(tmp_path: Path, num_workers: int) -> None:
    root = write_folder(tmp_path / "photos", {"a": 4, "b": 3})
    (root / "a" / "a_001.jpg").write_bytes(b"")
    (root / "b" / "b_002.jpg").write_bytes((root / "b" / "b_000.jpg").read_bytes()[:-20])

    run(str(root), "--out", str(tmp_path / "bad.csv"), "--workers", str(num_workers))

    bad = pd.read_csv(tmp_path / "bad.csv")
    assert bad["image"].tolist() == [f"{root}/a/a_001.jpg", f"{root}/b/b_002.jpg"]
    assert bad["reason"].tolist()[0] == "0 bytes"
    assert bad["reason"].tolist()[1].startswith("damaged: image file is truncated")


def test_a_folder_without_images_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"tabvision check-images: .* holds no images"):
        run(str(tmp_path))


def test_a_wrong_number_of_threads_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="num_workers must be at least 0, got -1"):
        run(str(tmp_path), "--workers", "-1")


def test_what_a_network_would_not_see_is_counted_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 9, 4), dtype=np.uint8)
    files = {
        "photo.jpg": encoded(pixels()),
        "deep.png": encoded(values[..., 0].astype(np.uint16) * 16, "PNG"),
        "floats.tif": tiff(values[..., 0].astype(np.float32)),
        "infrared.png": encoded(values, "PNG"),
        "pages.tif": tiff(*[values[..., 0]] * 13),
        "bands.tif": tiff(np.dstack([values, values])),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    run(str(tmp_path))
    told = capsys.readouterr().out
    assert "bands.tif: it has 8 channels of 8 bits, which need channels=8 (--channels 8)" in told
    assert "6 images checked, 1 of them cannot be read." in told
    for kind in ("have 16 bits per channel", "have floating-point values", "have another channel", "have 13 pages"):
        assert f"1 of 5 images {kind}" in told

    run(str(tmp_path), "--channels", "13")
    told = capsys.readouterr().out
    assert "photo.jpg: it has 3 channels, not 13 (channels=13)" in told
    assert "pages.tif" not in told


def test_a_table_says_in_which_row_and_column_each_damaged_image_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder(tmp_path / "photos", {"a": 5})
    (root / "a" / "a_001.jpg").write_bytes(b"")
    names = ["a_000", "a_001", None, "a_001", "gone"]
    pd.DataFrame({"front": names, "kitchen": ["a_002", "", "a_003", "a_004", "a_004"]}).to_csv(
        tmp_path / "homes.csv", index=False
    )
    words = [str(tmp_path / "homes.csv"), "--image", "front,kitchen", "--root", str(root / "a"), "--suffix", ".jpg"]

    assert run(*words, "--out", str(tmp_path / "bad.csv")) == 1

    assert capsys.readouterr().out.splitlines()[:4] == [
        f"row 1, front: {root}/a/a_001.jpg: 0 bytes",
        f"row 3, front: {root}/a/a_001.jpg: 0 bytes",
        f"row 4, front: {root}/a/gone.jpg: no such file",
        "6 images checked, 2 of them cannot be read.",
    ]
    bad = pd.read_csv(tmp_path / "bad.csv")
    assert bad[["row", "column"]].to_numpy().tolist() == [[1, "front"], [3, "front"], [4, "front"]]
    assert run(*words[:2], "kitchen", *words[3:]) == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["homes.csv"], "'homes.csv' is a table"),
        (["homes.csv", "--image", "frnt"], "'frnt'"),
        (["homes.csv", "--image", "front"], "2 of 2 images in front do not exist, first './x.jpg'"),
        (["photos", "--suffix", ".jpg"], "need --image, got 'photos' alone"),
    ],
)
def test_what_a_table_is_asked_for_is_said(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"front": ["x.jpg", "y.jpg"]}).to_csv("homes.csv", index=False)

    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(problem)):
        run(*words)
