import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tabvision.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_recipe_is_listed_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.parent.name for path in ROOT.glob("models/*/recipe.yaml"))
    assert "flights             Will a flight be late?" in lines


def test_a_recipe_comes_with_its_plug_in_and_what_that_imports(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "get", "flights"]) == 0

    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {"flights.yaml", *(f"datamodules/{name}.py" for name in ("__init__", "flights", "splits"))}
    assert Path("flights.yaml").read_bytes() == (ROOT / "models/flights/recipe.yaml").read_bytes()
    assert Path("datamodules/flights.py").read_bytes() == (ROOT / "datamodules/flights.py").read_bytes()
    assert capsys.readouterr().out.splitlines()[-1] == "Train it: tabvision fit --config flights.yaml"


def test_files_that_are_there_stay_unless_overwrite_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "get", "flights", "--out", "mine/a.yaml"]) == 0
    assert main(["recipes", "get", "flights", "--out", "mine/a.yaml"]) == 0  # nothing is new
    Path("mine/a.yaml").write_text("mine")
    Path("mine/datamodules/__init__.py").write_text("mine")

    assert main(["recipes", "get", "flights", "--out", "mine/a.yaml"]) == 2
    assert "tabvision recipes: 'mine/a.yaml' is a file already" in capsys.readouterr().err
    assert Path("mine/a.yaml").read_text() == "mine"
    assert main(["recipes", "get", "flights", "--out", "mine/a.yaml", "--overwrite"]) == 0
    assert Path("mine/a.yaml").read_text() != "mine"
    assert Path("mine/datamodules/__init__.py").read_text() == "mine"


def test_an_unknown_recipe_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "get", "flihgts"]) == 2

    assert "no recipe named 'flihgts'. Choices: flights, " in capsys.readouterr().err


@pytest.mark.slow
def test_a_wheel_holds_the_recipes_and_plug_ins(folder: Path) -> None:
    source, installed = folder / "source", folder / "installed"
    for name in ("tabvision", "models", "datamodules"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=source, check=True, capture_output=True)
    shutil.unpack_archive(next((source / "dist").glob("*.tar.gz")), folder, filter="data")
    (unpacked,) = folder.glob("tabvision-*")
    with zipfile.ZipFile(next((source / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(installed)

    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from tabvision.cli import main; "
    code += "main(['recipes', 'get', 'planet'])"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, check=True, capture_output=True)

    assert (folder / "planet.yaml").read_bytes() == (ROOT / "models/planet/recipe.yaml").read_bytes()
    assert (folder / "datamodules/planet.py").is_file()
    assert (installed / "tabvision/recipes/datamodules/planet.py").is_file()
    assert not (installed / "datamodules").exists()
    assert (unpacked / "models/planet/recipe.yaml").is_file()
    assert (unpacked / "datamodules/planet.py").is_file()
