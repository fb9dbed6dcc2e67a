"""CollabDataModule: ratings and plain takings, from frame or file, with titles, splits and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tabvision.data import CollabDataModule, ColumnSplit, IndexSplit, SourceSplit
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.schema import Schema
from tabvision.tasks import Binary, Regression
from tests.made.ratings import made_ratings, made_titles, ratings_data, rows_of


def test_batches_hold_codes_of_users_and_items_of_the_training_rows_and_the_rating() -> None:
    frame = made_ratings()
    data = ratings_data(frame)
    batch = next(iter(data.train_dataloader()))
    users, items = data.schema.categorical
    rows = frame.iloc[batch["index"].numpy()]
    assert np.array(users.vocabulary)[batch["categorical"][:, 0] - 1].tolist() == rows["who"].tolist()
    assert np.array(items.vocabulary)[batch["categorical"][:, 1] - 1].tolist() == rows["film"].tolist()
    assert batch["target"][:, 0].tolist() == rows["stars"].tolist()
    assert batch["categorical"].dtype == torch.int64

    frame = made_ratings()
    unseen = frame["film"] == 7
    data = ratings_data(frame, split=IndexSplit(np.flatnonzero(unseen).tolist()))
    assert 7 not in data.schema.categorical[1].vocabulary
    assert not data.parts["val"].tensors["categorical"][data.parts["val"].rows, 1].any()


def test_the_schema_is_of_two_categories_and_a_number_and_is_used_again() -> None:
    schema = ratings_data().schema
    assert [column.name for column in schema.categorical] == ["who", "film"]
    assert not schema.continuous
    assert isinstance(schema.task, Regression)
    assert schema.task.y_range == (0.75, 5.25)
    assert Schema.from_dict(schema.to_dict()) == schema
    assert ratings_data(made_ratings().head(60), schema=schema).schema is schema

    with pytest.raises(BadValueError, match=r"the schema was fitted to \['who', 'film', 'stars'\], not to"):
        ratings_data(rating=None, schema=schema)


def test_a_file_is_read_like_its_frame(tmp_path: Path) -> None:
    made_ratings().to_csv(tmp_path / "ratings.csv", index=False)

    data: Any = ratings_data(tmp_path / "ratings.csv")

    assert data.schema == ratings_data().schema


def test_held_out_rows_of_unknown_items_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    frame = made_ratings()
    unseen = np.flatnonzero(frame["film"] == 7).tolist()

    ratings_data(frame, split=IndexSplit([*unseen, 0]), verbose=True)

    told = (
        f"val: {len(unseen)} of {len(unseen) + 1} rows with an item not seen in training, predicted as an average one."
    )
    assert told in capsys.readouterr().out


def test_known_pairs_are_those_of_every_part_whose_codes_are_known() -> None:
    frame = made_ratings()
    unseen = np.flatnonzero(frame["film"] == 7).tolist()

    data = ratings_data(frame, split=IndexSplit([*unseen[:3], 0, 1]))

    assert data.known_pairs().shape == (2, len(frame))
    assert ratings_data(frame, split=IndexSplit(unseen)).known_pairs().shape == (2, len(frame) - len(unseen))


def test_pairs_are_told_apart_and_the_baseline_is_the_mean_rating() -> None:
    data = ratings_data()
    assert data.training_pairs().shape[1] == len(data.parts["train"].rows)
    assert data.held_out_pairs().shape[1] == len(data.parts["val"].rows)

    train, val = (data.frame["stars"].iloc[data.parts[name].rows.numpy()] for name in ("train", "val"))
    assert data.baseline()["val/mae"] == pytest.approx((val - train.mean()).abs().mean(), rel=1e-5)
    assert ratings_data(rating=None).baseline() == {}


def test_yes_and_no_are_ratings_too() -> None:
    frame = made_ratings()
    frame["liked"] = np.where(frame["stars"] > 3, "yes", "no")

    data = ratings_data(frame, rating="liked")

    assert isinstance(data.schema.task, Binary)
    assert data.schema.classes == ("no", "yes")


@pytest.mark.parametrize("split", ["last", "time"])
def test_a_word_splits_by_time(split: str) -> None:
    data = ratings_data(split=split, timestamp="when")

    rows = data.frame.iloc[data.parts["val"].rows.numpy()]
    training = data.frame.iloc[data.parts["train"].rows.numpy()]
    if split == "time":
        assert rows["when"].min() > training["when"].max()
    else:
        assert (rows.set_index("who")["when"] > training.groupby("who")["when"].max().loc[rows["who"]]).all()


def test_splits_that_bring_columns_or_sources_of_their_own_work() -> None:
    frame = made_ratings()
    marked = frame.assign(part=np.where(np.arange(len(frame)) % 4 == 0, "valid", "train"))

    by_column = ratings_data(marked, split=ColumnSplit("part"))
    by_source = ratings_data(frame.iloc[50:], split=SourceSplit(frame.iloc[:50]))

    assert len(by_column.parts["val"].rows) == -(-len(frame) // 4)
    assert len(by_source.parts["val"].rows) == 50


def test_everything_may_train() -> None:
    assert set(ratings_data(split=None).parts) == {"train"}


def test_test_and_predict_rows_come_from_sources_of_their_own() -> None:
    fresh = made_ratings(seed=1).head(40)
    pairs = pd.DataFrame({"who": [100, None], "film": [3, 4]})

    data = ratings_data(test=fresh, predict=pairs)

    assert next(iter(data.test_dataloader()))["target"][:, 0].tolist() == fresh["stars"].tolist()
    assert next(iter(data.predict_dataloader()))["categorical"][1, 0] == 0


def test_titles_come_from_a_second_table_or_from_the_ratings() -> None:
    frame = made_ratings().merge(made_titles(), on="film")

    second = ratings_data(titles=made_titles())
    own = ratings_data(frame, title="title")

    expected = tuple(f"Film No. {label}" for label in second.schema.categorical[1].vocabulary)
    assert second.schema.categorical[1].titles == own.schema.categorical[1].titles == expected
    assert Schema.from_dict(second.schema.to_dict()) == second.schema


def test_a_category_without_titles_is_saved_as_before() -> None:
    (users, _) = ratings_data().schema.to_dict()["categorical"]

    assert "titles" not in users


# Without ratings: taken pairs, and drawn ones beside them.


def test_without_a_rating_negatives_stand_beside_each_pair() -> None:
    data = ratings_data(rating=None, negatives=3)

    batch = next(iter(data.train_dataloader()))

    assert data.schema.classes == ("no", "yes")
    assert len(batch["target"]) == 4 * 32
    assert batch["target"].sum() == 32


def test_negatives_are_no_training_pairs_and_change_from_epoch_to_epoch() -> None:
    data = ratings_data(rating=None, batch_size=1000)
    loader = data.train_dataloader()
    taken = set(map(tuple, data.training_pairs().T.tolist()))

    epochs = [next(iter(loader)) for _ in range(2)]

    drawn = [set(map(tuple, batch["categorical"][batch["target"] == 0].tolist())) for batch in epochs]
    assert not drawn[0] & taken
    assert drawn[0] != drawn[1]
    again = next(iter(ratings_data(rating=None, batch_size=1000).train_dataloader()))
    assert torch.equal(again["categorical"], epochs[0]["categorical"])


def test_validation_negatives_never_change_and_stand_against_rows_of_the_source() -> None:
    frame = made_ratings()
    data = ratings_data(frame, rating=None, negatives=2)
    part = data.parts["val"]

    loader: Any = data.val_dataloader()
    first, second = (next(iter(loader)) for _ in range(2))

    assert torch.equal(first["categorical"], second["categorical"])
    assert len(first["target"]) == 3 * len(part.rows) == 3 * round(0.2 * len(frame))
    rows = frame.iloc[first["index"].numpy()]
    assert (rows["who"] == np.array(data.schema.categorical[0].vocabulary)[first["categorical"][:, 0] - 1]).all()
    items = np.array(data.schema.categorical[1].vocabulary)[first["categorical"][:, 1] - 1]
    drawn = pd.DataFrame({"who": rows["who"].to_numpy(), "film": items})[(first["target"] == 0).numpy()]
    assert len(drawn) == 2 * len(part.rows)
    assert drawn.merge(frame, on=["who", "film"]).empty


def test_rows_to_predict_are_those_of_the_source_alone() -> None:
    data = ratings_data(rating=None)

    index = torch.cat([batch["index"] for batch in data.predict_dataloader()])

    assert index.tolist() == data.parts["val"].rows.tolist()


def test_held_out_pairs_without_ratings_are_the_taken_ones() -> None:
    frame = made_ratings()
    data = ratings_data(frame, rating=None, test=made_ratings(seed=1).head(10))

    assert data.held_out_pairs().shape[1] == round(0.2 * len(frame))
    assert data.held_out_pairs("test").shape[1] == 10


# What is refused, or said.


def test_repeated_pairs_are_refused_or_decided_upon(capsys: pytest.CaptureFixture[str]) -> None:
    frame = made_ratings()
    twice = pd.concat([frame, frame.head(3).assign(stars=1.0)], ignore_index=True)

    with pytest.raises(BadValueError, match="3 rows repeat a pair of 'who' and 'film', such as"):
        ratings_data(twice)
    last = ratings_data(twice, duplicates="last", split=None, verbose=True)

    assert len(last.parts["train"].rows) == len(frame)
    assert not set(rows_of(last)) & {0, 1, 2}
    assert "3 rows left out in favor of a later one with the same user and item." in capsys.readouterr().out
    assert len(ratings_data(twice, duplicates="keep", split=None).parts["train"].rows) == len(twice)


def test_the_last_of_a_repeated_pair_is_the_latest_in_time() -> None:
    frame = made_ratings()
    twice = pd.concat([frame, frame.head(1).assign(when=0)], ignore_index=True)

    data = ratings_data(twice, duplicates="last", timestamp="when", split=None)

    assert 0 in rows_of(data)
    assert len(frame) not in rows_of(data)
    written = twice.assign(when=[*["2/3/2020"] * len(frame), "3/2/2020"])
    assert 0 in rows_of(ratings_data(written, duplicates="last", timestamp="when", split=None, day_first=True))
    assert 0 not in rows_of(ratings_data(written, duplicates="last", timestamp="when", split=None))


def test_ratings_outside_the_range_are_refused_in_training_and_said_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = made_ratings()
    high = np.flatnonzero(frame["stars"] > 4.5).tolist()

    with pytest.raises(BadValueError, match=r"y_range is 0\.5 to 4\.5, but .* training targets lie outside"):
        ratings_data(frame, y_range=(0.5, 4.5))
    ratings_data(frame, y_range=(0.5, 4.5), split=IndexSplit(high), verbose=True)

    assert f"Note: {len(high)} validation rows outside 0.5 to 4.5" in capsys.readouterr().out


def test_missing_ids_and_ratings_are_refused_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    frame = made_ratings()
    frame.loc[2, "who"], frame.loc[5, "stars"] = np.nan, np.nan

    with pytest.raises(
        BadValueError,
        match=rf"'who' or 'stars' is missing in 2 of {len(frame)} rows, first row 2.*--drop-missing-target",
    ):
        ratings_data(frame)
    data = ratings_data(frame, missing="drop", verbose=True)

    assert sum(len(part.rows) for part in data.parts.values()) == len(frame) - 2
    assert "2 rows without 'who' or 'stars' left out." in capsys.readouterr().out


def test_ids_as_whole_floats_are_taken_as_whole_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    data = ratings_data(made_ratings().astype({"film": float}), verbose=True)

    assert data.schema == ratings_data().schema
    assert "Column 'film' holds floats that are all whole" in capsys.readouterr().out


def test_ids_with_fractions_and_test_rows_without_a_rating_are_refused() -> None:
    with pytest.raises(BadTypeError, match=r"column 'stars' must hold ids, got the number \d\.5"):
        ratings_data(user="stars", rating=None)

    lists = pd.Series([[row] for row in range(len(made_ratings()))], dtype=pd.ArrowDtype(pa.list_(pa.int64())))
    with pytest.raises(BadTypeError, match="column 'who' holds values that cannot be compared"):
        ratings_data(made_ratings().assign(who=lists), duplicates="keep")

    with pytest.raises(MissingColumnsError, match="lacks 1 column: 'stars'"):
        ratings_data(test=made_ratings().drop(columns="stars"))


@pytest.mark.parametrize(("column", "role"), [("who", "user"), ("film", "item")])
def test_a_single_user_or_item_is_refused(column: str, role: str) -> None:
    with pytest.raises(BadValueError, match=f"there must be at least two {role}s, got only 1 in column '{column}'"):
        ratings_data(made_ratings().drop_duplicates("film" if column == "who" else "who").assign(**{column: 1}))


def test_users_called_na_none_and_nan_are_users_on_request(tmp_path: Path) -> None:
    users = ["NA", "None", "nan", "001", "x"]
    rows = [f"{user},{item},{3 + (place + item) % 3},7\n" for place, user in enumerate(users) for item in range(4)]
    (tmp_path / "r.csv").write_text("who,film,stars,note\n" + "".join(rows))
    settings: dict[str, Any] = {"rating": "stars", "user": "who", "item": "film", "split": None, "verbose": False}

    data = CollabDataModule(tmp_path / "r.csv", na_values=[], **settings)

    assert data.schema.categorical[0].vocabulary == ("001", "NA", "None", "nan", "x")
    again = CollabDataModule(tmp_path / "r.csv", schema=data.schema, **settings)
    assert (again.parts["train"].tensors["categorical"] > 0).all()
    with pytest.raises(BadValueError, match="'who' is missing in 12 of 20 rows"):
        CollabDataModule(tmp_path / "r.csv", **settings)


def test_columns_that_are_not_used_are_reported() -> None:
    data = ratings_data(made_ratings().assign(genre="x", part="train", title="Heat"), title="title")

    assert [column.name for column in data.schema.left_out] == ["when", "genre", "part"]
    assert "a model of ratings reads users and items" in data.summary()


def test_a_pair_takes_few_bytes() -> None:
    rows = np.arange(2_000)
    frame = pd.DataFrame({"who": rows % 100, "film": rows // 100})

    data = CollabDataModule(frame, user="who", item="film", verbose=False)

    tensors = data.parts["train"].tensors
    held = [*tensors.values(), *(part.rows for part in data.parts.values())]
    added = data.frame.drop(columns=["who", "film"]).memory_usage(deep=True, index=False).sum()
    assert (
        sum(each.untyped_storage().nbytes() for each in held) <= 16 * len(frame) + 64
    )  # codes of user and item, row numbers twice
    assert added <= len(frame) + 200
    assert data.frame["interaction"].tolist() == ["yes"] * len(frame)
    batch = next(iter(data.train_dataloader()))
    assert {batch[name].dtype for name in ("categorical", "index", "target")} == {torch.int64}
