"""Recipes as a user runs them: quiet where all is well, and one sentence where something is wrong."""

import re
import warnings
from pathlib import Path

import pytest
import yaml

from tabvision.cli import main
from tabvision.cli.lightning_cli import make_cli
from tabvision.errors import UnknownNameError
from tabvision.modules import TabularModule
from tests.made.tables import people

RECIPE = "recipe.yaml"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table and a recipe in it."""
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    recipe = {
        "seed_everything": 0,
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
        "model": {"class_path": "tabvision.modules.TabularModule"},
        "data": {
            "class_path": "tabvision.data.TabularDataModule",
            "init_args": {"source": "people.csv", "target": "paid"},
        },
    }
    Path(RECIPE).write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_a_recipe_trains_without_a_remark_of_the_depths(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True) as remarks:
        assert main(["fit", "--config", RECIPE, "--trainer.enable_progress_bar=false"]) == 0

    assert [str(remark.message) for remark in remarks if issubclass(remark.category, UserWarning)] == []
    said = capfd.readouterr()
    assert "rows: train 96, val 24" in said.out
    assert said.err == ""
    assert {record.name for record in caplog.records} == {"tabvision"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--config", "nope.yaml"], 'recipe: Parser key "config": File does not exist'),
        (["--config", "people.csv"], "recipe: Unexpected config. Pass --config with a recipe such as"),
        ([], "recipe: the following arguments are required"),
        (["--config", RECIPE, "--model.init_args.lr", "0"], "TabularModule: a learning rate must be above zero"),
        (["--config", RECIPE, "--model.init_args.optimizer", "adamm"], "no optimizer named 'adamm'. Choices: adam, a"),
        (["--config", RECIPE, "--data.init_args.target", "payd"], "'payd' (did you mean 'paid'?)"),
        (["--config", RECIPE, "--data.init_args.source", "peple.csv"], "Did you mean 'people.csv'?"),
        (["--config", RECIPE, "--data.init_args.sourc", "x"], "sourc"),
        (["--config", RECIPE, "--trainer.accelerator", "warp"], "recipe: You selected an invalid accelerator name"),
        (["--config", RECIPE, "--trainer.devices", "0"], "recipe: `Trainer(devices="),
        (
            ["--config", RECIPE, "--trainer.max_epochs", "x"],
            "recipe: trainer.max_epochs must be a whole number, got x. Correct it",
        ),
        (["--config", RECIPE, "--trainer.precision", "x"], "'16-mixed'"),
        (
            ["--config", RECIPE, "--data.init_args.batch_size", "x"],
            "data.batch_size must be a whole number, got x. Cor",
        ),
        (["--config", RECIPE, "--model", "pytorch_lightning.LightningModule"], "recipe: No `training_step()` method"),
        (["--config", RECIPE, "--seed_everything", "-1"], "recipe: -1 is not in bounds"),
        (["--config", RECIPE, "--ckpt_path", "best.pt"], "recipe: no checkpoint at 'best.pt'. Check --ckpt_path"),
        (["--config", RECIPE, "--model", "tabvision.modules.Tabular"], "has no attribute 'Tabular'"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *words]) == 2

    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert len(error) < 700


def test_a_table_is_not_repeated_where_a_recipe_is_expected(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", "people.csv"])

    assert "nurse" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--config", "nope.yaml"], ["--config", RECIPE, "--plot", "curve.xyz"]])
def test_lr_find_refuses_before_the_long_work(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-find", *words]) == 2
    assert capsys.readouterr().out == ""


def test_a_mistake_in_a_users_own_class_keeps_its_stack(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.syspath_prepend(folder)
    Path("mine.py").write_text(
        "import tabvision.data\n\n\nclass Data(tabvision.data.TabularDataModule):\n"
        "    def __init__(self):\n        raise ZeroDivisionError('of their own')\n"
    )
    recipe = yaml.safe_load(Path(RECIPE).read_text())
    recipe["data"] = {"class_path": "mine.Data"}

    with pytest.raises(ValueError, match="of their own") as caught:
        make_cli(recipe, run=False)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_recipe_that_monitors_folds_which_no_member_leaves_out_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = yaml.safe_load(Path(RECIPE).read_text())
    keeper = {"monitor": "oof/loss", "mode": "min"}
    recipe["trainer"]["enable_checkpointing"] = True
    recipe["trainer"]["callbacks"] = [
        {"class_path": "tabvision.callbacks.FitTable"},
        {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": keeper},
    ]
    recipe["model"]["init_args"] = {"net": "mlp"}
    Path(RECIPE).write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", RECIPE]) == 2

    assert "monitors 'oof/loss', but no member of this network leaves out a fold" in capsys.readouterr().err


def test_a_recipe_without_a_logger_writes_into_a_folder_of_its_name_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = {"class_path": "tabvision.data.TabularDataModule", "init_args": {"source": "people.csv", "target": "paid"}}
    recipe = {
        "model": "tabvision.modules.TabularModule",
        "data": data,
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    Path("small.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "small.yaml"]) == 0

    told = capsys.readouterr()
    assert "epoch   1  train/loss" in told.out
    assert "runs/small/version_0/metrics.csv has the metrics" in told.out
    assert not re.search(r"[\r\x1b]", told.out + told.err)
    assert not Path("lightning_logs").exists()

    Path("flights").mkdir()
    Path("small.yaml").rename("flights/recipe.yaml")
    assert main(["fit", "--config", "flights/recipe.yaml"]) == 0
    assert "runs/flights/version_0/metrics.csv has the metrics" in capsys.readouterr().out


def test_the_checkpoint_of_a_recipe_is_loaded_as_any_other() -> None:
    assert main(["fit", "--config", RECIPE, "--trainer.enable_checkpointing=true"]) == 0
    (path,) = Path("checkpoints").glob("*.ckpt")

    module = TabularModule.load_from_checkpoint(path)

    assert module.task.num_outputs == 1
    with pytest.raises(UnknownNameError, match="'width'"):
        TabularModule.load_from_checkpoint(path, width=[8])
