"""Rows in any form become the same arrays, alone or with the images that they name."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.data import TabularDataModule
from tabvision.data.targets import encode_target
from tabvision.errors import BadTypeError, MissingColumnsError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.inference.inputs import InputReader
from tabvision.logs import notes_at
from tabvision.modules import TabularModule
from tabvision.preprocess import to_arrays
from tabvision.schema import Categorical, Continuous, Image, Schema, Target
from tabvision.serving.requests import Limits, rows_of_json
from tabvision.tasks import Binary
from tests.made.pairs import make_frame
from tests.made.ratings import made_ratings
from tests.made.servers import running
from tests.made.trained import raw, trained
from tests.made.trainers import saved


def test_frames_rows_and_columns_give_the_same_arrays() -> None:
    schema, frame = trained("binary")[2].schema, raw(10)
    read = InputReader(schema)
    continuous, categorical = to_arrays(schema, frame)

    for source in (frame, frame.to_dict("records"), frame.to_dict("list")):
        found = read(source)
        assert found.num_rows == 10
        np.testing.assert_allclose(found.arrays["continuous"], continuous, rtol=1e-6)
        np.testing.assert_array_equal(found.arrays["categorical"], categorical)
        batches = list(found.batches(4))
        assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        np.testing.assert_array_equal(batches[1]["categorical"], categorical[4:8])


def test_ids_of_18_digits_are_exact_from_every_source_whatever_is_missing_beside_them(tmp_path: Path) -> None:
    ids = [900719925474099300 + number for number in range(6)] * 3
    job = Categorical(name="id", source="id", vocabulary=tuple(ids[:6]))
    read = InputReader(Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,)))
    frame = pd.DataFrame({"id": pd.array([*ids, None], dtype="Int64"), "more": 1})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "a.feather")
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_json(tmp_path / "b.json")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    rows = json.loads((tmp_path / "a.json").read_text())
    request, _ = rows_of_json((tmp_path / "a.json").read_bytes(), read.schema, Limits())
    sources: list[Any] = [frame, frame.astype("str"), frame.to_dict("records"), frame.to_dict("list"), rows, request]

    for source in [*sources, *tmp_path.iterdir()]:
        found = read(source)
        assert found.arrays["categorical"][:, 0].tolist() == [1, 2, 3, 4, 5, 6] * 3 + [0]
        assert not found.unseen
    for row, code in zip([*rows[:6], rows[-1], {"id": str(ids[1])}], [1, 2, 3, 4, 5, 6, 0, 2], strict=True):
        assert read(row).arrays["categorical"].tolist() == [[code]]
    image = Image(size=(4, 4), name="photo", optional=True)
    with_photos = InputReader(dataclasses.replace(read.schema, image=image))([{**row, "photo": None} for row in rows])
    assert with_photos.arrays["categorical"][:, 0].tolist() == [1, 2, 3, 4, 5, 6] * 3 + [0]


def test_a_frames_index_is_kept_and_rows_have_none() -> None:
    read, frame = InputReader(trained("binary")[2].schema), raw(4)
    frame.index = pd.Index([6, 7, 8, 9])

    found = read(frame)

    assert found.index is frame.index
    assert found.frame is not None
    assert read(frame.to_dict("records")).index is None


def test_what_is_no_rows_is_refused() -> None:
    with pytest.raises(BadTypeError, match="the source must be"):
        InputReader(trained("binary")[2].schema)(3)


def test_a_quick_row_and_a_frame_count_the_unseen_alike() -> None:
    schema = trained("binary")[2].schema
    name = next(column.name for column in schema.categorical if column.name == column.source)
    known = next(column.vocabulary[0] for column in schema.categorical if column.name == name)
    frame = raw(4).assign(**{name: pd.Series(["never seen", None, known, known], dtype=object)})
    read = InputReader(schema)

    assert read(frame).unseen == read(frame.to_dict("records")).unseen == {name: 1}
    assert read(frame.tail(2)).unseen == {}


def test_text_in_place_of_a_number_is_counted_and_white_space_is_not() -> None:
    price = Continuous(name="price", source="price", mean=5.0, std=1.0, fill=5.0, text="$")
    job = Categorical(name="job", source="job", vocabulary=("cook",))
    read = InputReader(Schema(target=trained("binary")[2].schema.target, continuous=(price,), categorical=(job,)))
    rows = [{"price": price, "job": job} for price, job in (("$7", " "), ("free", "cook"), (" ", "pilot"), ("7", ""))]

    found = read(pd.DataFrame(rows))

    assert found.unseen == read(rows).unseen == {"job": 1, "price": 1}
    assert found.arrays["continuous"][:, 0].tolist() == [2.0, 0.0, 0.0, 2.0]


# Rows and images together.


@pytest.mark.parametrize("kind", ["text", "times"])
@pytest.mark.parametrize("tz_aware", [False, True, None])
def test_dates_with_a_time_zone_where_training_had_none_are_counted_and_the_other_way_about(
    tz_aware: bool | None, kind: str
) -> None:
    local, in_zone = "2024-05-03 10:00:00", "2024-05-03T08:00:00Z"
    times = pd.date_range("2024-01-01", periods=60, freq="31h", tz="UTC" if tz_aware else None).to_series(
        index=range(60)
    )
    text = times.map(lambda each: each.isoformat() if tz_aware is not None or each.day % 2 else f"{each.isoformat()}Z")
    frame = pd.DataFrame({"when": text if kind == "text" or tz_aware is None else times, "y": range(60)})
    frame.loc[3, "when"] = None
    read = InputReader(TabularDataModule(frame, "y", verbose=False).schema)

    def counted(*dates: Any) -> dict[str, int]:
        rows = [{"when": each} for each in dates]
        found = dict(read(rows).unseen)
        assert found == read(pd.DataFrame(rows)).unseen
        return found

    assert read.schema.dates[0].tz_aware == tz_aware
    assert counted(local, None, local) == ({"when": 2} if tz_aware else {})
    assert counted(in_zone, None, "2024-05-03T08:00:00.5+02:00") == ({"when": 2} if tz_aware is False else {})
    assert counted(pd.Timestamp(in_zone)) == ({"when": 1} if tz_aware is False else {})


@pytest.mark.parametrize(("zone", "other", "has"), [("", "Z", "a"), ("Z", "", "no")])
def test_command_and_server_name_dates_whose_zone_is_unlike_those_of_training(
    zone: str, other: str, has: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    when = pd.date_range("2024-01-01", periods=40, freq="31h").strftime("%Y-%m-%dT%H:%M:%S") + zone
    schema = TabularDataModule(pd.DataFrame({"when": when, "y": range(40)}), "y", verbose=False).schema
    checkpoint = saved(TabularModule(schema, members=1, member_widths=[4]), tmp_path / "dates.ckpt")
    row = {"when": f"2024-01-20T10:00:00{other}"}
    pd.DataFrame([row]).to_csv(tmp_path / "new.csv", index=False)

    assert main(["predict", str(checkpoint), str(tmp_path / "new.csv"), "--out", str(tmp_path / "answers.csv")]) == 0
    with running(Predictor(checkpoint)) as client:
        answer = client.post("/predict", json=row).json()

    said = f"1 of 1 row whose 'when' has {has} time zone, unlike the training rows, read in UTC"
    assert said in capsys.readouterr().out
    assert answer["unseen"] == ["when"]


def both() -> Schema:
    """Of a module that reads columns and an image."""
    return dataclasses.replace(trained("binary")[2].schema, image=Image(size=(4, 4), name="photo"))


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Five rows, each with a gray image of its own, but the third."""
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), 10 * number, np.uint8))
    (tmp_path / "2.png").write_bytes(b"none")
    frame = raw(5).assign(photo=[str(tmp_path / f"{number}.png") for number in range(5)])
    return frame.set_index(pd.Index(list("abcde")))


def test_a_table_that_names_images_gives_both_row_by_row(table: pd.DataFrame) -> None:
    found = InputReader(both())(table)

    batches = list(found.batches(2))

    assert [batch["index"].tolist() for batch in batches] == [[0, 1], [3], [4]]
    assert [batch["image"][:, 0, 0, 0].tolist() for batch in batches] == [[0, 10], [30], [40]]
    expected = to_arrays(both(), table)[0][[0, 1, 3, 4]]
    np.testing.assert_array_equal(np.concatenate([batch["continuous"] for batch in batches]), expected)
    assert found.index is table.index
    assert list(found.errors) == [2]


def test_rows_and_files_that_name_images_give_the_same_as_the_frame(table: pd.DataFrame, tmp_path: Path) -> None:
    relative = table.assign(photo=[f"{number}.png" for number in range(5)])
    relative.to_csv(tmp_path / "table.csv", index=False)
    (expected,) = InputReader(both())(table).batches()

    sources: list[Any] = [table.to_dict("records"), table.to_dict("list"), tmp_path / "table.csv"]
    for source in sources:
        (found,) = InputReader(both())(source).batches()
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=name)


def test_images_alone_are_refused_where_columns_are_read_as_well(table: pd.DataFrame, tmp_path: Path) -> None:
    sources: list[Any] = [tmp_path, list(table["photo"]), table["photo"].iloc[0]]
    for source in sources:
        with pytest.raises(BadTypeError, match=r"the source holds only images.*'job'.*names the images in 'photo'"):
            InputReader(both())(source)
    with pytest.raises(MissingColumnsError, match="'photo'"):
        InputReader(both())(table.drop(columns="photo"))


# Rows with a category that training lacks are counted and told, for ratings and for tables alike.


PAIRS = pd.DataFrame({"who": [100, -1, -2, None], "film": [1, 2, 77, 3]})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on ratings by command."""
    place = tmp_path_factory.mktemp("unseen")
    made_ratings().to_csv(place / "ratings.csv", index=False)
    words = ["train", str(place / "ratings.csv"), "--user", "who", "--item", "film", "--target", "stars"]
    assert main([*words, "--epochs", "1", "--accelerator", "cpu", "--out", str(place / "run")]) == 0
    return place / "run/best.ckpt"


def test_a_predictor_tells_how_many_users_and_items_training_lacks(checkpoint: Path) -> None:
    answers = Predictor(checkpoint).predict(PAIRS)
    assert answers.attrs["unseen"] == {"who": 2, "film": 1}

    answers = Predictor(checkpoint).predict(made_ratings())
    assert answers.attrs["unseen"] == {}


def test_an_exported_model_tells_the_same(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "model.onnx")

    assert OnnxPredictor(tmp_path / "model.onnx").predict(PAIRS).attrs["unseen"] == {"who": 2, "film": 1}


def test_the_command_says_it(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PAIRS.to_csv(tmp_path / "pairs.csv", index=False)

    assert main(["predict", str(checkpoint), str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out.csv")]) == 0

    out = capsys.readouterr().out
    assert "2 of 4 rows with a 'who' not seen in training, predicted as unknown" in out
    assert "1 of 4 rows with a 'film' not seen in training, predicted as unknown" in out
    assert "1 of 4 rows without a 'who', predicted as unknown" in out


def test_missing_values_in_a_table_and_rows_that_are_known_are_nothing_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_frame(40, seed=5)[["x", "z", "job", "size"]].to_csv(tmp_path / "rows.csv", index=False)

    assert main(["predict", str(trained("binary")[0]), str(tmp_path / "rows.csv"), "--out", f"{tmp_path}/out.csv"]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == f"40 rows predicted: {tmp_path}/out.csv"


# Words for missing values: a row reads as the same row of a file.


@pytest.mark.parametrize("na_values", [None, ("?",), ()])
def test_a_row_is_read_as_in_a_file(na_values: tuple[str, ...] | None, tmp_path: Path) -> None:
    frame = make_frame(60)[["x", "job", "paid"]].assign(job=["None", "NA", "cook"] * 20)
    frame.to_csv(tmp_path / "train.csv", index=False)
    data = TabularDataModule(tmp_path / "train.csv", "paid", na_values=na_values, verbose=False)
    read = InputReader(data.schema)
    cells = [("1.5", "None"), ("2", "NA"), ("", "cook"), ("3", "?")]
    cells += [("NA", "nan"), ("None", "")] if na_values is None else [("?", "?")] if na_values else []
    (tmp_path / "new.csv").write_text("x,job\n" + "".join(f"{x},{job}\n" for x, job in cells))

    found = read(tmp_path / "new.csv")

    rows = [{"x": x or None, "job": job or None} for x, job in cells]
    with_photo = InputReader(dataclasses.replace(data.schema, image=Image(size=(4, 4), name="photo", optional=True)))
    photo = np.zeros((8, 8, 3), np.uint8)
    for number, alone in [
        *((number, read([row])) for number, row in enumerate(rows)),
        *((number, with_photo({**row, "photo": photo})) for number, row in enumerate(rows)),
    ]:
        np.testing.assert_array_equal(alone.arrays["categorical"][0], found.arrays["categorical"][number])
        np.testing.assert_array_equal(alone.arrays["continuous"][0], found.arrays["continuous"][number])
    assert read(rows).unseen == found.unseen
    assert read(rows * 10).num_rows == 10 * len(rows)


def test_points_between_thousands_are_read_as_in_training_where_nothing_proves_them(tmp_path: Path) -> None:
    rows = [{"size": f"{number}.234,50", "pay": f"{number}.468,10"} for number in range(1, 61)]
    pd.DataFrame(rows).to_csv(tmp_path / "train.csv", sep=";")
    data = TabularDataModule(tmp_path / "train.csv", "pay", verbose=False)
    new = pd.DataFrame({"size": ["1.234", "2.345"], "pay": ["2.468", "4.690"]})
    new.to_csv(tmp_path / "new.csv", sep=";")
    schema = Schema.from_dict(data.schema.to_dict())
    read = InputReader(schema)

    of_file = read(tmp_path / "new.csv", labeled=True)

    expected = (np.array([1234, 2345]) - schema.continuous[0].mean) / schema.continuous[0].std
    for found in (of_file, read(new), read(new.to_dict("records"))):
        np.testing.assert_allclose(found.arrays["continuous"][:, 0], expected, rtol=1e-5)
    assert of_file.frame is not None
    assert encode_target(of_file.frame, schema.target).tolist() == [[2468], [4690]]
    with pytest.raises(BadTypeError, match=r"written in the form '1.234,5', as in training, got '2468\.5'"):
        encode_target(new.assign(pay="2468.5"), schema.target)


def test_numbers_and_dates_far_beyond_the_training_rows_are_counted() -> None:
    days = pd.date_range("2024-01-01", periods=101)
    frame = pd.DataFrame({"x": np.arange(101.0), "day": days, "same": 1.0, "y": np.arange(101.0)})
    data = TabularDataModule(frame, "y", split=None, verbose=False, continuous=["x"])
    read = InputReader(data.schema)

    def outside(**values: Any) -> dict[str, int]:
        return dict(read({"x": 5.0, "day": "2024-02-01", "same": 1.0, **values}).outside)

    assert outside() == outside(x=114) == outside(x=-14) == outside(x=None) == outside(day="2024-04-15") == {}
    assert outside(x=116) == outside(x=-16) == {"x": 1}
    assert outside(day="2030-01-01", x=1e30) == {"x": 1, "day": 1}
    assert read(frame.assign(x=1e6)).outside == {"x": 101}
    assert read(frame).outside == {}
    found = read(frame.assign(x=np.where(np.arange(len(frame)) % 50, frame["x"], 1e6))).take(np.array([1, 50, 51, 100]))
    assert (found.outside, found.outside_rows["x"].tolist()) == ({"x": 2}, [1, 3])
    answers = Predictor(TabularModule(data.schema), device="cpu").predict(frame.assign(x=1e6))
    assert answers.attrs["outside"] == {"x": 101}


def test_rows_like_those_of_training_raise_few_false_alarms() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"normal": rng.normal(size=3_000), "skewed": rng.lognormal(0, 2, 3_000), "y": rng.normal(size=3_000)}
    )
    data = TabularDataModule(frame[:1_000], "y", split=None, verbose=False)

    found = InputReader(data.schema)(frame[1_000:]).outside

    assert all(num <= 20 for num in found.values())  # one in a hundred


def test_percents_are_the_same_from_text_and_from_a_sheet_and_shares_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    rates = [it % 90 + 5 for it in range(60)]
    rows = {"rate": [f"{it}%" for it in rates], "paid": ["no", "yes"] * 30}
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    schema = TabularDataModule(tmp_path / "a.csv", "paid", verbose=False).schema
    book = openpyxl.Workbook()
    book.active.append(["rate"])
    for row, rate in enumerate(rates, 2):
        book.active.cell(row, 1, rate / 100).number_format = "0%"
    book.save(tmp_path / "a.xlsx")
    pd.DataFrame({"rate": rates}).to_csv(tmp_path / "plain.csv", index=False)
    read, note = InputReader(schema), "'rate' held percents such as 12% in training"

    with notes_at(verbose=True):
        found = [read(tmp_path / name).arrays["continuous"] for name in ("a.csv", "a.xlsx", "plain.csv")]
        told = capsys.readouterr().out
        read(pd.DataFrame({"rate": [0.12, 0.5]}))

    assert schema.continuous[0].text == "%"
    assert all(np.array_equal(each, found[0]) for each in found[1:])
    assert note not in told
    assert note in capsys.readouterr().out
