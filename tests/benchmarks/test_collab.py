"""The comparison on ratings: what it runs, what it makes of the runs."""

from pathlib import Path

import pytest

from benchmarks.collab import main, parse, run_tabvision, simulate, to_markdown
from tests.made.ratings import made_ratings


def one_run(seconds: float, rmse: float) -> dict[str, float]:
    return {"rmse": rmse, "epoch_seconds": seconds}


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [
        {"batch_size": 64, "fastai": one_run(8.0, 0.89), "tabvision": one_run(2.0, 0.87)},
        {"batch_size": 64, "fastai": one_run(20.0, 0.89), "tabvision": one_run(10.0, 0.88)},
    ]
    machine = {"cpu": "some", "cores": 2, "threads": 1, "system": "Linux"}

    text = to_markdown({"machine": machine, "versions": {"python": "3"}, "commit": None, "rounds": rounds})

    assert "| 64 | 0.8900 | 14.00 | 0.8750 | 6.00 | 3.0 (2.0 to 4.0) |" in text


def test_a_run_is_the_librarys_own_fit(tmp_path: Path) -> None:
    frame = made_ratings().rename(columns={"who": "user", "film": "film", "stars": "rating"})
    frame.to_csv(tmp_path / "ratings.csv", index=False)

    found = run_tabvision(str(tmp_path / "ratings.csv"), 64, 0)

    assert len(found["all_epochs"]) == 5
    assert found["rmse"] < 1.5
    assert found["rows_per_second"] == pytest.approx(int(0.8 * len(frame)) / found["epoch_seconds"])


def test_a_simulation_tells_weights_and_step(capsys: pytest.CaptureFixture[str]) -> None:
    for rowwise in (False, True):
        found = simulate(1_000, rowwise=rowwise)
        assert found["weights_mib"] == pytest.approx(2 * 1_001 * 51 * 4 / 2**20, rel=1e-4)
        assert found["step_seconds"] > 0
    main(["--simulate", "100"])

    assert "| 100 users and as many items |" in capsys.readouterr().out


def test_batch_sizes_are_parted_by_commas() -> None:
    assert parse(["--batch-sizes", "64,128"]).batch_sizes == [64, 128]
