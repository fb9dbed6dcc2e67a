"""Commands that answer a table which names photos: these are where `--root` and `--suffix` say."""

from pathlib import Path

import pandas as pd
import pytest

from tabvision.cli import main
from tests.made.images import write_folder
from tests.made.sweeps import slow_but

TRAIN = [
    "--body",
    "test_resnet",
    "--weights",
    "none",
    "--size",
    "32",
    "--epochs",
    "1",
    "--accelerator",
    "cpu",
    "--quiet",
]


@pytest.mark.parametrize("kind", slow_but(["images"], ["images", "fused"]))
def test_photos_that_have_moved_are_found_by_root_and_suffix(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    write_folder(folder / "photos", {"cat": 12, "dog": 12})
    files = sorted(str(file.relative_to("photos").with_suffix("")) for file in Path("photos").rglob("*.jpg"))
    rows = pd.DataFrame({"photo": files, "kind": [name[:3] for name in files], "w": [it % 5 / 3 for it in range(24)]})
    rows.to_csv("rows.csv", index=False)
    where = ["--root", "photos", "--suffix", ".jpg"]
    chosen = ["--image-only"] if kind == "images" else []
    words = ["train", "rows.csv", "--target", "kind", "--image", "photo", *chosen, *where, *TRAIN, "--no-report"]
    assert main([*words, "--out", "run"]) == 0
    Path("photos").rename("moved")

    for command, out in {"predict": "a.csv", "evaluate": "a.json", "report": "a.html", "calibrate": "a.ckpt"}.items():
        with subtests.test(command=command):
            words = [command, "run/best.ckpt", "rows.csv", "--out", out]
            assert main(words) == 2
            assert "(on the command line: --root, --suffix)" in capsys.readouterr().err
            assert main([*words, "--root", "moved", "--suffix", ".jpg"]) == 0
    assert len(pd.read_csv("a.csv")) == 24
    assert main(["predict", "run/best.ckpt", "moved", "--out", "b.csv", "--root", "."]) == 2
    assert "--root is for a table of photo paths, got moved" in capsys.readouterr().err


def test_a_network_without_photos_takes_no_folder_of_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"{run}/best.ckpt", "people.csv", "--out", "a.csv", "--suffix", ".jpg"]) == 2

    assert "--suffix is for a table of photo paths, got people.csv. Leave --suffix out" in capsys.readouterr().err


def test_a_column_of_photos_is_not_left_out_as_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"photo": ["a.jpg"], "kind": ["a"], "w": [1]}).to_csv(folder / "rows.csv", index=False)

    assert main(["train", "rows.csv", "--target", "kind", "--image", "photo", "--ignore", "photo"]) == 2

    assert "'photo' is named in both image and ignore" in capsys.readouterr().err
