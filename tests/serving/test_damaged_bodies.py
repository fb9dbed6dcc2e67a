"""Damaged requests get an answer or a sentence: no server error, no signal, no endless wait."""

import pytest

from tests.made.fuzz import check


def test_some_damage_to_requests() -> None:
    check("bodies", seed=0, cases=15)


@pytest.mark.slow
def test_much_damage_to_requests() -> None:
    check("bodies", seed=1, cases=900)
