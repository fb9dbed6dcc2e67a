"""Tables as they stand on public sites, small ones of our own making: by command, with defaults, and the way back."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tabvision.cli import main
from tabvision.inference import OnnxPredictor, Predictor
from tabvision.schema import Schema
from tests.made.servers import running
from tests.made.sweeps import slow_but

pytestmark = pytest.mark.usefixtures("folder")

ROWS = 600


def train(frame: pd.DataFrame, target: str, *options: str) -> Schema:
    """Writes a file, trains on it by command, and returns what was learned of its columns."""
    frame.to_csv("data.csv", index=False)
    few = [] if "--epochs" in options else ["--epochs", "12"]
    assert main(["train", "data.csv", "--target", target, "--accelerator", "cpu", "--no-report", *few, *options]) == 0
    return Predictor("runs/data/best.ckpt").schema


def error_by_naive() -> float:
    """The squared error of the validation rows, as a fraction of that of their mean."""
    written = pd.read_csv("runs/data/predictions.csv")
    error = written["prediction"] - written.iloc[:, 1]
    return float(np.square(error).mean() / written.iloc[:, 1].var())


def accuracy() -> float:
    written = pd.read_csv("runs/data/predictions.csv", keep_default_na=False)  # a class may be called None
    return float((written["label"] == written.iloc[:, 1]).mean())


def draw() -> tuple[np.random.Generator, NDArray[np.float64]]:
    """Random numbers, and the only signal of a table."""
    random = np.random.default_rng(0)
    return random, random.normal(size=ROWS)


def test_cells_of_one_space_among_total_charges() -> None:
    random, signal = draw()
    charges = pd.Series([f"{80 + 20 * value:.2f}" for value in signal])
    charges[::97] = " "
    churn = np.where(signal + random.normal(size=ROWS) / 4 > 0, "Yes", "No")

    schema = train(pd.DataFrame({"plan": random.choice(["a", "b"], ROWS), "charges": charges, "churn": churn}), "churn")

    (column,) = schema.continuous
    assert (column.name, column.text, column.had_missing) == ("charges", "strict", True)
    assert accuracy() > 0.8
    ways: list[Any] = [{"plan": "a", "charges": blank} for blank in (" ", None)]
    first, second = (Predictor("runs/data/best.ckpt").predict(row) for row in ways)
    pd.testing.assert_frame_equal(first, second)


def test_house_sales_by_day_at_an_address() -> None:
    random, signal = draw()
    day = pd.Timestamp("2016-06-01") + pd.to_timedelta((90 * signal).round(), unit="D")
    street = [f"{n} Station Street" for n in range(ROWS - 5)] + ["1 Station Street"] * 5
    price = 1e6 + 1e5 * signal + random.normal(0, 1e4, ROWS)

    schema = train(pd.DataFrame({"Address": street, "Date": day.strftime("%-d/%m/%Y"), "Price": price}), "Price")

    assert [(it.name, it.format) for it in schema.dates] == [("Date", "d/m/Y")]
    assert [(it.name, it.reason) for it in schema.left_out] == [("Address", "identifier: 595 of 600 texts differ")]
    assert error_by_naive() < 0.3


def test_days_that_may_be_months_are_named_and_an_option_decides(capsys: pytest.CaptureFixture[str]) -> None:
    random, signal = draw()
    day = [f"{number % 12 + 1}/{number % 7 + 1}/2016" for number in range(ROWS)]
    frame = pd.DataFrame({"when": day, "x": signal, "y": signal + random.normal(size=ROWS)})

    assert not train(frame, "y", "--epochs", "1").dates
    assert (
        "'when': text that reads as dates in the order d/m/Y or m/d/Y, so not used as dates." in capsys.readouterr().out
    )
    schema = train(frame, "y", "--epochs", "1", "--dates", "when=d/m/Y", "--overwrite")

    assert [(it.name, it.format) for it in schema.dates] == [("when", "d/m/Y")]
    assert next(it for it in schema.categorical if it.part == "month").vocabulary == tuple(range(1, 8))


def test_prices_with_a_dollar_and_rates_with_a_percent_sign() -> None:
    random, signal = draw()
    frame = pd.DataFrame({"income": [f"${50_000 + 10_000 * value:,.2f}" for value in signal]})
    frame["rate"] = [f"{value:.2f}%" for value in random.uniform(5, 25, ROWS)]
    frame["limit"] = [f"{value:,}" for value in random.integers(100, 90_000, ROWS)]
    frame["score"] = signal + frame["rate"].str.rstrip("%").astype(float) / 10 + random.normal(0, 0.1, ROWS)

    schema = train(frame, "score")

    assert [(it.name, it.text) for it in schema.continuous] == [("income", "$"), ("rate", "%"), ("limit", "1,234")]
    assert error_by_naive() < 0.2


def test_a_price_with_a_dollar_sign_is_a_number_to_predict() -> None:
    random, signal = draw()
    price = [f"${1_000 + 100 * value:,.2f}" for value in signal + random.normal(0, 0.1, ROWS)]

    train(pd.DataFrame({"size": signal, "price": price}), "price")

    written = pd.read_csv("runs/data/predictions.csv")
    assert np.corrcoef(written["prediction"], signal[written["row"]])[0, 1] > 0.9


def test_a_word_among_six_hundred_numbers_and_the_way_back(capsys: pytest.CaptureFixture[str]) -> None:
    random, signal = draw()
    horsepower = pd.Series([f"{120 + 30 * value:.0f}" for value in signal])
    horsepower[:4] = "?"
    frame = pd.DataFrame({"horsepower": horsepower, "mpg": 30 - 5 * signal + random.normal(0, 0.5, ROWS)})

    schema = train(frame, "mpg")

    assert [(it.name, it.text) for it in schema.continuous] == [("horsepower", "lenient")]
    assert "other text is missing: '?' (4 rows)" in capsys.readouterr().out
    assert error_by_naive() < 0.2
    again = train(frame, "mpg", "--overwrite", "--categorical", "horsepower", "--epochs", "1")
    assert "?" in again.categorical[0].vocabulary


def test_incomes_that_all_differ_are_the_only_signal() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"income": random.choice(200_000, 200, replace=False), "note": random.normal(size=200)})
    frame["paid"] = np.where(frame["income"] > 100_000, "yes", "no")

    schema = train(frame, "paid")

    assert "income" in [it.name for it in schema.continuous]
    assert accuracy() > 0.8


def test_keys_of_a_database_are_left_out() -> None:
    random, signal = draw()
    frame = pd.DataFrame({"row": np.arange(ROWS), "shuffled": random.permutation(ROWS) + 5_000, "x": signal})
    frame["account"] = 4_000_000_000_000_000 + random.choice(10**15, ROWS, replace=False)

    schema = train(frame.assign(y=2 * signal), "y", "--epochs", "1")

    assert [it.name for it in schema.left_out] == ["row", "shuffled", "account"]


def ratings(repeated: int) -> pd.DataFrame:
    """Three thousand ratings, of which the last rows repeat a pair with another rating, and an earlier time."""
    pairs = np.random.default_rng(0).choice(60 * 80, 3_000, replace=False)
    frame = pd.DataFrame({"user": pairs // 80, "film": pairs % 80, "stars": 1 + pairs % 5, "when": 1_000_000 + pairs})
    again = frame.head(repeated).assign(stars=lambda it: 6 - it["stars"], when=lambda it: it["when"] - 5_000)
    return pd.concat([frame, again], ignore_index=True)


RATINGS = ["--user", "user", "--item", "film", "--epochs", "1"]


def test_few_repeated_ratings_keep_the_last_by_time_or_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    train(ratings(3), "stars", *RATINGS)
    assert (
        "3 rows of 3,003 repeat a user and an item: the last of each is used. Override with" in capsys.readouterr().out
    )
    by_file = set(pd.read_csv("runs/data/predictions.csv")["row"])
    train(ratings(3), "stars", "--timestamp", "when", "--overwrite", *RATINGS)
    by_time = set(pd.read_csv("runs/data/predictions.csv")["row"])

    assert not by_file & {0, 1, 2}
    assert not by_time & {3_000, 3_001, 3_002}
    assert main(["train", "data.csv", "--target", "stars", "--duplicates", "error", "--overwrite", *RATINGS]) == 2


def test_more_repeated_ratings_are_refused_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    ratings(4).to_csv("data.csv", index=False)

    assert main(["train", "data.csv", "--target", "stars", *RATINGS]) == 2
    assert "4 rows repeat a pair of 'user' and 'film'" in capsys.readouterr().err


@pytest.mark.parametrize("is_exported", slow_but([False], [False, True]))  # an export takes longer than all the rest
def test_a_row_is_answered_as_it_stands_in_a_file(is_exported: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _, signal = draw()
    frame = pd.DataFrame({"income": [f"${50_000 + 10_000 * value:,.2f}" for value in signal]})
    frame["day"] = (pd.Timestamp("2016-06-01") + pd.to_timedelta((90 * signal).round(), unit="D")).strftime("%d.%m.%Y")
    train(frame.assign(score=signal), "score", "--epochs", "1")
    rows = frame.head(8).copy()
    rows.loc[3:5, "income"] = ["on request", " ", "$1,5"]
    rows.loc[3:5, "day"] = "14.6.2016"
    rows.loc[6, "day"] = " "
    rows.to_csv("new.csv", index=False)
    capsys.readouterr()

    assert main(["predict", "runs/data/best.ckpt", "new.csv", "--out", "answers.csv"]) == 0

    answers = pd.read_csv("answers.csv")["prediction"]
    predictor: Predictor | OnnxPredictor = Predictor("runs/data/best.ckpt")
    if is_exported:
        assert main(["export", "runs/data/best.ckpt", "--out", "model.onnx"]) == 0
        predictor = OnnxPredictor("model.onnx")
    with running(predictor) as client:
        by_http = [client.post("/predict", json=row).json()["prediction"] for row in rows.to_dict("records")]
    by_row = [predictor.predict(row)["prediction"][0] for row in rows.to_dict("records")]
    assert "2 of 8 rows whose 'income' is not a number such as $1,234.5, read as missing" in capsys.readouterr().out
    assert predictor.predict(rows.loc[3].to_dict()).attrs["unseen"] == {"income": 1}
    np.testing.assert_allclose([by_row, by_http], [answers] * 2, rtol=1e-4)
    assert len(set(answers[3:6])) == 1


def test_a_class_called_none_is_a_class() -> None:
    random, signal = draw()
    damage = np.where(signal + random.normal(size=ROWS) / 4 > 1, "Substantial", "None")
    frame = pd.DataFrame({"speed": 100 + 50 * signal, "bird": random.choice(["gull", "None", "crow"], ROWS)})

    schema = train(frame.assign(damage=damage), "damage")

    assert schema.target.classes == ("None", "Substantial")
    assert schema.categorical[0].vocabulary == ("None", "crow", "gull")
    assert accuracy() > 0.9


def test_a_file_without_a_header_is_read_by_numbers_of_its_columns() -> None:
    random, signal = draw()
    frame = pd.DataFrame({"x": signal, "noise": random.normal(size=ROWS), "y": signal + random.normal(0, 0.1, ROWS)})
    frame.to_csv("data.csv", index=False, header=False)

    options = ["--no-header", "--names", "x,noise,y", "--target", "y", "--accelerator", "cpu", "--epochs", "12"]
    assert main(["train", "data.csv", *options, "--no-report"]) == 0

    assert error_by_naive() < 0.3
