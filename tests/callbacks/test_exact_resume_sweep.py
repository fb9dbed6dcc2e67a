"""Fits of every kind, resumed from every checkpoint on one rank and on two: the same bits, files, callbacks and logs."""

from pathlib import Path

import pytest

from tests.made.processes import both_ranks, on_two
from tests.made.resumes import CASES, PLUG_IN_CASES, sweep
from tests.made.sweeps import slow_but

FROM_ALL = "early stopping, validating within epochs"
OTHERS = [name for name in CASES if name not in PLUG_IN_CASES]
# How many checkpoints further the next fit resumes: the ends of epochs differ where it validates within or across them.
SWEPT = [(FROM_ALL, 1), *((name, 3 if name.startswith("validating") else 7) for name in OTHERS)]
QUICK = [(name, 7) for name in (FROM_ALL, "accumulation, validating within epochs", "drawn rows")]

# a resumed fit finds what the one before it had written
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@pytest.mark.parametrize(("name", "every"), slow_but(QUICK, SWEPT))
def test_resumed_from_every_checkpoint_a_fit_leaves_behind_what_the_uninterrupted_one_does(
    name: str, every: int, tmp_path: Path
) -> None:
    found = sweep(name, tmp_path, every, first=0 if every < 7 else list(CASES).index(name) % every)

    assert len(found) * every > 9
    assert {ckpt: differs for ckpt, differs in found.items() if differs} == {}


@pytest.mark.parametrize("name", slow_but(["plug-in adult"], PLUG_IN_CASES))
def test_so_does_a_fit_on_each_of_the_plug_ins(name: str, tmp_path: Path) -> None:
    found = sweep(name, tmp_path, every=17)

    assert len(found) > 2
    assert {ckpt: differs for ckpt, differs in found.items() if differs} == {}


@pytest.mark.parametrize("script", slow_but(["resumes, few"], ["resumes, few", "resumes"]))
def test_on_two_ranks_as_well(script: str, tmp_path: Path) -> None:
    for rank in both_ranks(on_two(script, tmp_path)):
        found = {(name, ckpt): differs for name, swept in rank.items() for ckpt, differs in swept.items()}

        assert len(found) > 2
        assert {key: differs for key, differs in found.items() if differs} == {}
