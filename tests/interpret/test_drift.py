"""Drift and overlap beside scipy and pandas, without false alarms over many seeds."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped]  # comes with scikit-learn

from tabvision.data import TabularDataModule
from tabvision.errors import BadValueError, MissingColumnsError
from tabvision.interpret import drift, overlap


def people(seed: int, rows: int = 500) -> pd.DataFrame:
    """Columns of every kind, with missing values."""
    random = np.random.default_rng(seed)
    job = random.choice([f"job {number}" for number in range(40)], rows, p=np.arange(1, 41) / 820)
    frame = pd.DataFrame({"age": random.normal(40, 10, rows), "visits": random.poisson(0.3, rows), "job": job})
    frame["born"] = pd.Timestamp("1980-01-01") + pd.to_timedelta(random.integers(0, 9_000, rows), unit="D")
    frame["id"] = [f"{number:x}" for number in random.integers(0, 2**60, rows)]
    frame["member"] = random.random(rows) < 0.1
    return frame.mask(random.random(frame.shape) < 0.02)


def test_the_distances_and_their_p_values_are_those_of_scipy() -> None:
    one, other = people(0), people(1, 300).assign(age=lambda frame: frame["age"] + 2)

    found = drift(one, other, columns=["age", "job"]).set_index("column")

    tested = stats.ks_2samp(one["age"].dropna(), other["age"].dropna(), method="asymp")
    assert found.loc["age", "distance"] == pytest.approx(tested.statistic)
    jobs = pd.DataFrame({"one": one["job"].value_counts(), "other": other["job"].value_counts()}).fillna(0)
    variation = (jobs["one"] / jobs["one"].sum() - jobs["other"] / jobs["other"].sum()).abs().sum() / 2
    assert found.loc["job", "distance"] == pytest.approx(variation)


def test_p_values_are_those_of_scipy_times_their_number() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=4_000), random.normal(size=4_000) * 0.9
    jobs = random.choice(["a", "b", "c"], 4_000), random.choice(["a", "b", "c"], 4_000, p=[0.37, 0.33, 0.3])
    frames = [
        pd.DataFrame({"x": values, "job": job, "lost": np.where(np.arange(4_000) < num, np.nan, 1.0)})
        for values, job, num in ((one, jobs[0], 100), (other, jobs[1], 140))
    ]

    found = drift(*frames).set_index("column")["p_value"]

    table = np.stack([np.unique(job, return_counts=True)[1] for job in jobs])
    assert found["x"] == pytest.approx(
        4 * stats.kstwobign.sf(stats.ks_2samp(one, other).statistic * 2_000**0.5), rel=1e-6
    )
    assert found["job"] == pytest.approx(2 * stats.chi2_contingency(table).pvalue, rel=1e-9)
    assert found["lost"] == pytest.approx(4 * stats.chi2_contingency([[100, 3_900], [140, 3_860]]).pvalue, rel=1e-9)


def false_alarms(seeds: range) -> float:
    flags = []
    for seed in seeds:
        sizes = np.random.default_rng(seed).choice([10, 60, 500, 3_000], 2)
        found = drift(people(2 * seed, sizes[0]), people(2 * seed + 1, sizes[1]))
        flags.append(found["drifted"].mean())
    return float(np.mean(flags))


def test_without_drift_hardly_a_column_is_flagged() -> None:
    assert false_alarms(range(30)) <= 0.02


@pytest.mark.slow
def test_without_drift_one_column_in_a_hundred_is_flagged() -> None:
    assert false_alarms(range(30, 200)) <= 0.01


def test_each_planted_drift_is_flagged_and_first() -> None:
    one, other = people(0, 2_000), people(1, 2_000)
    other["age"] += 4
    other.loc[:200, "visits"] = np.nan
    other.loc[:100, "job"] = "job of the future"
    other.loc[:40, "born"] = pd.Timestamp("2030-01-01")

    found = drift(one, other)

    assert set(found["column"][found["drifted"]]) == {"age", "visits", "job", "born"} == set(found["column"][:4])
    by_name = found.set_index("column")
    assert by_name.loc["visits", "missing"] == pytest.approx(
        other["visits"].isna().mean() - one["visits"].isna().mean()
    )
    assert by_name.loc["job", "unseen"] == pytest.approx(101 / 2_000)
    assert by_name.loc["born", "outside"] == pytest.approx(41 / 2_000, abs=0.002)


def test_a_schema_says_how_columns_are_read() -> None:
    frame = pd.DataFrame(
        {"code": [1, 2, 3, 4] * 25, "price": ["$1", "$2", "$4", "$8"] * 25, "paid": ["no", "yes"] * 50}
    )
    data = TabularDataModule(frame, "paid", categorical=["code"], continuous=["price"], split=None, verbose=False)

    found = drift(frame, frame.assign(code=frame["code"] % 4 + 2, price="$16"), schema=data.schema).set_index("column")

    assert list(found["measure"][["code", "price"]]) == ["total variation", "Kolmogorov-Smirnov"]
    assert found.loc["price", "outside"] == 1
    assert found.loc["code", "unseen"] == 0.25
    assert "paid" not in found.index


def test_one_row_a_column_without_a_value_and_tables_in_files(tmp_path: Path) -> None:
    frame = people(0, 50)
    frame.assign(age=np.nan).to_csv(tmp_path / "new.csv", index=False)

    assert not drift(frame, frame[:1])["drifted"].any()
    found = drift(frame, tmp_path / "new.csv", columns=["age", "visits"]).set_index("column")
    assert found.loc["age", "drifted"]
    assert found.loc["age", "missing"] > 0.9
    assert not found.loc["visits", "drifted"]
    with pytest.raises(MissingColumnsError, match="'agge' \\(did you mean 'age'"):
        drift(frame, frame, columns=["agge"])
    with pytest.raises(BadValueError, match="no rows"):
        drift(frame, frame[:0])


def test_the_rows_in_both_tables_are_found_whatever_the_target() -> None:
    train, held_out = people(0), people(1, 100)
    held_out.iloc[[5, 70]] = train.iloc[[12, 3]].to_numpy()
    held_out = held_out.astype(train.dtypes.to_dict())
    held_out.loc[5, "member"] = "other"

    found = overlap(train, held_out, target="member")

    assert found[["row", "first_row"]].to_numpy().tolist() == [[5, 12], [70, 3]]
    assert found["same_target"].tolist() == [False, True]
    assert overlap(train, people(2), target="member").empty


def test_missing_values_whole_floats_and_lists_are_equal_as_values() -> None:
    first = pd.DataFrame({"x": [1, 2, 3], "job": pd.Categorical(["a", None, "b"]), "labels": [["p"], ["q"], []]})
    second = pd.DataFrame({"x": [2.0, np.nan], "job": [None, "a"], "labels": [["q"], ["p"]]})

    assert overlap(first, second, target="labels").to_numpy().tolist() == [[0, 1, True]]


def test_overlap_is_that_of_a_merge() -> None:
    random = np.random.default_rng(0)
    first, second = (pd.DataFrame(random.integers(0, 4, (300, 4)), columns=list("abcd")) for _ in range(2))

    found = overlap(first, second)

    merged = second.reset_index().merge(first.drop_duplicates(), on=list("abcd"))["index"]
    assert found["row"].tolist() == sorted(merged)
    assert (first.loc[found["first_row"]].to_numpy() == second.loc[found["row"]].to_numpy()).all()


def test_both_take_some_seconds_at_most_for_many_rows() -> None:
    one, other = people(0, 60_000), people(1, 20_000)
    started = time.process_time()
    drift(one, other)
    overlap(one, other, target="member")

    assert time.process_time() - started < 5
