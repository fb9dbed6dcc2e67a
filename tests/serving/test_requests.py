"""Limits are checked where they are set."""

from typing import Any

import pytest

from tabvision.errors import BadTypeError, BadValueError
from tabvision.serving.requests import Limits


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_rows": 0}, BadValueError, "max_rows must be above 0, got 0"),
        ({"max_bytes": -1}, BadValueError, "max_bytes must be above 0"),
        ({"read_seconds": float("nan")}, BadValueError, "read_seconds must be above 0"),
        ({"max_rows": 2.5}, BadTypeError, "max_rows must be a number, got 2.5"),
        ({"max_rows": True}, BadTypeError, "max_rows must be a number, got True"),
        ({"read_seconds": "1"}, BadTypeError, "read_seconds must be a number"),
    ],
)
def test_a_wrong_limit_is_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Limits: {message}"):
        Limits(**settings)
