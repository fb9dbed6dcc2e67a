"""Runs are set beside each other by what their folders say, and by nothing that a hostile folder might do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.errors import BadValueError
from tabvision.report import compare_runs, write_comparison
from tests.report.test_write import EVIL, Elements


def write_run(folder: Path, *, target: str = "paid", epochs: int = 4, seed: int = 0, **metrics: float) -> Path:
    """A run's folder as `tabvision train` leaves it, without its model."""
    folder.mkdir(parents=True)
    number = np.arange(epochs)
    losses = {"val/loss": (number - 2) ** 2 + 1.0, "val/f1": number / 10, "train/loss": 1 / (number + 1)}
    pd.DataFrame({"epoch": number, "step": number, **losses}).to_csv(folder / "metrics.csv", index=False)
    data = {"class_path": "tabvision.data.TabularDataModule", "init_args": {"source": "in/people.csv", "seed": seed}}
    recipe = {
        "seed_everything": seed,
        "trainer": {"max_epochs": epochs, "callbacks": [{"class_path": "tabvision.callbacks.OneCycle"}]},
        "model": {"class_path": "tabvision.modules.TabularModule", "init_args": {}},
        "data": data,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    if metrics:
        values = {name: {"model": value, "naive": None} for name, value in metrics.items()}
        told = {"data": "people.csv", "target": [target], "seconds": 1.5, "metrics": {"validation": values}}
        (folder / "metrics.json").write_text(json.dumps(told))
    return folder


def test_each_run_is_a_row_and_the_best_value_of_each_metric_is_known(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", loss=0.5, f1=0.8, profit=3),
        write_run(tmp_path / "b", loss=0.4, f1=0.8, profit=2),
    ]

    found = compare_runs(runs)

    assert found["run"].tolist() == ["a", "b"]
    assert found[["data", "epochs", "best epoch", "seconds"]].values.tolist() == [["people.csv", 4, 3, 1.5]] * 2
    assert found["loss"].tolist() == [0.5, 0.4]
    assert found.attrs["best"] == {"f1": ["a", "b"], "loss": ["b"]}  # of an own metric nobody knows which is better
    assert found.attrs["notes"] == []


def test_a_run_without_final_metrics_is_measured_at_its_best_epoch(tmp_path: Path) -> None:
    found = compare_runs([write_run(tmp_path / "a")])

    assert found[["loss", "f1", "network"]].values.tolist() == [[1.0, 0.2, "TabularModule"]]


def test_what_holds_no_run_is_left_out_in_a_sentence(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "best.ckpt").touch()
    broken = write_run(tmp_path / "broken", loss=0.1)
    (broken / "metrics.json").write_text("[1]")
    large = write_run(tmp_path / "large", loss=0.1)
    (large / "recipe.yaml").write_text("# " + "x" * (1 << 20))
    (tmp_path / "empty").mkdir()

    found = compare_runs([write_run(tmp_path / "a", f1=1), bag, broken, large, tmp_path / "empty", tmp_path / "none"])

    assert found["run"].tolist() == ["a"]
    assert found.attrs["notes"] == [
        "bag holds a model without its metrics; tabvision evaluate measures it on labeled rows.",
        "broken holds files that no run wrote (AttributeError).",
        "large holds a recipe.yaml of more than 1,048,576 bytes, which no run wrote.",
        "empty holds no run: neither metrics.json nor metrics.csv.",
        "none is not a folder.",
    ]
    with pytest.raises(BadValueError, match="there is no run to compare: empty holds no run"):
        compare_runs([tmp_path / "empty"])


def test_runs_of_different_targets_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", f1=1), write_run(tmp_path / "b", target="price", mae=1)]

    with pytest.raises(
        BadValueError, match=r"compare_runs: the runs predict different targets: paid \(a\), price \(b\)"
    ):
        compare_runs(runs)


def test_runs_measured_on_different_rows_are_told_apart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", f1=1), write_run(tmp_path / "b", f1=1, seed=5)]
    for _ in range(2):
        (note,) = compare_runs(runs).attrs["notes"]
        assert note.startswith("The runs were not measured on the same rows, since they differ in seed:")
        page = write_comparison(tmp_path / "c.html", runs, overwrite=True).read_text(encoding="utf-8")
        assert "have the highest f1 (1); but they were not measured on the same rows." in page
        if (recipe := tmp_path / "b" / "recipe.yaml").exists():  # then as if begun with a trained network
            recipe.rename(recipe.with_name("resume.yaml"))


def test_runs_of_one_name_are_numbered(tmp_path: Path) -> None:
    found = compare_runs([write_run(tmp_path / name / "run", f1=1) for name in ("x", "y")])

    assert found["run"].tolist() == ["run", "run (2)"]


def test_the_page_draws_the_histories_and_lists_the_settings_that_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "in" / "a", f1=0.5), write_run(tmp_path / "in" / "b", f1=0.7, epochs=6)]

    text = write_comparison(tmp_path / "c.html", runs).read_text(encoding="utf-8")

    elements = Elements(text)
    assert [tag for tag, _ in elements.found].count("svg") == 1
    assert all(label in text for label in ("a val", "b val", "trainer.max_epochs", "<strong>0.7</strong>"))
    assert "Of 2 runs, b has the highest f1 (0.7)." in elements.text
    head = text[text.index("The runs; the best value") :]
    assert head.index(">f1</th>") < head.index(">network</th>")  # the metrics are seen without scrolling
    assert "in/" not in text  # no path, only names
    assert str(tmp_path) not in text
    with pytest.raises(BadValueError, match=r"write_comparison: .* is a file already"):
        write_comparison(tmp_path / "c.html", runs)


def test_one_run_without_a_history_has_its_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", f1=0.5)
    for name in ("metrics.csv", "recipe.yaml"):
        (run / name).unlink()

    assert "1 run." in Elements(write_comparison(tmp_path / "c.html", [run]).read_text(encoding="utf-8")).text


def test_what_a_hostile_folder_says_is_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "<b>x", f1=0.5)
    other = write_run(tmp_path / "y", f1=0.5)
    recipe: Any = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["model"]["init_args"] = {EVIL: EVIL}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    told = json.loads((run / "metrics.json").read_text())
    told["data"], told["network"], told["metrics"]["validation"][EVIL] = EVIL, EVIL, {"model": 1.0}
    (run / "metrics.json").write_text(json.dumps(told))
    pd.read_csv(run / "metrics.csv").assign(**{f"val/{EVIL}": 1.0}).to_csv(run / "metrics.csv", index=False)

    text = write_comparison(tmp_path / "c.html", [run, other]).read_text(encoding="utf-8")

    assert not {"script", "img", "b"} & {tag for tag, _ in Elements(text).found}


@pytest.mark.parametrize(
    "recipe",
    [
        "a: &a [*a]",
        "l0: &l0 [x]\n" + "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 20)),
        "!!python/object/apply:os.system ['false']",
        "data: [",
        "5",
    ],
)
def test_a_hostile_recipe_neither_runs_nor_hangs(recipe: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", f1=0.5)
    (run / "recipe.yaml").write_text(recipe)

    write_comparison(tmp_path / "c.html", [run, write_run(tmp_path / "b", f1=0.5)])
