"""Recipes of somebody else: with `--safe` nothing is imported or written but what is listed, and no file is shown."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml
from typing_extensions import override

from tabvision.cli import main, safe
from tabvision.cli.safe import check_writes_here, listed_classes, search_path
from tabvision.errors import BadValueError
from tests.made.sweeps import slow_but
from tests.made.tables import people

RECIPE: dict[str, Any] = {
    "trainer": {
        "max_epochs": 1,
        "log_every_n_steps": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "logger": {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "runs"}},
        "callbacks": [
            {"class_path": "tabvision.callbacks.OneCycle"},
            {"class_path": "ModelCheckpoint", "init_args": {"filename": "best", "monitor": "val/loss"}},
        ],
    },
    "model": {"class_path": "tabvision.modules.TabularModule", "init_args": {"widths": [8]}},
    "data": {
        "class_path": "tabvision.data.TabularDataModule",
        "init_args": {"source": "people.csv", "target": "paid", "split": {"class_path": "tabvision.data.RandomSplit"}},
    },
}
SECRETS = ["secret: 1\nroot:x:0\nsecret\n", "secret and more\nsecrets\n", "secret: [unclosed {\n", "{secret: secret}\n"]


class Sought(MetaPathFinder):
    """Counts the imports of modules by their name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @override
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        self.names.append(fullname)


@pytest.fixture
def sought(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sought]:
    hook = Sought()
    monkeypatch.setattr(sys, "meta_path", [hook, *sys.meta_path])
    yield hook
    for name in [name for name in sys.modules if name.startswith("own_module")]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory on the search path, with a table and a module that leaves a trace where it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    people().to_csv("people.csv", index=False)
    Path("own_module.py").write_text(
        "import pathlib, pytorch_lightning as pl\npathlib.Path('ran').touch()\n"
        "class M(pl.LightningModule): pass\nclass C(pl.Callback): pass\ndef f(*a): pass\n"
    )


def write(**changes: object) -> None:
    """The recipe with other values at dotted keys."""
    recipe = copy.deepcopy(RECIPE)
    for key, value in changes.items():
        *parents, last = key.split(".")
        found = recipe
        for parent in parents:
            found = found[parent]
        found[last] = value
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))


@pytest.mark.slow
def test_a_recipe_of_listed_parts_trains_in_safe_mode(capsys: pytest.CaptureFixture[str]) -> None:
    write()

    assert main(["fit", "--safe", "--config", "recipe.yaml"]) == 0
    assert list(Path("runs").rglob("best.ckpt"))
    assert main(["lr-find", "--safe", "--config", "recipe.yaml"]) == 0
    assert "suggest" not in capsys.readouterr().err


@pytest.mark.parametrize("command", slow_but(["fit", "lr-find"], ["fit", "validate", "test", "lr-find"]))
def test_safe_mode_imports_nothing_of_the_working_folder(command: str, sought: Sought) -> None:
    write(model={"class_path": "own_module.M"})

    assert main([command, "--safe", "--config", "recipe.yaml"]) == 2

    assert "own_module" not in sought.names
    assert not Path("ran").exists()
    write(**{"trainer.callbacks": [{"class_path": "own_module.C"}]})
    main([command, "--config", "recipe.yaml", *([] if command == "lr-find" else ["--trainer.fast_dev_run=1"])])
    assert Path("ran").exists(), "without --safe the recipe is a program"


UNLISTED = [
    ("data", "own_module.M"),
    ("trainer.callbacks", "own_module.C"),
    ("trainer.logger", "own_module.C"),
    ("trainer.strategy", "own_module.C"),
    ("trainer.profiler", "own_module.C"),
    ("trainer.plugins", "own_module.C"),
    ("model.init_args.optimizer", "own_module.f"),
    ("data.init_args.split", "own_module.f"),
    ("model", "tabvision.modules.TabularModule.load_from_checkpoint"),
    ("model", "tabvision.modules.supervised.SupervisedModule.load_from_checkpoint"),
    ("model", "tabvision.inference.export"),
    ("model", "os.mkdir"),
    ("model", "pytorch_lightning.callbacks.model_checkpoint.os.mkdir"),
    ("trainer.callbacks", "pytorch_lightning.callbacks.LambdaCallback"),
    ("trainer.profiler", "pytorch_lightning.profilers.AdvancedProfiler"),
    ("trainer.logger", "pytorch_lightning.loggers.WandbLogger"),
]

# One for each way in which the recipe is read; the others differ in the name alone.
QUICK = [*UNLISTED[:2], *UNLISTED[5:9], UNLISTED[11], UNLISTED[13]]


@pytest.mark.parametrize(("key", "named"), slow_but(QUICK, UNLISTED))
def test_safe_mode_builds_nothing_that_is_not_listed(
    key: str, named: str, sought: Sought, capsys: pytest.CaptureFixture[str]
) -> None:
    write(**{key: [{"class_path": named}] if key.endswith("s") else {"class_path": named}})
    assert main(["fit", "--safe", "--config", "recipe.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not {"own_module", "pytorch_lightning.loggers.wandb"}.intersection(sought.names) - set(sys.modules)
    assert not Path("ran").exists()


def test_what_is_refused_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write(model={"class_path": "own_module.M"})

    assert main(["fit", "--safe", "--config", "recipe.yaml"]) == 2
    assert capsys.readouterr().err == (
        "tabvision: recipe: own_module.M is not on the list of what --safe builds, and was not imported. "
        "If you trust the recipe, run it without --safe.\n"
    )


def test_what_runs_commands_is_refused_in_every_mode(capsys: pytest.CaptureFixture[str]) -> None:
    write(model={"class_path": "os.mkdir", "init_args": {"path": "ran"}})

    assert main(["fit", "--config", "recipe.yaml"]) == 2
    assert "recipe: os.mkdir may run commands, and was not imported. Leave it out." in capsys.readouterr().err
    assert not Path("ran").exists()


@pytest.mark.parametrize("text", ["/tmp/x", "../x", "a/../../x", "~/x", "s3://bucket/x", "file:///tmp/x", "C:\\x"])
def test_a_path_out_of_the_working_folder_is_seen(text: str) -> None:
    with pytest.raises(BadValueError, match="--safe writes only inside the working folder, got "):
        check_writes_here({"callbacks": [{"init_args": {"filename": text}}]}, {})
    check_writes_here(
        {"default_root_dir": "runs/a..b", "max_epochs": 1, "logger": None}, {"init_args": {"cache": None}}
    )


def test_safe_mode_writes_below_the_working_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    places = {
        "trainer.default_root_dir": "/tmp/x",
        "trainer.logger": {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "/tmp/x"}},
        "data": {"class_path": "tabvision.data.ImageDataModule", "init_args": {"source": "photos", "cache": "/tmp/x"}},
        "data.init_args.prepared": "/tmp/x",
    }
    for key, value in places.items():
        write(**{key: value})
        assert main(["fit", "--safe", "--config", "recipe.yaml"]) == 2
        assert "--safe writes only inside the working folder, got '/tmp/x'" in capsys.readouterr().err


def test_safe_mode_takes_the_working_folder_off_the_search_path(tmp_path: Path) -> None:
    sys.path.insert(0, "")
    try:
        with search_path(safe=True):
            assert not {"", str(tmp_path)}.intersection(sys.path)
        assert sys.path[0] == ""
    finally:
        sys.path.remove("")


def test_a_folder_that_names_its_modules_as_libraries_runs_none_in_safe_mode(tmp_path: Path) -> None:
    write(model="nothing")
    Path("installed").mkdir()
    for name in ("torch", "yaml", "jsonargparse", "pandas", "pytorch_lightning"):
        Path(f"{name}.py").write_text("open('ran', 'w').close()\n")
        Path("installed", f"{name}.py").write_text("raise SystemExit(5)\n")  # to load the libraries takes seconds
    command = [sys.executable, "-m", "tabvision", "fit", "--safe", "--config", "recipe.yaml"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'installed'}{os.pathsep}{Path(__file__).parents[2]}"}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 5, done.stderr
    assert not Path("ran").exists()


def test_every_setting_of_listed_parts_that_takes_a_path_is_known_to_write_or_to_read() -> None:
    kinds = [kind for name, kind in listed_classes().items() if name.startswith("tabvision.")]
    paths = {
        each.name for kind in kinds for each in signature(kind).parameters.values() if "Path" in str(each.annotation)
    }

    written_by_callbacks, read = {"folder"}, {"root", "weights"}
    assert paths == {*safe._WRITTEN} | written_by_callbacks | read


def test_the_list_is_of_classes_that_are_there() -> None:
    listed = listed_classes()

    assert {"tabvision.data.TabularDataModule", "torch.optim.AdamW", "torch.optim.adamw.AdamW"} <= listed.keys()
    assert not any(name.startswith(("tabvision.inference", "tabvision.cli")) for name in listed)


@pytest.mark.parametrize("content", slow_but(SECRETS[1:2], SECRETS))
def test_no_file_that_a_value_names_is_shown(
    content: str, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    Path("file").write_text(content)
    keys = ["model", "data", "trainer", "ckpt_path", "seed_everything"]
    keys += [f"trainer.{name}" for name in ("callbacks", "logger", "strategy", "profiler", "plugins", "max_epochs")]
    keys += [
        "model.init_args",
        "model.init_args.lr",
        "model.init_args.schema",
        "data.init_args",
        "data.init_args.split",
    ]
    for key in keys:
        with subtests.test(key=key):
            write(**{key: ["file"] if key.endswith("plugins") else "file"})
            main(["fit", "--config", "recipe.yaml"])
            said = capsys.readouterr()
            assert "secret" not in said.err + said.out


@pytest.mark.parametrize("command", ["fit", "lr-find"])
def test_a_recipe_that_is_not_utf_8_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_bytes("model: café".encode("latin-1"))

    assert main([command, "--config", "recipe.yaml"]) == 2
    assert "recipe: the recipe is not UTF-8 text (byte 0xe9 at 10). Save it as UTF-8." in capsys.readouterr().err


def test_help_says_that_a_recipe_is_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["fit", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        said = " ".join(capsys.readouterr().out.split())
        assert "recipe is a program" in said
        assert "--safe" in said
