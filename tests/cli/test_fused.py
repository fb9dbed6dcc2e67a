"""A table with photos by command: trained, asked again from the checkpoint alone, and when it is photos or a table alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.cli import main
from tabvision.inference import Predictor
from tabvision.modules import FusedModule, VisionModule
from tests.made.drawn import with_files
from tests.made.pairs import make_frame

SMALL = ["--body", "test_resnet", "--weights", "none", "--size", "32", "--epochs", "2", "--accelerator", "cpu"]
BOTH = ["train", "rows.csv", "--target", "pay", "--image", "file,back", *SMALL]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table whose rows name two photos, some none."""
    monkeypatch.chdir(tmp_path)
    frame = with_files(make_frame(60), tmp_path / "photos")
    frame["file"] = "photos/" + frame["file"].str.rpartition("/")[2]
    frame["back"] = frame["file"].where(np.arange(60) % 5 > 0)
    frame[["x", "z", "job", "file", "back", "pay", "kind"]].to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


def test_train_learns_from_photos_and_columns_and_predict_answers_as_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BOTH, "--no-report"]) == 0
    during = pd.read_csv("runs/rows/predictions.csv")
    assert isinstance(Predictor("runs/rows/best.ckpt", device="cpu").module, FusedModule)

    pd.read_csv("rows.csv").assign(id="007").to_csv("more.csv", index=False)
    assert main(["predict", "runs/rows/best.ckpt", "more.csv", "--keep", "id", "--out", "again.csv"]) == 0

    again = pd.read_csv("again.csv", dtype={"id": "str"})
    assert set(again["id"]) == {"007"}
    np.testing.assert_allclose(again["prediction"].iloc[during["row"]], during["prediction"], rtol=1e-4)
    out = capsys.readouterr().out
    assert "60 rows predicted" in out
    assert "12 of 60 rows without an image in 'back'" in out


@pytest.mark.slow
def test_a_small_table_needs_no_validation_rows_and_its_measured_answers_are_of_rows_left_out() -> None:
    words = [word for word in BOTH if word not in ("--epochs", "2")]
    assert main([*words, "--batch-size", "4", "--quiet", "--no-report"]) == 0  # so few stop soon

    recipe, found = (yaml.safe_load(Path(f"runs/rows/{name}").read_text()) for name in ("recipe.yaml", "metrics.json"))
    callbacks = [part["class_path"].rpartition(".")[2] for part in recipe["trainer"]["callbacks"]]
    assert callbacks[:3] == ["Unfreeze", "FrozenFeatures", "FitTable"]
    assert len(pd.read_csv("runs/rows/predictions.csv")) == 60
    losses = pd.read_csv("runs/rows/metrics.csv")["oof/loss"].dropna()
    assert found["metrics"]["out-of-fold"]["loss"]["model"] == pytest.approx(losses.min(), rel=1e-3)
    assert len(Predictor("runs/rows/best.ckpt", device="cpu").predict("rows.csv")) == 60


@pytest.mark.slow
def test_the_recipe_repeats_the_run_and_the_report_speaks_of_rows() -> None:
    assert main([*BOTH[:3], "kind", *BOTH[4:]]) == 0
    recipe = yaml.safe_load(Path("runs/rows/recipe.yaml").read_text())
    assert recipe["model"]["class_path"] == "tabvision.modules.FusedModule"
    recipe["trainer"]["logger"]["init_args"] |= {"name": "again", "version": ""}
    Path("again.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "again.yaml", "--trainer.enable_progress_bar=false"]) == 0

    first, again = (pd.read_csv(f"runs/{name}/metrics.csv").groupby("epoch").max() for name in ("rows", "again"))
    pd.testing.assert_frame_equal(first, again[first.columns], check_exact=True)
    assert "12 rows" in Path("runs/rows/report.html").read_text()


@pytest.mark.slow
def test_photos_alone_are_learned_from_if_asked_or_if_there_is_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    pd.read_csv("rows.csv")[["file", "kind"]].to_csv("photos.csv", index=False)
    pd.read_csv("rows.csv")[["file", "kind"]].assign(same=1).to_csv("constant.csv", index=False)
    kind = ["--target", "kind", "--image", "file", "--no-report", *SMALL]

    assert main(["train", "rows.csv", "--image-only", *kind]) == 0
    assert main(["train", "photos.csv", *kind]) == 0
    assert main(["train", "constant.csv", *kind]) == 0

    for name in ("rows", "photos", "constant"):
        assert isinstance(Predictor(f"runs/{name}/best.ckpt", device="cpu").module, VisionModule)
    assert "No column besides file can be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--image", "file,sides"], "sides"),
        (["--image", "file", "--body", "a,b"], "several bodies can be compared only without other columns"),
        (["--image", "file,back", "--image-only"], "one image per row"),
        (["--image", "file", "--label-depth", "2"], "--label-depth is for images"),
        (["--image", "file", "--preset", "best"], "--preset is for a table"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "rows.csv", "--target", "pay", *SMALL, *words]) == 2

    assert expected in capsys.readouterr().err
    assert not Path("runs").exists()


def test_photos_beside_a_table_elsewhere_are_found_when_its_rows_are_answered_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data").mkdir()
    for name in ("rows.csv", "photos"):
        (folder / name).rename(folder / "data" / name)
    assert main([BOTH[0], "data/rows.csv", *BOTH[2:], "--test", "0.2"]) == 0
    predictor = Predictor("runs/rows/best.ckpt", device="cpu")

    results = predictor.losses("data/rows.csv")
    again = predictor.losses(results.frame)

    np.testing.assert_allclose(again.predictions, results.predictions, rtol=1e-5)
    assert "No report was written" not in capsys.readouterr().out
    for words in ([], ["--overwrite"]):
        assert main(["calibrate", "--run", "runs/rows", "--out", "new.ckpt", "--coverage", "0.5", *words]) == 0
        out = capsys.readouterr().out
        assert "On the test rows of the run" in out
        assert "Calibrated on 12 rows" in out
        recipe = yaml.safe_load(Path("runs/rows/recipe.yaml").read_text())
        recipe["data"]["init_args"] |= {"test": "data/few.csv", "split": 0.2}  # then of a file of their own
        Path("runs/rows/recipe.yaml").write_text(yaml.safe_dump(recipe))
        pd.read_csv("data/rows.csv").head(12).to_csv("data/few.csv", index=False)
