"""Two torchrun agents on the loopback; a rank killed within an epoch comes back, and the fit ends with the same bits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import elastic
from benchmarks.elastic_train import EPOCHS, KILLED_AT, SAVE_EVERY, STEPS_PER_EPOCH


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback has another name there")
def test_a_killed_rank_is_started_again_and_the_fit_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    elastic.run(tmp_path)

    seen = elastic.compare(tmp_path)

    assert seen["killed"]
    assert 0 < seen["went_on_from"] == KILLED_AT // SAVE_EVERY * SAVE_EVERY
    assert KILLED_AT % STEPS_PER_EPOCH  # in the middle of an epoch
    assert seen["steps"] == EPOCHS * STEPS_PER_EPOCH
    assert seen["tensors"] > 10
    assert seen["different"] == []


def test_a_run_that_fails_shows_what_both_hosts_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        elastic, "agent", lambda folder, port: [sys.executable, "-c", f"raise SystemExit('{folder.name}, {port}')"]
    )

    with pytest.raises(RuntimeError, match=rf"{tmp_path.name}, \d+"):
        elastic.run(tmp_path)
