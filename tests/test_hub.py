import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tabvision.cli import evaluate as evaluate_command
from tabvision.cli import predict as predict_command
from tabvision.cli import push as push_command
from tabvision.errors import BadValueError, MissingFileError
from tabvision.hub import files_to_push, model_card, push
from tabvision.inference import Predictor
from tabvision.schema import Categorical, Continuous, Image, Schema, Target
from tabvision.serving.server import load
from tabvision.tasks import Binary
from tests.made import hostile
from tests.made.commands import run as run_command
from tests.made.hub import TOKEN, Hub, hub
from tests.made.pairs import make_frame
from tests.made.trained import raw, trained

METRICS = {
    "data": "people.csv",
    "target": ["target"],
    "network": "TabularModule, 123 parameters",
    "metrics": {"validation": {"accuracy": {"model": 0.9, "naive": 0.5}, "roc_auc": {"model": None, "naive": None}}},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder, with files that must stay where they are."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained("binary")[0], folder / "best.ckpt")
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "metrics.csv").write_text("epoch,loss\n0,1\n")
    (folder / "recipe.yaml").write_text("data:\n  init_args: {source: /home/ann/people.csv, target: paid}\n")
    for name in ("predictions.csv", "report.html", "last.ckpt"):
        (folder / name).write_text("rows of Ann")
    return folder


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub(monkeypatch, tmp_path / "cache") as found:
        yield found


@pytest.mark.usefixtures("there")
def test_what_is_pushed_answers_as_the_checkpoint_does(run: Path) -> None:
    address = push(run, "user/model", license="mit")

    assert address == "hf://user/model"
    assert Predictor(address).predict(raw()).equals(Predictor(run / "best.ckpt").predict(raw()))


@pytest.mark.usefixtures("there")
def test_a_revision_is_answered_by_the_network_of_that_time(run: Path) -> None:
    push(run, "user/model")
    shutil.copy(trained("regression")[0], run / "best.ckpt")
    push(run, "user/model")

    assert Predictor("hf://user/model@v1").schema.task.name == "binary"
    assert Predictor("hf://user/model").schema.task.name == "regression"


def test_only_the_network_its_metrics_recipe_and_card_go_up(run: Path, there: Hub) -> None:
    push(run, "user/model")

    files = there.repositories["user/model"][-1]
    assert sorted(files) == ["README.md", "best.ckpt", "metrics.csv", "metrics.json", "recipe.yaml"]
    assert files["best.ckpt"] == (run / "best.ckpt").read_bytes()
    assert b"Ann" not in b"".join(files.values())
    assert b"/home" not in files["recipe.yaml"]


def test_the_hub_reads_the_head_of_the_card(run: Path) -> None:
    card: Any = ModelCard(files_to_push(run, "user/model", license="apache-2.0")["README.md"].decode())

    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "tabvision",
        "tabular-classification",
        "apache-2.0",
    )
    assert [(each.metric_type, each.metric_value) for each in card.data.eval_results or []] == [("accuracy", 0.9)]
    for text in (
        "## Data",
        "people.csv",
        "## Metrics",
        "| validation | accuracy | 0.9 | 0.5 |",
        "## Limits",
        "## How to use it",
    ):
        assert text in card.text


def test_a_card_names_columns_and_ranges_but_no_categories_and_no_markup_of_theirs() -> None:
    schema = Schema(
        target=Target(columns=("paid",), task=Binary(), classes=("no", "yes|<b>"), num_rows=70),
        continuous=(Continuous(name="age", source="age", mean=1, std=1, fill=1, low=20, high=64.5),),
        categorical=(Categorical(name="a|b\n# c", source="a|b\n# c", vocabulary=("Ann", "Bob")),),
    )

    card = model_card(schema, {}, "user/model")

    assert "| <code>age</code> | number | 20 to 64.5 |" in card
    assert "| <code>a&#124;b&#92;n# c</code> | category | 2 values |" in card
    assert "70 training and validation rows" in card
    assert "Ann" not in card
    assert "<b>" not in card


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", "is damaged or not a checkpoint"),
        (hostile.saved(hyper_parameters=hostile.deep()), "nested too deeply"),
    ],
)
def test_a_hostile_repository_is_refused_as_any_file_is(there: Hub, content: bytes, said: str) -> None:
    there.repositories["user/bad"] = [{"best.ckpt": content}]

    with pytest.raises(BadValueError, match=said):
        Predictor("hf://user/bad")


@pytest.mark.usefixtures("there")
def test_commands_take_the_address(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(push_command, run, "user/model")
    make_frame(seed=5)[["x", "z", "job", "size", "paid"]].to_csv(tmp_path / "rows.csv", index=False)

    run_command(predict_command, "hf://user/model", tmp_path / "rows.csv", "--out", tmp_path / "answers.csv")
    run_command(evaluate_command, "hf://user/model", tmp_path / "rows.csv")

    served = load("hf://user/model", "cpu").predict(raw())

    printed = capsys.readouterr().out
    assert served.equals(Predictor(run / "best.ckpt", device="cpu").predict(raw()))
    assert "Use it anywhere: tabvision predict hf://user/model new_rows.csv --out answers.csv" in printed
    assert "accuracy" in printed
    assert (tmp_path / "answers.csv").exists()


@pytest.mark.slow
def test_a_process_asks_the_hub_that_its_environment_names(run: Path, there: Hub, tmp_path: Path) -> None:
    raw().to_csv(tmp_path / "rows.csv", index=False)
    env = os.environ | {"HF_ENDPOINT": there.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    push_it = ["push", str(run), "user/model"]
    ask_it = ["predict", "hf://user/model", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "answers.csv")]
    code = f"import sys; from tabvision.cli import main; sys.exit(main({push_it}) or main({ask_it}))"

    subprocess.run([sys.executable, "-c", code], env=env, cwd=Path(__file__).parents[1], check=True)

    assert (tmp_path / "answers.csv").is_file()


def test_a_dry_run_uploads_nothing(run: Path, there: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(push_command, run, "user/model", "--dry-run")

    assert "# user/model" in capsys.readouterr().out
    assert not there.requests


@pytest.mark.usefixtures("there")
def test_a_private_repository_needs_a_token(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(run, "user/secret", private=True)
    monkeypatch.delenv("HF_TOKEN")

    with pytest.raises(BadValueError, match=r"Predictor: the hub has no repository user/secret, or it is private"):
        Predictor("hf://user/secret")
    with pytest.raises(BadValueError, match=r"push: .*(token|log in)"):
        push(run, "user/secret")


def test_without_a_network_the_cache_answers_or_a_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with hub(monkeypatch, tmp_path / "cache"):
        push(run, "user/model")
        before = Predictor("hf://user/model").predict(raw())

    assert Predictor("hf://user/model").predict(raw()).equals(before)
    with pytest.raises(BadValueError, match="user/other is not in the cache of the hub, and the hub cannot be reached"):
        Predictor("hf://user/other")
    with pytest.raises(BadValueError, match="push: user/model could not be uploaded"):
        push(run, "user/model")


def test_a_repository_is_named_with_its_owner(run: Path) -> None:
    with pytest.raises(BadValueError, match="push: the repository must be named USER/MODEL, got 'model'"):
        push(run, "model")


def test_the_card_of_a_network_of_images_asks_for_photos() -> None:
    schema = Schema(target=Target(columns=("pet",), task=Binary(), classes=("cat", "dog")), image=Image(size=(8, 8)))

    card = model_card(schema, {}, "user/model")

    assert "tabvision predict hf://user/model photos --out" in card
    assert "rows.csv" not in card
    assert "--strict" not in card


def test_a_folder_without_a_network_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"push: .* holds no best.ckpt"):
        push(tmp_path, "user/model")


@pytest.mark.parametrize(("name", "text"), [("metrics.json", "{"), ("metrics.json", "[1]"), ("recipe.yaml", "a: [")])
def test_a_damaged_file_of_a_run_is_named(run: Path, name: str, text: str) -> None:
    (run / name).write_text(text)

    with pytest.raises(BadValueError, match=rf"push: metrics.json or recipe.yaml in '{run}' is damaged"):
        push(run, "user/model")
