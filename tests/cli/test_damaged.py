"""Damaged recipes and command lines end in a run or in a sentence: no signal, no foreign exception, no endless wait."""

import pytest

from tests.made.fuzz import check


@pytest.mark.parametrize("what", ["recipes", "commands"])
def test_some_damage_to_what_a_user_writes(what: str) -> None:
    check(what, seed=0, cases=5)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["recipes", "commands"])
def test_more_damage_to_what_a_user_writes(what: str) -> None:
    check(what, seed=1, cases=25)
