"""The measuring tool on a tiny recipe, the way a user calls it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.measure_recipe import describe_data, main, measure, parse, render_card, train_once

RECIPE = """\
trainer: {max_epochs: 1, accelerator: cpu, devices: 1, logger: false, enable_model_summary: false, log_every_n_steps: 1}
model:
  class_path: tabvision.modules.TabularModule
  init_args: {widths: [4]}
data:
  class_path: tabvision.data.TabularDataModule
  init_args: {source: SOURCE, target: paid, batch_size: 32}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    age = draw.integers(20, 60, 200)
    frame = pd.DataFrame(
        {"age": age, "job": draw.choice(["cook", "nurse"], 200), "paid": np.where(age > 40, "well", "badly")}
    )
    frame.to_csv(tmp_path / "people.csv", index=False)
    folder = tmp_path / "people"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.replace("SOURCE", str(tmp_path / "people.csv")), encoding="utf-8")
    return folder


@pytest.fixture
def _same_threads() -> Iterator[None]:
    """`train_once` sets the number of threads of its process, which here is that of all tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_same_threads")
def test_a_run_measures_metrics_time_and_memory(recipe: Path) -> None:
    run = train_once(recipe, 0, 1, ["--trainer.enable_progress_bar=false"])

    assert run["epochs"] == 1
    assert {"val/loss", "val/accuracy", "val/auroc"} <= set(run["metrics"])
    assert run["baseline"]["val/auroc"] == 0.5
    assert run["data"]["rows"] == {"train": 160, "val": 40}
    assert run["training_rows_per_second"] == pytest.approx(160 / run["training_seconds"])
    assert run["total_seconds"] > run["training_seconds"] > 0
    assert run["peak_memory_mib"] > 50


@pytest.mark.usefixtures("_same_threads")
def test_the_same_seed_gives_the_same_figures_and_another_seed_others(recipe: Path) -> None:
    quiet = ["--trainer.enable_progress_bar=false"]
    first, again, other = (train_once(recipe, seed, 1, quiet)["metrics"] for seed in (0, 0, 1))

    assert first == again
    assert first != other


@pytest.mark.usefixtures("_same_threads")
def test_a_bag_learns_from_validation_rows_too_and_is_measured_on_test_rows(recipe: Path) -> None:
    text = (recipe / "recipe.yaml").read_text(encoding="utf-8")
    packed = text.replace("  init_args: {widths: [4]}\n", "").replace(
        "batch_size: 32", "batch_size: 32, split: [0.2, 0.2]"
    )
    (recipe / "recipe.yaml").write_text(packed, encoding="utf-8")

    run = train_once(recipe, 0, 1, (), bag=2)

    assert run["epochs"] == 2  # of two networks
    assert run["data"]["rows"] == {"train": 120, "val": 40, "test": 40}
    assert {"val/loss", "val/auroc", "test/loss", "test/auroc"} <= set(run["metrics"])
    assert run["baseline"].keys() == {"test/accuracy", "test/auroc", "test/f1"}


@pytest.mark.slow
def test_the_command_writes_result_and_card(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)

    main(["people", "--seeds", "3", "--threads", "1", "--data.init_args.batch_size=64"])

    result = json.loads((recipe / "result.json").read_text(encoding="utf-8"))
    assert result["seeds"] == [3]
    assert result["data"]["batch_size"] == 64
    assert result["metrics"]["val/loss"]["spread"] == 0
    assert {"torch", "pytorch-lightning", "pandas", "python", "tabvision"} <= set(result["versions"])
    assert str(recipe.parent) not in json.dumps(result)
    assert (recipe / "card.md").read_text(encoding="utf-8") == render_card("people", result)


def test_a_failing_run_stops_the_measurement(recipe: Path) -> None:
    with pytest.raises(SystemExit, match="seed 0 failed"):
        measure(recipe, [0], threads=1, extra=["nonsense"])


def test_what_is_no_recipe_or_option_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: Path
) -> None:
    with pytest.raises(SystemExit):
        parse([str(tmp_path)])
    assert "no recipe.yaml in" in capsys.readouterr().err

    with pytest.raises(SystemExit):
        parse([str(recipe), "--sedes", "1"])
    assert "not understood: --sedes 1" in capsys.readouterr().err


def test_a_datamodule_without_sections_describes_itself_in_a_line() -> None:
    class Plain:
        """Rows."""

    assert describe_data(Plain())["summary"] == "Rows."
    assert "source" not in describe_data(Plain())
