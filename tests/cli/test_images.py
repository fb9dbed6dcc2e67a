"""Photos by command: trained, evaluated beside the naive answer, asked again from the checkpoint alone."""

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml

from tabvision.cli import main, run
from tabvision.cli.folder import PROBE, chosen_by_validation
from tabvision.cli.jobs import Job
from tabvision.cli.refit import refits_head
from tabvision.cli.run_recipe import settings_of_run
from tabvision.data import ImageDataModule
from tests.made.images import tiff, write_classes, write_folder
from tests.made.processes import on_two

SMALL = [
    "--body",
    "test_resnet",
    "--weights",
    "none",
    "--size",
    "32",
    "--epochs",
    "2",
    "--accelerator",
    "cpu",
    "--no-report",
]


@pytest.fixture(autouse=True)
def _photos(folder: Path) -> None:
    """Photos in the working directory."""
    write_folder(folder / "photos", {"cat": 12, "dog": 18})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with photos and a run on them, made once, and what the run printed."""
    folder = tmp_path_factory.mktemp("trained")
    write_folder(folder / "photos", {"cat": 12, "dog": 18})
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as told:
        assert main(["train", "photos", *SMALL]) == 0
    return folder, told.getvalue()


@pytest.fixture
def told(trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of that run as the working directory, and what the run printed."""
    monkeypatch.chdir(trained[0])
    return trained[1]


def test_train_writes_everything_and_predict_answers_as_it_did(told: str) -> None:
    out = told
    assert "cat 10, dog 14" in out or "dog 14, cat 10" in out
    assert "naive" in out
    written = {path.name for path in Path("runs/photos").iterdir()}
    assert {"best.ckpt", "metrics.csv", "predictions.csv", "recipe.yaml"} <= written
    during = pd.read_csv("runs/photos/predictions.csv")
    assert list(during) == ["row", "image", "true_label", "label", "probability_cat", "probability_dog"]
    assert (during["true_label"] == during["image"].str.split("/").str[1]).all()

    files = during["image"].tolist()
    assert main(["predict", "runs/photos/best.ckpt", *files, "--out", "again.csv"]) == 0
    again = pd.read_csv("again.csv")
    assert again["image"].tolist() == files
    pd.testing.assert_frame_equal(again.iloc[:, 1:], during.iloc[:, 3:], atol=1e-5)


def test_the_recipe_repeats_the_run_to_the_same_numbers() -> None:
    main(["train", "photos", *SMALL])
    recipe = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())
    recipe["trainer"]["logger"]["init_args"] |= {"name": "again", "version": ""}
    Path("again.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "again.yaml", "--trainer.enable_progress_bar=false"]) == 0

    first, again = (pd.read_csv(f"runs/{name}/metrics.csv").groupby("epoch").max() for name in ("photos", "again"))
    pd.testing.assert_frame_equal(first, again[first.columns], check_exact=True)


def test_a_start_that_fails_leaves_nothing_in_the_way_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        Path(f"photos/cat/damaged_{number}.jpg").write_bytes(b"no image")

    assert main(["train", "photos", *SMALL]) == 2

    assert "or allow more with bad_share (--bad-share)" in capsys.readouterr().err
    assert not any(Path("runs/photos").iterdir())
    assert main(["train", "photos", *SMALL, "--bad-share", "0.2"]) == 0


def test_a_damaged_photo_of_a_few_is_borne_and_listed_beside_the_run() -> None:
    Path("photos/cat/damaged.jpg").write_bytes(b"no image")

    assert main(["train", "photos", *SMALL]) == 0

    listed = pd.read_csv("runs/photos/bad_files.csv")
    assert listed["image"].tolist() == ["photos/cat/damaged.jpg"]
    Path("bad_files.csv").write_text("mine")
    recipe = ["--config", "runs/photos/recipe.yaml", "--trainer.enable_progress_bar=false"]
    assert main(["fit", *recipe]) == 0
    assert Path("bad_files.csv").read_text() == "mine"
    assert len(pd.read_csv("runs/photos/version_0/bad_files.csv")) == 1


def test_points_are_trained_and_answered_in_pixels() -> None:
    names = [f"photos/{path.parent.name}/{path.name}" for path in sorted(Path("photos").glob("*/*"))]
    table = pd.DataFrame({"file": names, "x": range(len(names)), "y": [row % 20 for row in range(len(names))]})
    table.to_csv("points.csv", index=False)

    words = ["train", "points.csv", "--image", "file", "--target", "x,y", "--task", "points"]
    assert main([*words, *SMALL]) == 0
    assert main(["predict", "runs/points/best.ckpt", names[0], names[1], "--out", "answers.csv"]) == 0

    during, answers = pd.read_csv("runs/points/predictions.csv"), pd.read_csv("answers.csv")
    assert list(during) == ["row", "file", "x", "y", "prediction_x", "prediction_y"]
    assert answers["prediction_x"].between(-0.5, 29.5).all()  # of photos 30 pixels wide
    assert answers["prediction_y"].between(-0.5, 19.5).all()


def test_a_table_of_paths_and_several_labels_trains_and_is_asked_with_tta() -> None:
    names = [f"photos/{path.parent.name}/{path.name}" for path in sorted(Path("photos").glob("*/*"))]
    tags = ["pet cat" if "cat" in name else "pet dog" for name in names]
    tags[0], tags[-1] = "cat", "dog"
    pd.DataFrame({"file": names, "tags": tags}).to_csv("tags.csv", index=False)
    words = ["train", "tags.csv", "--image", "file", "--target", "tags", "--separator", " "]

    assert main([*words, *SMALL]) == 0
    pd.DataFrame({"file": names, "note": "é"}).to_csv("latin.csv", encoding="latin-1")
    options = ["--out", "out.csv", "--tta", "2", "--encoding", "latin-1", "--keep", "note"]
    assert main(["predict", "runs/tags/best.ckpt", "latin.csv", *options]) == 0

    answers = pd.read_csv("out.csv")
    assert list(answers)[:2] == ["note", "file"]
    assert answers["file"].tolist() == names
    assert answers["note"].eq("é").all()
    assert {"probability_pet", "probability_cat", "probability_dog"} <= set(answers)


@pytest.mark.usefixtures("told")
def test_columns_of_photos_without_a_table_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/photos/best.ckpt", "photos", "--keep", "id", "--out", "answers.csv"]) == 2
    assert "--keep names columns of a table, and DATA has only photos." in capsys.readouterr().err


@pytest.mark.usefixtures("told")
def test_a_photo_that_cannot_be_read_keeps_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.jpg").write_bytes(b"no image")

    assert main(["predict", "runs/photos/best.ckpt", "broken.jpg", "photos/cat/cat_000.jpg", "--out", "out.csv"]) == 0

    answers = pd.read_csv("out.csv")
    assert answers["error"].isna().tolist() == [False, True]
    assert "1 photo could not be read" in capsys.readouterr().out

    # of which none could be read is not called answered
    assert main(["predict", "runs/photos/best.ckpt", "broken.jpg", "--out", "none.csv"]) == 1
    assert capsys.readouterr().out.startswith("0 photos predicted: none.csv\n1 photo could not be read")

    assert main(["predict", "runs/photos/best.ckpt", "photos/cat/*.jpg", "--out", "cats.csv"]) == 0
    assert pd.read_csv("cats.csv")["image"].str.startswith("photos/cat/cat_").all()


@pytest.mark.usefixtures("told")
def test_predict_takes_several_folders_and_photos_beside_them() -> None:
    words = ["predict", "runs/photos/best.ckpt", "photos/cat", "photos/dog", "photos/cat/cat_000.jpg"]
    assert main([*words, "nowhere.jpg", "--out", "all.csv"]) == 0

    answers = pd.read_csv("all.csv")
    assert answers["image"].str.split("/").str[1].tolist()[:30] == ["cat"] * 12 + ["dog"] * 18
    assert answers["error"].isna().tolist() == [True] * 31 + [False]


@pytest.mark.usefixtures("told")
def test_what_the_model_answered_is_not_taken_for_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    answers = pd.read_csv("runs/photos/predictions.csv")
    answers.assign(image=[str(Path(image).absolute()) for image in answers["image"]]).to_csv("answers.csv", index=False)

    words = ["runs/photos/best.ckpt", "answers.csv", "--out"]
    assert main(["calibrate", *words, "calibrated.ckpt"]) == 2
    assert main(["report", *words, "report.html"]) == 2

    sentence = (
        "column 'label' holds a model's answers, not the target (the rows also have probability_cat, probability_dog)"
    )
    assert capsys.readouterr().err.count(sentence) == 2


def test_every_choice_for_photos_has_an_option_and_stands_in_the_recipe() -> None:
    words = [
        "--resize",
        "pad",
        "--head",
        "linear",
        "--mixup",
        "0.4",
        "--cache",
        "none",
        "--features",
        "kept",
        "--frozen-bf16",
        "--epochs",
        "3",
    ]

    assert main(["train", "photos", *SMALL, *words, "--freeze-epochs", "2"]) == 0

    recipe = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())
    assert {**recipe["data"]["init_args"], "resize": "pad", "cache": None} == recipe["data"]["init_args"]
    assert {**recipe["model"]["init_args"], "head": "linear", "frozen_bf16": True} == recipe["model"]["init_args"]
    stages, features, mixup, *_ = recipe["trainer"]["callbacks"]
    assert stages["init_args"] == {"freeze_epochs": 2, "frozen_pct_start": 0.3}
    assert (features["init_args"], mixup["init_args"]) == ({"views": 2, "folder": "kept"}, {"alpha": 0.4})


def test_a_model_below_the_naive_answer_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "photos", *SMALL, "--freeze-epochs", "0", "--epochs", "1", "--lr", "1e-9"]) == 0

    out = capsys.readouterr().out
    accuracy, naive = (float(word) for word in next(line for line in out.splitlines() if line[:3] == "acc").split()[1:])
    assert ("Worse than the naive prediction, which ignores the input: accuracy" in out) == (accuracy < naive)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["photos", "--epochs", "1", "--freeze-epochs", "1"],
            "--freeze-epochs must be less than the 1 epoch of the run",
        ),
        (["photos", "--epochs", "1", "--frozen-bf16"], "--frozen-bf16 is for epochs with a frozen body"),
        (["photos", "--epochs", "1", "--features", "kept"], "--features is for epochs with a frozen body"),
        (["phottos", "--body", "resnet18"], "no file 'phottos'. Did you mean 'photos'?"),
        (["phottos", "--user", "a", "--item", "b"], "no file 'phottos'. Did you mean 'photos'?"),
        (["photos", "--body", "resnet3"], "no network named 'resnet3'"),
        (["photos", "--probe", "--verifiable"], "which --probe rules out"),
        (["photos", "--no-probe", "--body", "resnet18,resnet34"], "compared by linear probes, got --no-probe"),
        (["photos", "--lr", "fast"], "--lr must be one number"),
        (["photos", "--augment", "strange"], "'strange'"),
        (["nowhere/", "--image", "file"], "nowhere"),
    ],
)
def test_a_wrong_word_is_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_fourth_band_of_16_bits_is_trained_on_by_command(capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    write_classes(
        Path("fields"), lambda code, _: tiff((draw.random((40, 40, 4)) * 3000 + 900 * code).astype(np.uint16)), ".tif"
    )
    told = "have another channel (transparency or an extra band) that is not read: channels=4 (--channels 4) reads it"

    words = ["train", "fields", *SMALL, "--epochs", "1", "--out"]
    assert main([*words, "rgb"]) == 0
    assert told in capsys.readouterr().out
    assert main([*words, "four", "--channels", "4", "--value-range", "0", "4000"]) == 0
    assert told not in capsys.readouterr().out
    recipe = yaml.safe_load(Path("four/recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["data"]["init_args"]["channels"] == 4
    assert recipe["data"]["init_args"]["value_range"] == [0, 4000]
    assert main(["fit", "--config", "four/recipe.yaml"]) == 0
    assert main(["predict", "four/best.ckpt", "fields/a", "--out", "answers.csv"]) == 0
    assert pd.read_csv("answers.csv")["label"].notna().all()


def trained_weights(name: str = "own.pth") -> str:
    """A file of weights, in place of those that are downloaded."""
    torch.manual_seed(1)
    torch.save(timm.create_model("test_resnet").state_dict(), name)
    return name


def test_a_probe_answers_before_a_run_from_trained_weights_and_does_not_change_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "photos", *SMALL, "--weights", trained_weights()]
    assert main([*words, "--out", "plain", "--no-probe"]) == 0
    assert "probe" not in capsys.readouterr().out
    assert main([*words, "--out", "probed"]) == 0

    assert "a linear probe on frozen features: accuracy" in capsys.readouterr().out
    assert Path("plain/metrics.csv").read_text() == Path("probed/metrics.csv").read_text()
    assert main(["predict", "probed/probe.ckpt", "photos/cat/cat_000.jpg", "--out", "out.csv"]) == 0


@pytest.mark.parametrize("words", [["--weights", "none"], ["--weights", "own.pth", "--verifiable"]])
def test_a_run_without_trained_weights_or_to_be_repeated_has_no_probe(words: list[str]) -> None:
    trained_weights()

    assert main(["train", "photos", *SMALL, "--out", "plain", "--devices", "1", *words]) == 0

    assert not Path("plain/probe.ckpt").exists()


def head_of(checkpoint: str) -> str:
    """The kind of the network's head."""
    head: str = torch.load(checkpoint, weights_only=True)["hyper_parameters"]["head"]
    return head


def test_a_run_that_ends_above_the_loss_of_its_probe_keeps_a_linear_head(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--weights", trained_weights(), "--out", "probed", "--lr", "1e-9", "--no-refit"]
    assert main(["train", "photos", *SMALL, *words]) == 0

    assert head_of("probed/best.ckpt") == "linear"
    assert not Path("probed/refit.ckpt").exists()
    facts = json.loads(Path("probed/metrics.json").read_text())
    (measured,) = facts["metrics"].values()
    out = capsys.readouterr().out
    assert f"a linear probe on frozen features: accuracy {measured['accuracy']['model']:.4g}," in out
    assert "best.ckpt        the best of the network and two linear heads on the validation rows;" in out
    assert main(["predict", "probed/best.ckpt", "photos/cat", "--out", "out.csv"]) == 0
    assert chosen_by_validation(Path("probed")).endswith(", and the best of network, linear probe and new head")
    assert chosen_by_validation(Path("plain")) == ", which also chose the epoch"
    assert "refit" not in facts


def weights_of(checkpoint: str) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint."""
    weights: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return weights


def test_such_a_head_then_learns_from_the_validation_photos_too(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "photos", *SMALL, "--weights", trained_weights(), "--lr", "1e-9", "--out"]
    assert main([*words, "part", "--no-refit"]) == 0
    assert "--no-refit" not in capsys.readouterr().out
    assert settings_of_run(Path("part/recipe.yaml")) == {"refit": False, "report": False}  # for a run that goes on

    assert main([*words, "probed"]) == 0

    out = capsys.readouterr().out
    assert (
        "refitted on all 30 images, validation images included (--no-refit skips this); the metrics are those of the head"
        in out
    )
    assert "two linear heads on the validation rows, then fitted on these too;" in out
    facts, before = (json.loads(Path(run, "metrics.json").read_text()) for run in ("probed", "part"))
    assert facts["refit"] == {"num_rows": 30, "num_epochs": 0}
    assert facts["metrics"] == before["metrics"]
    whole, part = (weights_of(f"{run}/best.ckpt") for run in ("probed", "part"))
    changed = [name for name, value in part.items() if not torch.equal(value, whole[name])]
    assert {name.partition(".")[0] for name in changed} == {"head"}
    assert not Path("probed/trained.ckpt").exists()
    assert main(["calibrate", "--run", "probed", "--out", "calibrated.ckpt"]) == 2
    assert "was retrained on the validation rows of the run" in capsys.readouterr().err


def test_a_network_beside_a_head_that_learns_from_more_photos_has_a_handicap(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out: list[int | None] = []

    def chosen(*facts: Any) -> str:
        held_out.append(facts[2])
        return PROBE

    monkeypatch.setattr(run, "_best_network", chosen)
    words = ["train", "photos", *SMALL, "--weights", trained_weights(), "--epochs", "1", "--overwrite"]

    assert main(words) == 0
    assert main([*words, "--no-refit"]) == 0

    assert held_out == [6, None]


@pytest.mark.parametrize(
    ("facts", "learns"),
    [
        ({}, True),
        ({"split": [0.2, 0.1]}, True),
        ({"split": {"class_path": "tabvision.data.GroupSplit"}}, True),
        ({"split": {"class_path": "tabvision.data.SourceSplit"}}, False),
        ({"split": {"class_path": "tabvision.data.ColumnSplit"}}, False),
    ],
)
def test_photos_that_the_user_names_for_validation_teach_no_head(facts: dict[str, Any], learns: bool) -> None:
    data = ImageDataModule("photos", size=32, verbose=False)
    job = Job(recipe={"data": {"init_args": facts}}, datamodule=data)

    assert refits_head(job) is learns
    assert not refits_head(replace(job, refit=False))
    data.tables = {name: replace(table, part=np.zeros(1, np.int8)) for name, table in data.tables.items()}
    assert not refits_head(job)


def stop(*_: object, **__: object) -> None:
    """Be stopped, as by Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_run_and_several_ranks_keep_a_linear_head_too(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "photos", *SMALL, "--weights", trained_weights(), "--lr", "1e-9", "--out"]
    on_two(lambda _: main([*words, "two", "--devices", "2", "--quiet"]), Path())
    assert head_of("two/best.ckpt") == "linear"

    assert main([*words, "cut", "--no-probe"]) == 0
    assert head_of("cut/best.ckpt") == "concat"
    for name in ("metrics.json", "predictions.csv"):  # as if it had been stopped before its answers
        Path("cut", name).unlink()
    shutil.copyfile("two/probe.ckpt", "cut/probe.ckpt")
    with monkeypatch.context() as patched:
        patched.setattr("tabvision.cli.run.write_metrics", stop)
        assert main(["train", "--resume", "cut", "--no-report"]) == 130  # stopped once the head is in its place
    assert main(["train", "--resume", "cut", "--no-report"]) == 0

    assert head_of("cut/best.ckpt") == "linear"
    assert not Path("cut/trained.ckpt").exists()


@pytest.mark.slow
def test_of_several_bodies_the_best_by_a_probe_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--out", "best"]
    words[1] = "test_resnet,test_byobnet"

    assert main(["train", "photos", *words]) == 0

    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[-2:] == ["seconds", "license"])
    best = lines[first + 1].split()[0]
    assert any(f"a linear probe on frozen features of {best}, the one to train" in line for line in lines)
    recipe = yaml.safe_load(Path("best/recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["model"]["init_args"]["body"] == best
