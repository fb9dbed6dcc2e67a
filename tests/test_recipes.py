"""Every recipe in models/ trains for one batch, and its card says what was measured."""

import csv
import importlib
import json
import os
import random
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from benchmarks.cards import render_card
from tabvision.data.tables.sizes import most_epochs, table_batch_size
from tests.made.images import encoded, pixels, write_folder

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "models").glob("*/recipe.yaml"))
NAMES = [folder.name for folder in FOLDERS]

ONE_BATCH = ["--trainer.fast_dev_run=1", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.logger=false"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_for_one_batch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = importlib.import_module("tabvision.cli")
    monkeypatch.chdir(ROOT)  # where a user stands, so that class paths such as datamodules.adult resolve

    status = cli.main(["fit", "--config", f"models/{name}/recipe.yaml", *ONE_BATCH, *own_data(name, tmp_path)])

    assert status in (None, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_folder_is_complete(name: str) -> None:
    found = {path.name for path in (ROOT / "models" / name).iterdir()}

    assert {"recipe.yaml", "result.json", "card.md"} <= found


@pytest.mark.parametrize("card", sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "models").glob("*/*.md")))
def test_a_card_is_the_rendering_of_its_result(card: str) -> None:
    path = ROOT / card
    figures = {"card.md": "result.json", "best.md": "best.json"}[path.name]
    result = json.loads((path.parent / figures).read_text(encoding="utf-8"))

    assert path.read_text(encoding="utf-8") == render_card(path.parent.name, result)


@pytest.mark.parametrize("name", ["adult", "diamonds", "flights"])
def test_a_recipe_of_the_default_trains_as_the_command_does(name: str) -> None:
    recipe = yaml.safe_load((ROOT / "models" / name / "recipe.yaml").read_text(encoding="utf-8"))
    result = json.loads((ROOT / "models" / name / "result.json").read_text(encoding="utf-8"))
    rows = result["data"]["rows"]["train"]

    assert recipe["model"] == {"class_path": "tabvision.modules.TabularModule"}
    assert recipe["trainer"]["callbacks"][0] == {"class_path": "tabvision.callbacks.FitTable"}
    assert recipe["trainer"]["max_epochs"] == most_epochs(rows)
    assert recipe["data"]["init_args"]["batch_size"] == table_batch_size(rows)
    assert {"test/loss", "val/loss"} <= set(result["metrics"])


@pytest.mark.parametrize("figures", sorted((ROOT / "models").glob("*/best.json")), ids=lambda path: path.parent.name)
def test_a_card_of_a_bag_is_of_the_same_rows_as_that_of_the_recipe(figures: Path) -> None:
    best, result = (json.loads(path.read_text("utf-8")) for path in (figures, figures.with_name("result.json")))

    assert best["bag"] == 5
    assert best["data"]["rows"] == result["data"]["rows"]
    assert best["metrics"].keys() == result["metrics"].keys()


def test_a_folder_in_models_is_a_recipe() -> None:
    folders = {path.name for path in (ROOT / "models").glob("*/") if not path.name.startswith(("_", "."))}

    assert folders == set(NAMES)


# Data that no package ships: the user's own file where ADULT_CSV names it, else rows of the same columns made here.


ADULT: dict[str, Sequence[int] | Sequence[str]] = {
    "age": range(17, 91),
    "workclass": ["Private", "State-gov", "?"],
    "fnlwgt": range(12_285, 1_484_706),
    "education": ["Bachelors", "HS-grad", "11th"],
    "education-num": range(1, 17),
    "marital-status": ["Divorced", "Married-civ-spouse", "Never-married"],
    "occupation": ["Adm-clerical", "Exec-managerial", "?"],
    "relationship": ["Husband", "Not-in-family", "Wife"],
    "race": ["Black", "White"],
    "sex": ["Female", "Male"],
    "capital-gain": range(100_000),
    "capital-loss": range(4_357),
    "hours-per-week": range(1, 100),
    "native-country": ["United-States", "Cuba", "?"],
    "salary": ["<=50K", ">50K"],
    "split": ["train", "test"],
}


def own_data(name: str, folder: Path) -> list[str]:
    """The arguments that point a recipe to its data, for recipes that need files."""
    if name == "adult":
        path = os.environ.get("ADULT_CSV") or write_adult(folder / "adult.csv")
        return [f"--data.init_args.path={path}"]
    if name == "hymenoptera":
        write_folder(folder, {f"{part}/{label}": 20 for part in ("train", "val") for label in ("ants", "bees")})
    elif name == "planet":
        write_planet(folder)
    elif name == "fashion_mnist":
        write_fashion(folder)
        return [f"--data.init_args.folder={folder}", f"--data.init_args.pictures={folder / 'images'}"]
    else:
        return []
    return [f"--data.init_args.folder={folder}"]


def write_planet(folder: Path, num_rows: int = 40) -> None:
    """Chips with several labels each."""
    (folder / "train").mkdir()
    for row in range(num_rows):
        (folder / "train" / f"chip_{row}.jpg").write_bytes(encoded(pixels(seed=row)))
    rows = [(f"chip_{row}", ["clear primary", "haze road", "clear road"][row % 3]) for row in range(num_rows)]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image_name", "tags"), *rows])


def write_fashion(folder: Path, num_rows: int = 80) -> None:
    """Noise in the format of Fashion-MNIST's files."""
    draw = random.Random(0)
    for part in ("train", "t10k"):
        images, labels = draw.randbytes(num_rows * 784), bytes(row % 10 for row in range(num_rows))
        header = struct.pack(">IIII", 0x803, num_rows, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, num_rows) + labels)


def write_adult(path: Path, num_rows: int = 400) -> Path:
    """A file with the columns of the UCI census data, its kinds of gaps included, and made-up people."""
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(ADULT)
        for _ in range(num_rows):
            writer.writerow([str(draw.choice(values)) for values in ADULT.values()])
    return path


def test_made_up_census_rows_have_every_column(tmp_path: Path) -> None:
    with write_adult(tmp_path / "adult.csv", num_rows=50).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == 50
    assert all(len(row) == 16 and all(row.values()) for row in rows)
    assert {row["salary"] for row in rows} == {"<=50K", ">50K"}
