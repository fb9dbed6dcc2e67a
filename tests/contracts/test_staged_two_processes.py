"""Stages on two gloo processes: both equal to the bit across every border, and equal to one process within rounding."""

from pathlib import Path

import pytest
import torch

from tests.made.modules import different
from tests.made.processes import Seen, both_ranks, on_two
from tests.made.processes_stages import EPOCHS, FITS, RESUMED_STEPS, SWEEP, fit, spawn, sweep

PER_EPOCH = 3  # steps of the tables' fit
HEAD = ["head.weight", "head.bias"]
MIDDLE = ["middle.0.weight", "middle.0.bias"]
BODY = ["body.0.weight", "body.0.bias"]
NUMBERS = {"body": 40, "middle": 72, "head": 9}  # parameters in each part

pytestmark = pytest.mark.slow  # `test_two_processes.py` is the quick one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes wrote what they saw, and their checkpoints."""
    return on_two("stages", tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def seen(folder: Path) -> Seen:
    """What each of two processes saw."""
    return both_ranks(folder)


@pytest.mark.parametrize("name", FITS)
def test_replicas_are_equal_to_the_bit_after_every_epoch_across_every_border(seen: Seen, name: str) -> None:
    first, second = (process[name]["states"] for process in seen)

    assert len(first) == len(second) == EPOCHS
    assert [different(*states) for states in zip(first, second, strict=True)] == [[]] * EPOCHS


@pytest.mark.parametrize("name", sorted(set(FITS) - {"norms"}))
def test_two_processes_equal_one_on_the_joined_batches(seen: Seen, name: str, tmp_path: Path) -> None:
    alone = fit(name, tmp_path, world_size=1)

    for ours, one in zip(seen[0][name]["states"], alone["states"], strict=True):
        assert ours.keys() == one.keys()
        for key, value in ours.items():
            torch.testing.assert_close(value, one[key], rtol=0, atol=1e-12, msg=key)


def test_the_moments_of_a_thawed_layer_are_there_and_compared(seen: Seen) -> None:
    states = seen[0]["adamw"]["states"]

    assert "exp_avg body.0.weight" not in states[1]
    assert states[2]["exp_avg body.0.weight"].abs().max() > 0
    assert states[2]["step body.0.weight"] == 4  # steps in one epoch


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", [HEAD, MIDDLE + HEAD, BODY + MIDDLE + HEAD, BODY + MIDDLE + HEAD]),
        ("frozen again", [BODY + MIDDLE + HEAD, HEAD, MIDDLE + HEAD, BODY + MIDDLE + HEAD]),
        ("fine_tune", [HEAD, HEAD, BODY + MIDDLE + HEAD, BODY + MIDDLE + HEAD]),
    ],
)
def test_frozen_gradients_are_neither_computed_nor_reduced(seen: Seen, name: str, expected: list[list[str]]) -> None:
    sizes = [sum(NUMBERS[part] for part in {key.split(".")[0] for key in names}) for names in expected]

    for process in seen:
        assert process[name]["trains"] == process[name]["grads"] == expected
        assert process[name]["reduced"] == sizes


def test_a_fit_resumed_by_two_processes_ends_with_the_same_bits(seen: Seen) -> None:
    first, second = (process["resume"] for process in seen)

    assert first["steps"] == 3 * PER_EPOCH
    assert not different(first["whole"], second["whole"])
    for step in RESUMED_STEPS:
        assert not different(first["resumed"][step], first["whole"]), f"resumed at step {step}"
        assert not different(first["resumed"][step], second["resumed"][step]), f"resumed at step {step}"


def test_a_sweep_averages_its_losses_over_both_processes(seen: Seen, tmp_path: Path) -> None:
    first, second = (process["sweep"] for process in seen)

    alone = sweep(tmp_path)

    assert len(first["losses"]) == SWEEP
    assert first == second
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-6)
    assert first["suggestion"] == alone["suggestion"]


def test_spawned_processes_are_equal_to_those_of_a_script(seen: Seen, tmp_path: Path) -> None:
    spawn(tmp_path)

    for rank, process in enumerate(both_ranks(tmp_path)):
        assert process["trains"] == seen[rank]["found"]["trains"]
        for ours, theirs in zip(process["states"], seen[rank]["found"]["states"], strict=True):
            assert not different(ours, theirs)
