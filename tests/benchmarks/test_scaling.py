"""Exponents are fitted beside a constant, and the document shows what was measured."""

import json

import pytest

from benchmarks.scaling import exponent
from benchmarks.scaling_limits import DOCUMENT, RESULT, tables


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_an_exponent_is_found_beside_a_constant(power: float) -> None:
    sizes = [1, 1_000, 2_000, 5_000, 12_000, 32_000]

    found = exponent(sizes, [7 + 0.1 * size**power for size in sizes])

    assert found["exponent"] == pytest.approx(power, abs=0.02)


def test_the_tables_of_the_document_are_those_of_the_result() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    for name, content in tables(json.loads(RESULT.read_text(encoding="utf-8"))).items():
        assert f"<!-- {name} -->\n{content}\n<!-- end -->" in text, "run benchmarks/scaling_limits.py"
