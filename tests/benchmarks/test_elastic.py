"""Two torchrun agents on the loopback: one fails within an epoch, the other goes on alone until a host joins."""

import sys
from pathlib import Path

import pytest

from benchmarks import elastic
from benchmarks.elastic_train import EPOCHS, FAILS_AT, SAVE_EVERY, STEPS_PER_EPOCH, WAITS_AT


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback has another name there")
def test_a_host_fails_the_other_goes_on_alone_another_joins_and_the_weights_are_those_of_an_undisturbed_fit(
    tmp_path: Path,
) -> None:
    elastic.run(tmp_path)

    seen = elastic.compare(tmp_path)

    last = [step // SAVE_EVERY * SAVE_EVERY for step in (0, FAILS_AT, WAITS_AT)]
    assert seen["lives"] == [{"from_step": step, "ranks": ranks} for step, ranks in zip(last, (2, 1, 2), strict=True)]
    assert FAILS_AT % STEPS_PER_EPOCH
    assert WAITS_AT % STEPS_PER_EPOCH  # in the middle of epochs
    assert seen["steps"] == EPOCHS * STEPS_PER_EPOCH
    assert seen["distance"] < elastic.TOLERANCE
    assert seen["different"] == []


def test_a_run_that_fails_shows_what_the_hosts_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        elastic, "agent", lambda folder, *_: [sys.executable, "-c", f"raise SystemExit('{folder.name}')"]
    )

    with pytest.raises(RuntimeError, match=tmp_path.name):
        elastic.run(tmp_path)
