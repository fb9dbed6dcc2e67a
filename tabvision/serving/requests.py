"""What a request asks, read with suspicion: rows from JSON, images from an upload. Nothing that it names is opened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn, final

from tabvision.errors import MissingColumnsError, count
from tabvision.schema import Schema
from tabvision.serving.limits import Limits

BAD_REQUEST, TOO_LARGE, WRONG_KIND, WRONG_VALUES = 400, 413, 415, 422


@final
class RequestError(Exception):
    """A request that is refused.

    Args:
        status: Of the answer.
        sentence: What is wrong with the request and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def rows_of_json(body: bytes, schema: Schema, limits: Limits) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a JSON body, and whether it was a single one rather than a list.

    Raises:
        RequestError: No JSON, no row or list of rows, too many, or values that no column holds.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> rows_of_json(b'{"age": 41}', Schema(target=Target(columns=("paid",), task=Binary())), Limits())
        ([{'age': 41}], True)
    """
    if schema.image is not None:
        sentence = (
            "This model looks at images: upload them as multipart/form-data, not as JSON. No path or URL is opened."
        )
        raise RequestError(WRONG_KIND, sentence)
    found = _parsed(body)
    is_one = isinstance(found, dict)
    rows = [found] if is_one else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(BAD_REQUEST, 'The body must be one row, such as {"age": 41}, or a list of rows.')
    _check_count(len(rows), "row", limits)
    for number, row in enumerate(rows):
        _check_names(number, row, schema)
        for name, value in row.items():
            _check_value(number, name, value, limits)
    return rows, is_one


def check_images(images: Sequence[bytes], limits: Limits) -> None:
    """Refuses images that are too many, no images, or of more pixels than are taken; none is decoded here.

    Raises:
        RequestError: One of these.
    """
    from tabvision.data.decode import UnreadableImageError, open_picture

    _check_count(len(images), "image", limits)
    for number, data in enumerate(images, start=1):
        try:
            height, width = open_picture(data).size
        except UnreadableImageError as error:
            raise RequestError(WRONG_VALUES, f"Image {number}: {error.reason}.") from error
        if height * width > limits.max_pixels:
            size = f"{width:,} x {height:,} pixels, more than the {limits.max_pixels:,} that are taken"
            raise RequestError(TOO_LARGE, f"Image {number} has {size}. Scale it down first.")


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever the JSON holds
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise RequestError(BAD_REQUEST, "The body must be JSON in UTF-8.") from error
    except RecursionError as error:
        raise RequestError(BAD_REQUEST, "The JSON is nested too deeply. Send rows of plain values.") from error
    except ValueError as error:  # a number with thousands of digits as well
        reason = str(error).splitlines()[0].split("; use sys.")[0].rstrip(".")
        raise RequestError(BAD_REQUEST, f"The body is no JSON: {reason}.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(BAD_REQUEST, f"{name} is no JSON number. Send null for a missing value.")


def _check_count(number: int, noun: str, limits: Limits) -> None:
    if number == 0:
        raise RequestError(BAD_REQUEST, f"The request holds no {noun}. Send at least one.")
    if number > limits.max_rows:
        sentence = f"The request holds {count(number, noun)}, more than the {limits.max_rows:,} that are taken at once."
        raise RequestError(TOO_LARGE, f"{sentence} Send them in several requests.")


def _check_names(number: int, row: dict[str, Any], schema: Schema) -> None:
    """Every row by itself: among others, a frame would take a column that one row lacks for missing."""
    if missing := [name for name in schema.inputs if name not in row]:
        error = MissingColumnsError(f"Row {number}", missing, row, "Send null for a value that is not known")
        raise RequestError(WRONG_VALUES, str(error).replace("the frame lacks", "it lacks"))


def _check_value(number: int, name: str, value: object, limits: Limits) -> None:
    if isinstance(value, dict | list):
        raise RequestError(
            WRONG_VALUES, f"Row {number}, {name!r}: a value must be a number, text, true, false or null."
        )
    if isinstance(value, str) and len(value) > limits.max_value_chars:
        sentence = f"Row {number}, {name!r}: a text of {len(value):,} characters, more than {limits.max_value_chars:,}."
        raise RequestError(TOO_LARGE, sentence)
