"""`tabvision compare`: runs of the command line, of a bag as well."""

from pathlib import Path

import pytest

from tabvision.cli import main
from tests.made.tables import TRAIN, people


def test_runs_are_printed_beside_each_other_and_written_as_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    assert main([*TRAIN, "--out", "runs/a"]) == 0
    assert main([*TRAIN, "--out", "runs/bag", "--preset", "best"]) == 0
    Path("runs/none").mkdir()
    capsys.readouterr()
    words = ["compare", "runs/a", "runs/bag", "runs/none", "--out", "page.html"]

    assert main(words) == 1  # of the folder without a run

    header, one, bag, *rest = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["run", "data", "network"]
    assert header.split()[-4:] == ["accuracy", "auroc", "f1", "loss"]
    assert one.split()[:3] == ["a", "people.csv", "TabularModule,"]
    assert "validation" in one
    assert bag.split()[:5] == ["bag", "people.csv", "5", "x", "TabularModule,"]
    assert "*" in one + bag
    assert rest[0] == "* the best of these runs"
    assert "none holds no run: neither metrics.json nor metrics.csv." in rest
    assert rest[-1] == "The runs and their histories: page.html"
    assert "Runs that predict paid" in Path("page.html").read_text(encoding="utf-8")

    assert main(words) == 2
    assert capsys.readouterr().err.startswith("tabvision compare: ")
    assert main(["compare", "runs/a", "runs/bag"]) == 0
    assert main(["compare", "runs/none"]) == 2
    assert "tabvision compare: there is no run to compare" in capsys.readouterr().err
