"""Facts about a run, and whole files or none."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import common


def test_the_spread_is_the_sample_standard_deviation() -> None:
    assert common.spread_of([0.5]) == {"mean": 0.5, "spread": 0.0, "values": [0.5]}
    assert common.spread_of([1.0, 2.0, 3.0])["spread"] == 1.0


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert set(common.versions(["torch", "no-such-package"])) == {"python", "torch"}


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    common.write_json(tmp_path / "a.json", {"a": 1})

    with pytest.raises(TypeError):
        common.write_json(tmp_path / "a.json", {"a": object()})

    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_changed_files_make_a_commit_dirty_but_written_results_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    (tmp_path / "code.py").write_text("1\n", encoding="utf-8")
    git(tmp_path, "init")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "a")

    common.write_json(tmp_path / "models" / "flights" / "result.json", {})
    common.write_json(tmp_path / "benchmarks" / "results" / "quality.json", {})
    clean = common.commit()
    (tmp_path / "code.py").write_text("2\n", encoding="utf-8")
    changed = common.commit()

    assert clean is not None
    assert changed is not None
    assert not clean["dirty"]
    assert changed["dirty"]


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert common.commit() is None
