"""The checks for a GPU pass on a CPU in small, and what fails is recorded."""

import json
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_checks, on_gpu
from benchmarks.common import ROOT
from benchmarks.gpu_cases import NETS
from benchmarks.on_gpu import PACKAGES, SECONDS, failures, missing, run_case, to_markdown
from benchmarks.report import render
from tabvision import modules

FACTS: dict[str, Any] = {
    "machine": {"cpu": "Abacus", "cores": 1, "threads": 1, "system": "Linux"},
    "versions": {"python": "3"},
    "commit": None,
    "device": "cpu",
    "seconds": 9.0,
    "checks": {
        "fits": {"a": {"seconds": 1.0, "peak_mib": 10.0}, "b": {"seconds": 1.0, "error": "ValueError: no"}},
        "speed": {"rows": {"seconds": 2.0, "raw_per_second": 100.0, "tabvision_per_second": 90.0, "ratio": 0.9}},
    },
}


@pytest.mark.slow
def test_named_checks_pass_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "on_gpu.json"

    assert on_gpu.main(["--cpu", "--only", "augmentation,predictor", "--out", str(out)]) == 0

    result = json.loads(out.read_text(encoding="utf-8"))
    assert failures(result) == []
    assert {name: len(cases) for name, cases in result["checks"].items()} == {"augmentation": 7, "predictor": 6}
    assert all(facts["seconds"] > 0 and facts["peak_mib"] > 0 for facts in result["checks"]["predictor"].values())
    assert "| predictor | 6 of 6 |" in render({"on_gpu": result})


def test_a_check_that_fails_is_recorded_and_ends_in_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_checks, "KERNEL_GRAY_LEVELS", -1.0)
    monkeypatch.setattr(gpu_checks, "GRAY_LEVELS", 255.0)

    status = on_gpu.main(["--cpu", "--only", "augmentation", "--out", str(tmp_path / "out.json")])

    assert status == 1
    (sentence,) = failures(json.loads((tmp_path / "out.json").read_text(encoding="utf-8")))
    assert sentence.startswith("augmentation: warp: FailedCheckError: the largest difference is 0.00 gray levels")
    assert f"- {sentence}" in capsys.readouterr().out


def test_every_module_is_among_the_nets() -> None:
    assert {net.kind.__name__ for net in NETS.values()} == {*modules.__all__} - {"SupervisedModule"}


def test_every_check_has_its_seconds_and_all_end_within_eight_minutes() -> None:
    assert list(SECONDS) == list(gpu_checks.CHECKS)
    assert sum(SECONDS.values()) <= 450


@pytest.mark.skipif(sys.platform == "win32", reason="no timers")
def test_a_case_that_takes_too_long_is_stopped() -> None:
    def slow() -> dict[str, Any]:
        time.sleep(30)
        return {}

    facts = run_case(slow, 0.1)

    assert facts["error"] == "TimeoutError: it was not done within the 0 seconds left for its check"
    assert facts["seconds"] < 10


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(it for name in ("export", "pl") for it in project["optional-dependencies"][name]),
    ]
    bounds = {requirement.partition(",")[0] for requirement in needed}

    assert set(PACKAGES.values()) <= bounds
    assert missing(PACKAGES) == []


def test_an_older_or_absent_package_is_named_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu, "version", lambda name: {"torch": "2.5.1", "onnx": "1.17.0"}[name])

    absent = missing({"torch": "torch>=2.6", "onnx": "onnx>=1.17", "surely_absent": "surely-absent>=1"})

    assert absent == ["torch>=2.6", "surely-absent>=1"]


def test_without_a_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu, "PACKAGES", {"surely_absent": "surely-absent>=1"})

    with pytest.raises(SystemExit, match=r"1 of its packages are not installed\. Run: pip install 'surely-absent>=1'$"):
        on_gpu.main(["--cpu"])


def test_an_unknown_check_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        on_gpu.main(["--cpu", "--only", "fit"])

    assert "no check named fit; checks are fits, folded" in capsys.readouterr().err


def test_the_report_counts_the_cases_and_names_what_failed() -> None:
    text = to_markdown(FACTS)

    assert "| fits | 1 of 2 | 2 | 10 |" in text
    assert "- fits: b: ValueError: no" in text
    assert "| rows | 100 | 90 | 0.90 |" in text
