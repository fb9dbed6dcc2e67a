"""One run: its table of measures, its predictions, and what is kept where a run cannot start."""

import contextlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tabvision.cli import main
from tabvision.cli.folder import free_folder
from tabvision.cli.outputs import held_out_table, print_metrics
from tabvision.data import TabularDataModule
from tabvision.data.tables.sizes import fast_epochs
from tabvision.inference import Predictor
from tabvision.modules import TabularModule
from tests.made.commands import Forked
from tests.made.tables import TRAIN, nothing_to_learn, people

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("data", "name"),
    [("people.csv", "people"), ("~/a.b.csv.gz", "a"), (".hidden.csv", "hidden"), (".", "here"), ("..csv", "csv")],
)
def test_a_run_has_a_folder_of_its_own_whatever_the_data_is_called(
    data: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")

    assert free_folder(None, data, overwrite=False) == Path("runs") / name


def test_large_and_small_measures_stand_in_columns_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics(
        {"val/mae": 119.1782, "val/rmse": 2.5e-31, "val/mse": 3e9, "val/r2": -0.1},
        {"val/mae": 119.4708, "val/rmse": 2e-31, "val/mse": 3e9, "val/r2": 0.0},
        "validation",
    )

    assert capsys.readouterr().out.splitlines()[:5] == [
        "validation     model     naive",
        "mae         119.1782  119.4708",
        "mse            3e+09     3e+09",
        "r2           -0.1000    0.0000",
        "rmse         2.5e-31     2e-31",
    ]


def test_what_cannot_be_measured_is_left_empty(capsys: pytest.CaptureFixture[str]) -> None:
    found = print_metrics({"val/auroc": float("nan")}, {"val/auroc": 0.5}, "validation")

    assert found == {"auroc": {"model": None, "naive": 0.5}}
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["auroc", "0.5000"]]


@pytest.mark.parametrize(
    "words", [["--accelerator", "warp"], ["--devices", "0"], ["--devices", "x"], ["--precision", "7"]]
)
def test_a_run_that_cannot_start_is_a_sentence_and_leaves_the_older_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path("runs/people")
    run.mkdir(parents=True)
    for name in ("best.ckpt", "recipe.yaml"):
        (run / name).write_text("older")

    assert main([*TRAIN, "--overwrite", *words]) == 2

    assert capsys.readouterr().err.startswith("tabvision train: ")
    assert [(run / name).read_text() for name in ("best.ckpt", "recipe.yaml")] == ["older", "older"]


@pytest.mark.parametrize("name", ["label", "row"])
def test_a_column_whose_name_is_an_answers_is_told_apart_from_it(name: str) -> None:
    frame = people().rename(columns={"paid": name})
    data = TabularDataModule(frame, name, verbose=False)
    rows = torch.tensor([4, 2])

    table = held_out_table(data, {"index": rows, "predictions": torch.tensor([[0.9, 0.1], [0.2, 0.8]])})

    assert list(table)[:3] == ["row", f"true_{name}", "label"]
    assert table["row"].tolist() == [4, 2]
    assert table[f"true_{name}"].tolist() == frame[name].iloc[[4, 2]].tolist()
    assert table["label"].tolist() == ["badly", "well"]


def test_a_table_with_decimal_commas_is_trained_on_and_answered_as_its_twin_with_points() -> None:
    frame = people().assign(age=lambda table: table["age"] + 0.5)
    frame.to_csv("points.csv", index=False)
    frame.to_csv("commas.csv", index=False, sep=";", decimal=",")

    for name in ("points", "commas"):
        assert main(["train", f"{name}.csv", *TRAIN[2:]]) == 0
        assert main(["predict", f"runs/{name}/best.ckpt", f"{name}.csv", "--out", f"{name}_answers.csv"]) == 0

    points, commas = (Path(f"{name}_answers.csv").read_text() for name in ("points", "commas"))
    assert points == commas


def test_several_targets_have_a_row_each_beside_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    frame = curved(200, 0).assign(far=lambda rows: rows["x"] * 100)
    frame.to_csv("two.csv", index=False)

    assert main(["train", "two.csv", "--target", "pay,far", *TRAIN[4:], "--no-report"]) == 0

    rows = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    table = {row[0]: [float(each) for each in row[1:]] for row in rows if row and row[0].startswith("mae")}
    assert [*table] == ["mae", "mae of far", "mae of pay"]
    np.testing.assert_allclose(np.mean([table["mae of far"], table["mae of pay"]], axis=0), table["mae"], rtol=1e-3)
    held_out = pd.read_csv("runs/two/predictions.csv")
    assert (held_out["far"] - held_out["prediction_far"]).abs().mean() == pytest.approx(
        table["mae of far"][0], rel=1e-3
    )


def test_a_larger_distance_is_worse_and_a_larger_accuracy_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({"val/distance": 2.0}, {"val/distance": 1.0}, "validation")
    assert capsys.readouterr().out.endswith(": distance.\n")

    print_metrics({"val/distance": 1.0, "val/accuracy": 0.9}, {"val/distance": 2.0, "val/accuracy": 0.5}, "validation")
    assert "Worse" not in capsys.readouterr().out


BEST = ["train", "people.csv", "--target", "paid", "--accelerator", "cpu", "--preset", "best"]


@pytest.mark.slow  # the next test is the quick one
def test_the_best_preset_writes_a_bag_and_an_answer_to_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    nothing_to_learn().to_csv("people.csv", index=False)
    assert main([*BEST, "--batch-size", "4"]) == 0  # so few epochs have their hundred batches

    told = capsys.readouterr().out
    assert "Network 5 of 5: 80 training rows." in told
    assert ["out-of-fold", "model", "naive"] in [line.split() for line in told.splitlines()]
    assert told.splitlines()[-1] == "A recipe holds one fit, and this run had 5; the same command repeats it."
    written = {path.name for path in Path("runs/people").iterdir()}
    assert written == {"best.ckpt", "metrics.json", "predictions.csv", "report.html"}
    assert sorted(pd.read_csv("runs/people/predictions.csv")["row"]) == [*range(80)]
    bag = TabularModule.load_from_checkpoint("runs/people/best.ckpt")
    assert bag.hparams["bag"] == 5
    assert main(["predict", "runs/people/best.ckpt", "people.csv", "--out", "answers.csv", "--uncertainty"]) == 0
    assert pd.read_csv("answers.csv")["uncertainty"].between(0, 0.5).all()


@pytest.mark.usefixtures("run")
def test_with_a_fixed_budget_each_network_of_the_best_preset_leaves_a_fifth_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*BEST, "--epochs", "1", "--no-report", "--overwrite"]) == 0

    told = capsys.readouterr().out
    assert "Network 1 of 5: 96 training rows." in told
    assert ["out-of-fold", "model", "naive"] in [line.split() for line in told.splitlines()]
    written = {path.name for path in Path("runs/people").iterdir()}
    assert written == {"best.ckpt", "metrics.json", "predictions.csv"}  # no recipe of the older run
    assert sorted(pd.read_csv("runs/people/predictions.csv")["row"]) == [*range(120)]
    assert TabularModule.load_from_checkpoint("runs/people/best.ckpt").hparams["bag"] == 5


def test_the_fast_preset_is_a_cycle_of_few_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BEST[:-1], "fast", "--no-report"]) == 0

    assert ["validation", "model", "naive"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    recipe = yaml.safe_load(Path("runs/people/recipe.yaml").read_text())
    assert recipe["trainer"]["max_epochs"] == fast_epochs(96)
    assert recipe["trainer"]["callbacks"][0]["class_path"] == "tabvision.callbacks.OneCycle"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--validation", "0.3"], "with --preset best every row is held out once, got --validation 0.3 as well"),
        (["--calibration", "0.1"], "which takes no run with --preset best. Leave --calibration out"),
        (["--user", "job", "--item", "age"], "--preset is for a table, and people.csv is taken as ratings"),
        (["--devices", "0"], "tabvision train: "),
    ],
)
def test_what_the_best_preset_cannot_do_is_refused_before_anything_is_written(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BEST, *words]) == 2

    assert sentence in capsys.readouterr().err
    assert not Path("runs/people").exists()


def curved(rows: int, seed: int) -> pd.DataFrame:
    """Numbers with noise."""
    draw = np.random.default_rng(seed)
    x, job = draw.normal(size=rows), draw.choice(["cook", "nurse"], rows)
    return pd.DataFrame(
        {"x": x, "job": job, "pay": 50 + 9 * np.sin(2 * x) + 4 * (job == "cook") + draw.normal(size=rows) * 3}
    )


@pytest.mark.parametrize(
    "words", [[], ["--preset", "best", "--epochs", "2"], ["--validation", "0.3", "--epochs", "2"]], ids=str
)
def test_intervals_of_the_fit_itself_hold_their_share_of_new_rows(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    curved(500 if words else 300, 0).to_csv("pay.csv", index=False)

    assert (
        main(
            ["train", "pay.csv", "--target", "pay", "--accelerator", "cpu", "--no-report", "--intervals", "0.8", *words]
        )
        == 0
    )

    assert "Intervals that cover 0.8 of new rows: the prediction ± " in capsys.readouterr().out
    new = curved(2_000, 1)
    answers = Predictor("runs/pay/best.ckpt").predict(new)
    inside = new["pay"].between(answers["interval_low"], answers["interval_high"]).mean()
    assert 0.75 < inside < 0.89
    held_out = pd.read_csv("runs/pay/predictions.csv")
    half = (answers["interval_high"] - answers["interval_low"])[0] / 2
    assert 0.8 <= ((held_out["pay"] - held_out["prediction"]).abs() <= half + 1e-4).mean() < 0.82


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--intervals", "0.9"], "tabvision train: --intervals is for numbers, and the target is binary."),
        (
            ["--target", "age", "--ignore", "paid", "--intervals", "0.999"],
            "intervals of coverage 0.999 need at least 999 rows",
        ),
    ],
    ids=["classes", "few rows"],
)
def test_intervals_that_cannot_be_had_are_refused_before_the_fit(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = [] if "--target" in words else ["--target", "paid"]

    assert main(["train", "people.csv", *target, *words]) == 2

    assert sentence in capsys.readouterr().err
    assert not Path("runs/people").exists()


def interrupted(*words: str, until: str) -> tuple[int | None, str]:
    """The exit status and the last error of a command that Ctrl-C ends when a file is there."""
    command = Forked(main, words)
    while command.process.is_alive() and not list(Path().glob(until)):
        time.sleep(0.05)
    status, _, errors = command.interrupt().ended()
    return status, errors.splitlines()[-1]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.skipif(sys.platform == "win32", reason="a folder is locked on POSIX systems")
def test_a_folder_into_which_another_run_writes_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    (folder / "run").mkdir()
    (folder / "run" / "recipe.yaml").write_text("of the other run")
    held = os.open(folder / "run", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)

    status = main([*TRAIN, "--out", "run", "--overwrite"])

    os.close(held)
    assert status == 2
    assert "another run is writing to run. Wait until it ends" in capsys.readouterr().err
    assert (folder / "run" / "recipe.yaml").read_text() == "of the other run"

    held = os.open(folder / "run", os.O_RDONLY)

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            if "metrics.json" in text:  # among the last lines of a run
                with pytest.raises(BlockingIOError):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                looks.append(text)
            return super().write(text)

    looks: list[str] = []
    with contextlib.redirect_stdout(Output()):
        assert main([*TRAIN, "--out", "run", "--overwrite"]) == 0
    os.close(held)
    assert len(looks) == 1


def test_a_fit_that_diverged_is_a_sentence_and_no_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="the training loss is"):
        status = main([*TRAIN, "--epochs", "1", "--lr", "1e30", "--out", "far"])

    assert status == 2
    assert "are not finite, as after training that diverged" in capsys.readouterr().err
    assert not (folder / "far" / "predictions.csv").exists()


def test_ctrl_c_names_the_best_network_so_far_and_leaves_whole_files(subtests: pytest.Subtests) -> None:
    words = [*TRAIN, "--epochs", "100000"]

    with subtests.test("train"):
        status, error = interrupted(*words, until="runs/people/best.ckpt")

        best = "runs/people/best.ckpt"
        sentence = f"tabvision: stopped; the best network so far is {best}; continue with --resume runs/people"
        assert (status, error) == (130, sentence)
        metrics = pd.read_csv("runs/people/metrics.csv")
        assert metrics["epoch"].is_unique

    with subtests.test("fit"):
        status, error = interrupted("fit", "--config", "runs/people/recipe.yaml", until="runs/**/checkpoints/best.ckpt")

        best = "runs/people/version_0/checkpoints/best.ckpt"
        assert (status, error) == (130, f"tabvision: stopped; the best network so far is {best}")


@pytest.mark.usefixtures("run")
def test_a_closed_pipe_ends_a_command_quietly_and_leaves_whole_results(subtests: pytest.Subtests) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as after `| head` has read its lines
    with os.fdopen(writer, "w") as pipe:
        for words in (
            ["fit", "--config", "runs/people/recipe.yaml"],
            ["predict", "runs/people/best.ckpt", "people.csv", "--out", "answers.csv"],
        ):
            with subtests.test(" ".join(words)):
                status, _, errors = Forked(main, words, stdout=pipe).ended()
                assert (status, errors) == (141, "")
        command = [sys.executable, "-W", "ignore", "-m", "tabvision", "--help"]  # Python itself writes at its end
        environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": ""}
        done = subprocess.run(command, env=environment, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")
    assert len(pd.read_csv("answers.csv")) == len(people())


def test_letters_that_the_output_cannot_encode_do_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    people().rename(columns={"job": "職業"}).to_csv("people.csv", index=False)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))

    assert main(TRAIN) == 0

    assert b"\\u8077\\u696d" in written.getvalue()
    assert Path("runs/people/best.ckpt").exists()


@pytest.mark.usefixtures("run")
def test_a_fit_says_where_its_checkpoint_is(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert main(["fit", "--config", "runs/people/recipe.yaml", "--trainer.enable_progress_bar=false"]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == "runs/people/version_0/checkpoints/best.ckpt was saved"


@pytest.mark.usefixtures("run")
def test_a_recipe_without_validation_rows_is_refused_if_they_choose_its_checkpoint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = yaml.safe_load(Path("runs/people/recipe.yaml").read_text(encoding="utf-8"))
    recipe["data"]["init_args"]["split"] = None
    recipe["trainer"]["enable_progress_bar"] = False
    Path("whole.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "whole.yaml"]) == 2
    assert "monitors 'val/loss', but the data has no validation rows" in capsys.readouterr().err

    recipe["trainer"]["callbacks"][-3]["init_args"]["monitor"] = "train/loss"
    Path("whole.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["fit", "--config", "whole.yaml"]) == 0
    assert capsys.readouterr().out.endswith("best.ckpt was saved\n")


def test_ctrl_c_ends_the_best_preset_like_any_other_fit() -> None:
    status, error = interrupted(*BEST, "--epochs", "100000", until="runs/people")

    assert (status, error) == (130, "tabvision: stopped; no network was saved yet")


@pytest.mark.slow
def test_two_processes_write_the_answers_of_all_rows() -> None:
    nothing_to_learn().to_csv("people.csv", index=False)
    command = [sys.executable, "-m", "tabvision", *BEST, "--devices", "2", "--epochs", "2", "--no-report"]

    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 0, done.stderr[-2000:]
    assert ["out-of-fold", "model", "naive"] in [line.split() for line in done.stdout.splitlines()]
    assert sorted(pd.read_csv("runs/people/predictions.csv")["row"]) == [*range(80)]


def test_a_target_that_is_zero_in_nearly_every_row_is_fitted_without_leaps_and_what_is_worse_than_naive_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1_500, 3))
    happens = draw.random(1_500) < 1 / (1 + np.exp(5 - 1.2 * x[:, 0]))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["cost"] = np.where(happens, np.exp(8 + x[:, 1] + 1.5 * draw.normal(size=1_500)).round(2), 0.0)
    frame.to_csv("costs.csv", index=False)

    assert main(["train", "costs.csv", "--target", "cost", "--accelerator", "cpu", "--no-report"]) == 0

    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    measured = {
        row[0]: [float(each) for each in row[1:]] for row in rows if row[:1] and row[0] in ("loss", "mae", "r2", "rmse")
    }
    worse = sorted(
        name for name, (model, naive) in measured.items() if (model < naive if name == "r2" else model > naive)
    )
    assert measured.keys() == {"loss", "mae", "r2", "rmse"}
    assert f"Worse than the naive prediction, which ignores the input: {', '.join(worse)}." in out or not worse
    losses = pd.read_csv("runs/costs/metrics.csv")["oof/loss"].dropna().to_numpy()
    assert len(losses) >= 10
    assert (losses[2:] < 10 * losses[1:-1]).all()
