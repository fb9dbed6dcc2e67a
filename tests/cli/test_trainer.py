"""Checkpoints named by a recipe or beside it: nothing in them runs, nothing is kept, and what is refused is a sentence."""

import io
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import strategies

from tabvision.cli import main
from tabvision.cli.trainer import guard_checkpoints, tidied
from tabvision.errors import BadValueError
from tests.made.payload import Payload
from tests.made.servers import Page, serving
from tests.made.tables import people, quiet, small
from tests.made.trainers import quiet_trainer

RECIPE: dict[str, Any] = {
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_progress_bar": False},
    "model": {"class_path": "tabvision.modules.TabularModule", "init_args": {"widths": [8], "unknown_share": 0.0}},
    "data": {
        "class_path": "tabvision.data.TabularDataModule",
        "init_args": {"source": "people.csv", "target": "paid", "verbose": False, "batch_size": 8},
    },
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a fit saves."""
    folder = tmp_path_factory.mktemp("fit")
    people().to_csv(folder / "people.csv", index=False)
    data = quiet(folder / "people.csv")
    trainer = quiet_trainer(max_epochs=1, enable_checkpointing=True, default_root_dir=folder)
    trainer.fit(small(data), data)
    trainer.save_checkpoint(folder / "good.ckpt")
    return (folder / "good.ckpt").read_bytes()


@pytest.fixture(autouse=True)
def saved(checkpoint: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A fit's checkpoint `good.ckpt` beside its recipe, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    people().to_csv("people.csv", index=False)
    write_recipe()
    Path("good.ckpt").write_bytes(checkpoint)
    found: dict[str, Any] = torch.load("good.ckpt", weights_only=True)
    return found


def test_a_fit_that_sigterm_ends_has_not_succeeded(caplog: pytest.LogCaptureFixture) -> None:
    trainer: Any = quiet_trainer()
    trainer._signal_connector.received_sigterm = True

    with pytest.raises(SystemExit) as stopped, tidied(trainer, "; continue"):
        raise SystemExit  # as a Trainer does

    assert stopped.value.code == 128 + signal.SIGTERM
    assert caplog.messages[-1:] == ["stopped by SIGTERM; no network was saved yet"]


def write_recipe(**changes: Any) -> None:
    Path("recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **changes}))


def written(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.slow
def test_no_command_runs_a_payload_from_wherever_its_checkpoint_comes(
    saved: dict[str, Any], capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    content = written({**saved, "extra": Payload(Path("ran").absolute())})
    Path("bad.ckpt").write_bytes(content)
    with serving({"/bad.ckpt": Page(content)}) as server:
        places = [f"{server}/bad.ckpt", "bad.ckpt", f"file://{Path('bad.ckpt').absolute()}"]
        options = [[], ["--weights_only", "false"], ["--weights_only", "true"]]
        for number, command in enumerate(("fit", "validate", "test")):
            for place, words in zip(places, [*options[number:], *options[:number]], strict=True):  # each with each once
                with subtests.test(command=command, place=place, words=words):
                    named = ["--ckpt_path", place] if words else []
                    write_recipe(**({} if words else {"ckpt_path": place}))  # the recipe's own
                    assert main([command, "--config", "recipe.yaml", *named, *words]) == 2
                    assert capsys.readouterr().err.count("\n") == 1

    assert not Path("ran").exists()
    assert not Path("torch").exists(), "a copy stays in torch's cache"
    torch.load("bad.ckpt", weights_only=False)
    assert Path("ran").exists(), "the payload is harmless"


def test_a_payload_that_a_job_of_slurm_finds_does_not_run(
    saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "fit", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    Path("hpc_ckpt_1.ckpt").write_bytes(written({**saved, "extra": Payload(Path("ran").absolute())}))

    assert main(["fit", "--config", "recipe.yaml"]) == 2
    assert not Path("ran").exists()


def test_a_recipe_cannot_ask_for_a_checkpoint_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(weights_only=False, ckpt_path="good.ckpt")

    assert main(["fit", "--config", "recipe.yaml"]) == 2
    assert "recipe: a recipe must not set weights_only: false, which would run code" in capsys.readouterr().err


def test_a_good_checkpoint_is_resumed_from_a_path_and_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    with serving({"/good.ckpt": Page(Path("good.ckpt").read_bytes())}) as server:
        for command, place in {
            "validate": "good.ckpt",
            "test": f"{server}/good.ckpt",
            "fit": f"{server}/good.ckpt",
        }.items():
            words = ["--ckpt_path", place, *(["--data.init_args.test=people.csv"] if command == "test" else [])]
            assert main([command, "--config", "recipe.yaml", *words]) == 0

    assert "val/accuracy" in capsys.readouterr().out
    assert not Path("torch").exists()


def test_a_search_for_the_rate_restores_its_own_checkpoint() -> None:
    finder = {"class_path": "pytorch_lightning.callbacks.LearningRateFinder", "init_args": {"num_training_steps": 10}}
    write_recipe(trainer={**RECIPE["trainer"], "callbacks": [finder]})

    assert main(["fit", "--config", "recipe.yaml"]) == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loops": {}}, "the checkpoint does not fit this recipe (KeyError: 'fit_loop')"),
        ({"loops": {"fit_loop": 3}}, "the checkpoint does not fit this recipe (AttributeError"),
        ({"optimizer_states": [{"state": 1}]}, "the checkpoint does not fit this recipe (KeyError: 'param_groups')"),
        ({"state_dict": {}}, "the checkpoint does not fit this recipe (RuntimeError: Error(s) in loading state_dict"),
        ({"state_dict": 3}, "the checkpoint does not fit this recipe (TypeError"),
        ({"pytorch-lightning_version": "x"}, "the checkpoint does not fit this recipe (InvalidVersion"),
        ({"callbacks": []}, "the checkpoint does not fit this recipe"),
        ({"hyper_parameters": {"schema": 3}}, "TabularModule: "),
        ({"state_dict": {"a": torch.zeros(1).expand(10**9)}}, "holds a tensor of shape (1000000000,)"),
    ],
    ids=str,
)
def test_contents_that_do_not_fit_are_a_sentence(
    changes: dict[str, Any], sentence: str, saved: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.ckpt").write_bytes(written({**saved, **changes}))

    assert main(["fit", "--config", "recipe.yaml", "--ckpt_path", "other.ckpt"]) == 2

    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, torch.zeros(3)], ids=str)
def test_what_no_trainer_wrote_is_told(content: object, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.ckpt").write_bytes(written(content))

    assert main(["fit", "--config", "recipe.yaml", "--ckpt_path", "other.ckpt"]) == 2
    assert "recipe: other.ckpt was not written by a Trainer. Pass a" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["best_model_path", "kth_best_model_path", "last_model_path", "best_k_models"])
def test_a_checkpoint_removes_no_folder_by_its_address(
    key: str, saved: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    address = f"local://{tmp_path}/mine"
    ((name, state),) = saved["callbacks"].items()
    state[key] = {address: torch.tensor(1e9)} if key == "best_k_models" else address
    Path("other.ckpt").write_bytes(written({**saved, "callbacks": {name: state}}))

    assert main(["fit", "--config", "recipe.yaml", "--ckpt_path", "other.ckpt"]) == 2

    assert "would make the Trainer replace 'local://" in capsys.readouterr().err
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("strategy", ["FSDPStrategy", "ModelParallelStrategy"])
def test_a_strategy_that_opens_checkpoints_itself_resumes_none(strategy: str) -> None:
    trainer = quiet_trainer()
    trainer.strategy.__class__ = getattr(strategies, strategy)
    guard_checkpoints(trainer)

    with pytest.raises(BadValueError, match=f"recipe: {strategy} opens 'good.ckpt' in its own way, which may run"):
        trainer.strategy.load_checkpoint("good.ckpt")
