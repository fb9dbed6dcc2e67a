"""How much one request may ask for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

from tabvision.errors import BadTypeError, BadValueError


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that is taken; what is beyond is refused with a sentence.

    Args:
        max_bytes: Of a request's body.
        max_rows: Rows, or images, of a request.
        max_pixels: Of an image, height times width, told from its header before it is decoded.
        max_total_pixels: Of all images of a request.
        max_value_chars: Of a text in a row.
        batch_rows: Rows of several requests that go through the network together.
        max_waiting: Requests that wait for an answer.
        read_seconds: For a request to arrive whole.

    Raises:
        BadTypeError: A limit that is no number.
        BadValueError: A limit below 1, or no time at all.

    Example:
        >>> Limits(max_rows=5).max_rows
        5
    """

    max_bytes: int = 16 << 20
    max_rows: int = 1_000
    max_pixels: int = 50_000_000
    max_total_pixels: int = 400_000_000
    max_value_chars: int = 100_000
    batch_rows: int = 256
    max_waiting: int = 1_000
    read_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_time = field.name == "read_seconds"
            if isinstance(value, bool) or not isinstance(value, (int, float) if is_time else int):
                raise BadTypeError("Limits", f"{field.name} must be a number, got {value!r}", "Pass such as 1000")
            if not value > 0:
                raise BadValueError("Limits", f"{field.name} must be above 0, got {value!r}", "Pass such as 1000")
