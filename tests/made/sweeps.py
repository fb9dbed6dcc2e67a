"""Sweeps of which `make test` runs a part; the rest is marked `slow`, and `make test-slow` runs it."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

FEW, MANY = 25, 200
FOUND_ALIKE = settings(
    deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)  # CI and a laptop see the same cases


def slow_but(quick: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Values of a parameter, of which all but the quick ones are slow."""
    return [
        value if value in quick else pytest.param(*(value if type(value) is tuple else [value]), marks=pytest.mark.slow)
        for value in values
    ]


def fuzzed(*strategies: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """Makes a test of a property: few drawn cases, and in a slow twin many."""

    def decorate(check: Callable[..., None]) -> Callable[[int], None]:
        @pytest.mark.parametrize("cases", slow_but([FEW], [FEW, MANY]))
        def test(cases: int) -> None:
            settings(FOUND_ALIKE, max_examples=cases)(given(*strategies)(check))()

        return test

    return decorate
