"""A run that was interrupted goes on by `tabvision train --resume`, and ends where an uninterrupted one does."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tabvision.cli import main
from tests.made.commands import Forked
from tests.made.images import write_folder
from tests.made.processes import on_two
from tests.made.tables import nothing_to_learn

COMMON = ["--accelerator", "cpu", "--no-report"]
TABLE = ["train", "people.csv", "--target", "paid", "--batch-size", "8", *COMMON]
PHOTOS = ["train", "photos", "--body", "test_resnet", "--weights", "none", "--size", "32", "--epochs", "6", *COMMON]
EQUAL = ("metrics.csv", "predictions.csv", "recipe.yaml")


@pytest.fixture(autouse=True)
def _data(folder: Path) -> None:
    """Photos in the working directory, and a table from which there is nothing to learn."""
    nothing_to_learn().to_csv("people.csv", index=False)
    write_folder(folder / "photos", {"cat": 12, "dog": 18})


def train_and_be_killed(words: list[str], run: Path) -> None:
    """Trains in a process of its own, which is killed after some epochs."""
    killed = Forked(train_and_die, [*words, "--out", str(run)], run / "metrics.csv")
    assert killed.ended()[0] == -signal.SIGKILL


def train_and_die(words: list[str], metrics: Path) -> None:
    """Trains, and kills its own process after some epochs."""

    def watch() -> None:
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 4:  # written when last.ckpt is
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    main(words)


@pytest.mark.parametrize(
    "words",
    [TABLE, pytest.param([*TABLE, "--epochs", "30"], marks=pytest.mark.slow), PHOTOS],
    ids=["table", "epochs", "photos"],
)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = Path("runs/whole"), Path("runs/cut")
    assert main([*words, "--out", str(whole)]) == 0
    train_and_be_killed(words, cut)
    assert not (cut / "predictions.csv").exists()

    assert main([*words, "--out", str(cut)]) == 2
    assert f"Continue it with --resume {cut}" in capsys.readouterr().err
    assert main(["train", "--resume", str(cut)]) == 0
    assert not (cut / "report.html").exists()  # as the run was told at its start

    for name in EQUAL:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = (torch.load(run / "best.ckpt", weights_only=True) for run in (whole, cut))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    assert "optimizer_states" not in one


@pytest.mark.slow
def test_a_run_that_began_with_a_trained_network_goes_on_too(capsys: pytest.CaptureFixture[str]) -> None:
    whole, cut = Path("runs/whole"), Path("runs/cut")
    assert main([*TABLE, "--epochs", "1", "--out", "start"]) == 0
    words = [*TABLE, "--from", "start/best.ckpt", "--lr", "0.003", "--epochs", "30"]
    assert main([*words, "--out", str(whole)]) == 0
    train_and_be_killed(words, cut)

    assert main(["train", "--resume", str(cut), "--no-report"]) == 0

    for name in ("metrics.csv", "predictions.csv", "resume.yaml"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert main(["train", "--resume", str(cut)]) == 2
    assert f"To train longer: tabvision train --from {cut}/best.ckpt" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_goes_on_with_more_devices_that_share_its_steps() -> None:
    whole, cut = Path("runs/whole"), Path("runs/cut")
    words = [*TABLE, "--epochs", "12", "--micro-batches", "2"]
    assert main([*words, "--out", str(whole)]) == 0
    train_and_be_killed(words, cut)

    on_two(lambda _: main(["train", "--resume", str(cut), "--no-report", "--devices", "2", "--quiet"]), Path())

    one, other = (pd.read_csv(run / "metrics.csv") for run in (whole, cut))
    assert one["step"].tolist() == other["step"].tolist()
    np.testing.assert_allclose(other["train/loss"], one["train/loss"], rtol=1e-3)
    states = [torch.load(run / "last.ckpt", weights_only=True)["callbacks"]["ExactResume"] for run in (whole, cut)]
    assert [(len(state["ranks"]), state["micro_batches"]) for state in states] == [(1, 2), (2, 2)]


def test_a_run_stopped_by_ctrl_c_goes_on_below_its_joined_metrics() -> None:
    assert main([*TABLE, "--epochs", "3", "--task", "binary", "--class-weights", "1,5"]) == 0
    run = Path("runs/people")
    whole = (run / "metrics.csv").read_bytes()
    (run / "metrics.json").unlink()  # which is written last: as if it had been stopped after its answers
    (run / "predictions.csv").write_text("older")

    assert main(["train", "--resume", str(run), "--no-report"]) == 0

    assert (run / "metrics.csv").read_bytes() == whole
    assert (run / "metrics.json").exists()
    assert (run / "predictions.csv").read_text() != "older"


@pytest.mark.slow
def test_a_run_killed_before_it_logged_the_epoch_of_its_checkpoint_has_no_hole(subtests: pytest.Subtests) -> None:
    assert main([*TABLE, "--epochs", "3", "--validation", "0.2"]) == 0
    run = Path("runs/people")
    whole = (run / "metrics.csv").read_text()
    header, first, second, last = whole.splitlines()
    cells = dict(zip(header.split(","), last.split(","), strict=True)) | {"train/loss": ""}
    left = {
        "before it": {"metrics.csv": [header, first, second]},
        "after its validation": {"metrics.csv": [header, first, second, ",".join(cells.values())]},
        "as it went on": {"metrics.before.csv": [header, first, second]},
        "as it went on again": {"metrics.before.csv": [header, first, second], "metrics.csv": [header]},
    }
    for killed, files in left.items():
        with subtests.test(killed=killed):
            for name in ("metrics.json", "metrics.csv"):
                (run / name).unlink()
            for name, lines in files.items():
                (run / name).write_text("\n".join(lines) + "\n")

            assert main(["train", "--resume", str(run), "--no-report"]) == 0

            assert (run / "metrics.csv").read_text() == whole
            assert not (run / "metrics.before.csv").exists()


@pytest.mark.parametrize(
    "left", ["", "epoch,oof/loss,step,train/loss\n0,0.5,3,0.6\n1,0."], ids=["nothing", "half a line"]
)
def test_metrics_that_were_cut_off_are_no_hindrance(left: str) -> None:
    assert main([*TABLE, "--epochs", "3"]) == 0
    run = Path("runs/people")
    (run / "metrics.json").unlink()
    (run / "metrics.csv").write_text(left)

    assert main(["train", "--resume", str(run), "--no-report"]) == 0

    assert (run / "metrics.json").exists()


def test_what_cannot_be_resumed_is_a_sentence_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    assert main([*TABLE, "--epochs", "2", "--out", "done"]) == 0
    for name, files in {"moved": ["recipe.yaml", "last.ckpt"], "early": ["recipe.yaml"], "own": ["last.ckpt"]}.items():
        Path(name).mkdir()
        for file in files:
            shutil.copy(f"done/{file}", name)
    recipe = Path("done/recipe.yaml").read_text()
    Path("own/recipe.yaml").write_text(recipe.replace("tabvision.data.Tab", "mine.Tab"))
    shutil.copytree("own", "broken")
    Path("broken/recipe.yaml").write_text("- 3")
    shutil.copytree("own", "logger")
    loggers = "logger:\n  - {class_path: pytorch_lightning.loggers.CSVLogger}\n  - {class_path: os.system}\n  before:"
    Path("logger/recipe.yaml").write_text(recipe.replace("logger:", loggers, 1))
    for name in ("own", "broken", "logger"):  # past the test of where it was begun
        state = torch.load("done/last.ckpt", weights_only=True)
        torch.save({**state, "callbacks": {}}, f"{name}/last.ckpt")
    wanted = {
        (
            "done",
        ): "the run in 'done' is finished. To train longer: tabvision fit --config done/recipe.yaml --ckpt_path",
        ("nowhere",): "'nowhere' holds no run",
        ("early",): "'early' has no last.ckpt",
        ("moved",): "the run in 'moved' was started in",
        ("own",): "names mine.TabularDataModule, which is not part of tabvision",
        ("logger",): "names os.system, which is not part of tabvision",
        ("broken",): "'broken/recipe.yaml' is not a recipe that tabvision train wrote",
        ("moved", "--epochs", "3"): "--resume continues with the recipe of the run, got --epochs as well",
        ("moved", "people.csv"): "--resume continues with the recipe of the run, got people.csv as well",
    }
    for words, sentence in wanted.items():
        with subtests.test(words=words):
            assert main(["train", "--resume", *words]) == 2
            assert sentence in capsys.readouterr().err


def test_rows_that_have_changed_are_not_gone_on_with(
    capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    jobs = pd.read_csv("people.csv")[["job", "paid"]]
    jobs.to_csv("people.csv", index=False)
    assert main([*TABLE, "--epochs", "2", "--validation", "0.2", "--out", "rows"]) == 0
    assert main([*PHOTOS, "--epochs", "1", "--no-probe", "--out", "files"]) == 0
    jobs.loc[[*range(1, len(jobs)), 0]].to_csv("people.csv", index=False)
    next(Path("photos/cat").iterdir()).rename("photos/cat/zzz.jpg")

    for run in ("rows", "files"):
        Path(run, "metrics.json").unlink()
        for words in (["train", "--resume", run, "--no-report"], ["calibrate", "--run", run, "--out", "new.ckpt"]):
            with subtests.test(words=words):
                assert main(words) == 2
                said = f"the rows or their split have changed since the run in '{run}' started. Restore the data"
                assert said in capsys.readouterr().err


def test_weights_alone_are_not_resumed_from_and_the_last_state_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TABLE, "--epochs", "2", "--out", "done"]) == 0
    words = ["fit", "--config", "done/recipe.yaml", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=3"]

    assert main([*words, "--ckpt_path", "done/best.ckpt"]) == 2
    assert "'done/best.ckpt' holds only weights" in capsys.readouterr().err
    assert main([*words, "--ckpt_path", "done/last.ckpt"]) == 0

    assert torch.load("runs/people/version_1/checkpoints/last.ckpt", weights_only=True)["epoch"] == 2
    assert main(["predict", "done/last.ckpt", "people.csv", "--out", "answers.csv"]) == 0
