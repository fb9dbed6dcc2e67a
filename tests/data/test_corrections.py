"""Rows are relabeled and dropped by a list, before anything else happens to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.cli import main
from tabvision.data import TabularDataModule
from tabvision.data.corrections import corrected
from tabvision.errors import BadValueError, MissingColumnsError, TabvisionError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import likely_mislabeled
from tests.made.images import make, write_folder
from tests.made.tables import TRAIN, people


def listing(**labels: Any) -> pd.DataFrame:
    return pd.DataFrame({"row": [int(name[1:]) for name in labels], "label": list(labels.values())})


def of_people(corrections: Any, frame: pd.DataFrame | None = None, **settings: Any) -> TabularDataModule:
    frame = people() if frame is None else frame
    return TabularDataModule(frame, "paid", corrections=corrections, verbose=False, **settings)


def test_rows_are_relabeled_and_dropped_and_keep_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    frame = people()
    frame.loc[3, "paid"] = None
    new = {"well": "badly", "badly": "well"}[frame.loc[7, "paid"]]

    data = TabularDataModule(frame, "paid", corrections=listing(r7=new, r3="drop", r5="", r9=None), split=None)

    assert "1 row relabeled, 3 rows dropped by the corrections." in capsys.readouterr().out
    tensors, rows = data.parts["train"]
    numbers = tensors["index"][rows].tolist()
    assert numbers == [number for number in range(120) if number not in (3, 5, 9)]
    assert data.schema.classes[tensors["target"][rows][numbers.index(7)]] == new == data.frame.loc[7, "paid"]
    assert frame.loc[7, "paid"] != new  # the frame is the user's


def test_the_split_is_that_of_a_corrected_table() -> None:
    frame = people()
    data = of_people(listing(r0="drop", r119=frame.loc[0, "paid"]))
    frame.loc[119, "paid"] = frame.loc[0, "paid"]
    other = TabularDataModule(frame[1:], "paid", verbose=False)

    for part in ("train", "val"):
        one, two = (it.part(part).tensors["index"][it.part(part).rows] for it in (data, other))
        assert (one - 1).tolist() == two.tolist()


def test_labels_of_every_type_are_spelled_as_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    file.write_text("row,label,note\n1,2,a\n0,1,b\n2,,c\n")
    for values in ([1, 2, 3, 2], [1.0, 2.0, np.nan, 2.0], pd.Categorical(["1", "2", "1", "2"]), ["1", "2", "NA", "2"]):
        frame = pd.DataFrame({"y": values})

        found, rows = corrected(frame, file, ["y"])

        assert list(map(str, found["y"][:2].astype(object))) == [str(frame["y"][0]), str(frame["y"][1])]
        assert rows.tolist() == [0, 1, 3]
        assert found["y"].dtype == frame["y"].dtype


def test_words_for_missing_values_and_truth_values_may_be_labels(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    file.write_text("row,label\n0,NA\n")
    assert corrected(pd.DataFrame({"y": ["a", "NA"]}), file, ["y"])[0]["y"].tolist() == ["NA", "NA"]

    found, rows = corrected(pd.DataFrame({"y": [True, True, False]}), listing(r1="False", r0="drop"), ["y"])
    assert found["y"].tolist() == [True, False, False]
    assert rows.tolist() == [1, 2]


def test_a_number_may_be_any_and_labels_may_be_joined_anew() -> None:
    frame = pd.DataFrame({"y": np.arange(40)})
    assert corrected(frame, listing(r1="7.5", r2=-3), ["y"])[0]["y"][:3].tolist() == [0, 7.5, -3]

    joined = pd.DataFrame({"y": ["a b", "c", "a"]})
    assert corrected(joined, listing(r1="b c"), ["y"], separator=" ")[0]["y"].tolist() == ["a b", "b c", "a"]
    with pytest.raises(UnknownNameError, match="'d'"):
        corrected(joined, listing(r1="b d"), ["y"], separator=" ")


def test_an_index_of_the_users_own_names_the_rows() -> None:
    frame = people().set_index(pd.Index([f"p{number}" for number in range(120)]))

    found, rows = corrected(frame, pd.DataFrame({"row": ["p5", "p0"], "label": ["drop", "well"]}), ["paid"])

    assert found.loc["p0", "paid"] == "well"
    assert 5 not in rows


@pytest.mark.parametrize(
    ("corrections", "error", "said"),
    [
        (
            listing(r120="well"),
            BadValueError,
            "each row of the corrections must be one of the source's 120 rows, got 120",
        ),
        (pd.DataFrame({"row": [1.5], "label": ["well"]}), BadValueError, "got 1.5"),
        (pd.DataFrame({"row": ["x", "y"], "label": "well"}), BadValueError, "of the source's 120 rows, got 'x', 'y'"),
        (
            pd.DataFrame({"row": [4, 4], "label": ["well", ""]}),
            BadValueError,
            "must name one row, and be listed once, got 4",
        ),
        (listing(r1="wel"), UnknownNameError, "no label of 'paid' named 'wel'. Choices: well, badly."),
        (pd.DataFrame({"row": [1]}), MissingColumnsError, "'label'"),
        (pd.DataFrame({"line": [1], "label": ["well"]}), MissingColumnsError, "'row'"),
        (pd.DataFrame({"row": range(120), "label": ""}), BadValueError, "the corrections drop every row. Keep some"),
        ("absent.csv", TabvisionError, "absent.csv"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_in_a_sentence(corrections: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        of_people(corrections)

    assert str(raised.value).startswith("TabularDataModule: ")
    assert said in str(raised.value)


def test_images_are_named_by_their_path_or_row(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", {"ants": 6, "bees": 6})
    files = make(photos).frame["image"]
    table = pd.DataFrame({"image": [files[2], files[8]], "label": ["bees", "drop"]})

    data = make(photos, corrections=table, split=None)
    by_row = make(photos, corrections=listing(r2="bees", r8=""), split=None)

    for each in (data, by_row):
        tensors, rows = each.parts["train"]
        assert tensors["index"][rows].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11]
        assert tensors["target"][rows].tolist() == [0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    with pytest.raises(BadValueError, match="each image of the corrections must be one of the source's 12 rows"):
        make(photos, corrections=table[:1].assign(image="other.jpg"))


@pytest.mark.slow
def test_what_is_likely_mislabeled_corrects_a_run_that_its_recipe_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = people(400)
    planted = frame.index[(frame["job"] == "cook") & (frame["age"] > 62)][:4].tolist()  # of whom the network is sure
    wrong = frame.copy()
    wrong.loc[planted, "paid"] = frame["paid"].map({"well": "badly", "badly": "well"})[planted]
    frame.to_csv("people.csv", index=False)
    assert main([*TRAIN[:4], "--epochs", "10", *TRAIN[6:]]) == 0
    wrong.to_csv("people.csv", index=False)
    results = Predictor("runs/people/best.ckpt", device="cpu").losses("people.csv")
    likely_mislabeled(results, k=4).to_csv("corrections.csv")
    assert set(planted) <= set(pd.read_csv("corrections.csv")["row"])
    capsys.readouterr()

    assert main([*TRAIN, "--corrections", "corrections.csv", "--out", "new"]) == 0

    assert "4 rows relabeled, 0 rows dropped by the corrections." in capsys.readouterr().out
    answers = pd.read_csv("new/predictions.csv").set_index("row")
    assert answers["paid"].tolist() == frame["paid"][answers.index].tolist()
    recipe = yaml.safe_load(Path("new/recipe.yaml").read_text())
    assert recipe["data"]["init_args"]["corrections"] == "corrections.csv"
    assert main(["fit", "--config", "new/recipe.yaml"]) == 0
    assert "4 rows relabeled" in capsys.readouterr().out
    assert (
        main([*TRAIN, "--corrections", "new/predictions.csv", "--out", "new", "--overwrite"]) == 2
    )  # would be removed
