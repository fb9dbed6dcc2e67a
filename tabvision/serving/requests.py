"""Read and check untrusted requests: rows from JSON, images from an upload. Never open a path or URL in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, final

from tabvision.checks import is_integer, is_number
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, count, speaking
from tabvision.plain import object_of
from tabvision.schema import Image, Schema

BAD_REQUEST, TOO_LARGE, WRONG_KIND, WRONG_VALUES, OVERLOADED = 400, 413, 415, 422, 503

_MAX_SCANS = 50  # a progressive JPEG has about ten, and its thumbnail may have ten more
_MAX_SEGMENTS = 2_000
_MAX_NAMES = 1_000  # the most unused names: a missing name is compared with each of them
_JPEG = b"\xff\xd8"
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA))


@final
class RequestError(Exception):
    """A request that is refused."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def rows_of_json(body: bytes, schema: Schema, limits: Limits) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows in a JSON body, and whether it was a single row rather than a list.

    Names that the model does not use are dropped, since they would become columns of a frame.

    Raises:
        RequestError: The body is not JSON, is neither a row nor a list of rows, or has too many rows or invalid values.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Binary
        >>> age = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=40.0)
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary()), continuous=(age,))
        >>> rows_of_json(b'{"age": 41, "more": 1}', schema, Limits())
        ([{'age': 41}], True)
    """
    if schema.is_of_images:
        sentence = "This model reads images: upload them as multipart/form-data, not as JSON. No path or URL is opened."
        raise RequestError(WRONG_KIND, sentence)
    found = _parsed(body)
    is_one = isinstance(found, dict)
    rows = [found] if is_one else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(BAD_REQUEST, 'The body must be one row, such as {"age": 41}, or a list of rows.')
    _check_count(len(rows), "row", limits)
    names = () if schema.image is None else schema.image.columns
    for number, row in enumerate(rows):
        if given := [name for name in names if row.get(name) is not None]:
            sentence = f"Row {number}, {given[0]!r}: no path or URL is opened. Upload the image as multipart/form-data."
            raise RequestError(WRONG_VALUES, sentence)
        row.update(dict.fromkeys(names))
        _check_row(number, row, schema, limits)
    return [{name: row[name] for name in schema.inputs} for row in rows], is_one


def check_images(images: Sequence[bytes], limits: Limits, image: Image | None = None) -> int:
    """Return the total pixels without decoding; raise if there are too many pixels or images, or an invalid image."""
    from tabvision.data.images.bands import open_as
    from tabvision.data.images.decode import UnreadableImageError

    _check_count(len(images), "image", limits)
    total = 0
    for number, data in enumerate(images, start=1):
        if data.startswith(_JPEG) and not _is_cheap_to_decode(data):
            sentence = f"Image {number} is a JPEG of more scans or segments than a camera writes. Save it again."
            raise RequestError(WRONG_VALUES, sentence)
        try:
            height, width = open_as(data, image).size
        except UnreadableImageError as error:
            if image is not None and image.optional:  # the row is predicted without it
                continue
            raise RequestError(WRONG_VALUES, f"Image {number}: {error.reason}.") from error
        size = f"{width:,} x {height:,} pixels"
        if height * width > limits.max_pixels:
            sentence = f"Image {number} has {size}, more than the limit of {limits.max_pixels:,}. Scale it down."
            raise RequestError(TOO_LARGE, sentence)
        total += height * width
        if total > limits.max_total_pixels:
            sentence = f"With image {number} of {size} there are more than {limits.max_total_pixels:,} pixels in all."
            raise RequestError(TOO_LARGE, f"{sentence} Send the images in several requests.")
    return total


def _is_cheap_to_decode(data: bytes) -> bool:
    """Return whether a JPEG has few scans, since each is a pass over all pixels, and few segments, since each is read.

    Source: libjpeg-turbo, "Two Issues with the JPEG Standard": progressive files with a great many scans.
    """
    if data.count(b"\xff\xda") > _MAX_SCANS:
        return False
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        marker = data[offset : offset + 2]
        if len(marker) < 2 or marker[0] != 0xFF or marker == b"\xff\xda":
            return True  # the pixels start here, or the decoder will report the error
        alone = marker[1] in _WITHOUT_LENGTH
        offset += 1 if marker[1] == 0xFF else 2 if alone else 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return False


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever the JSON holds
    def refuse_constant(name: str) -> NoReturn:
        raise RequestError(BAD_REQUEST, f"{name} is not a JSON number. Send null for a missing value.")

    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=refuse_constant, object_pairs_hook=object_of)
    except UnicodeDecodeError as error:
        raise RequestError(BAD_REQUEST, "The body must be JSON in UTF-8.") from error
    except RecursionError as error:
        raise RequestError(BAD_REQUEST, "The JSON is nested too deeply. Send rows of plain values.") from error
    except ValueError as error:  # such as a number with thousands of digits
        reason = str(error).splitlines()[0].split("; use sys.")[0].rstrip(".")
        raise RequestError(BAD_REQUEST, f"The body is not JSON: {reason}.") from error


def _check_count(number: int, noun: str, limits: Limits) -> None:
    if number == 0:
        raise RequestError(BAD_REQUEST, f"The request holds no {noun}. Send at least one.")
    if number > limits.max_rows:
        sentence = f"The request holds {count(number, noun)}, more than the limit of {limits.max_rows:,}."
        raise RequestError(TOO_LARGE, f"{sentence} Send them in several requests.")


def _check_row(number: int, row: dict[str, Any], schema: Schema, limits: Limits) -> None:
    """Raise if the row has a bad value, or lacks a column, which a frame of several rows would fill with missing values."""
    if len(row) > _MAX_NAMES + len(schema.inputs):
        raise RequestError(
            TOO_LARGE, f"Row {number} has {len(row):,} names, but the model reads {len(schema.inputs):,}."
        )
    if missing := [name for name in schema.inputs if name not in row]:
        error = MissingColumnsError(f"Row {number}", missing, row, "Send null for a value that is not known")
        raise RequestError(WRONG_VALUES, str(error).replace("the frame lacks", "it lacks"))
    for name, value in row.items():
        cell = f"Row {number}, {name!r}"
        if isinstance(value, dict | list):
            raise RequestError(WRONG_VALUES, f"{cell}: a value must be a number, text, true, false or null.")
        if isinstance(value, str) and len(value) > limits.max_value_chars:
            sentence = f"{cell}: a text of {len(value):,} characters, more than {limits.max_value_chars:,}."
            raise RequestError(TOO_LARGE, sentence)


@final
class SharedBudget:
    """A limit on what all requests together may hold.

    Example:
        >>> budget = SharedBudget(10, "bytes")
        >>> with budget.reserve(9):
        ...     budget.used
        9
        >>> budget.used
        0
    """

    def __init__(self, most: int, what: str) -> None:
        self.most, self.what, self.used = most, what, 0

    @contextmanager
    def reserve(self, number: int) -> Iterator[None]:
        """Hold a number of units inside the `with` block; raise if the others leave too few."""
        if self.used and self.used + number > self.most:
            raise RequestError(
                OVERLOADED, f"The server already holds as many {self.what} as it allows. Try again later."
            )
        self.used += number
        try:
            yield
        finally:
            self.used -= number


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits on requests; a request that exceeds one is refused with a sentence.

    Args:
        max_bytes: Bytes in a request's body.
        max_total_bytes: Bytes in all bodies held at the same time.
        max_rows: Rows or images in a request.
        max_pixels: Pixels in an image, height times width, read from its header before it is decoded.
        max_total_pixels: Pixels in all images held at the same time, over all requests.
        max_value_chars: Characters in a text value of a row.
        batch_rows: Rows in one batch of the network, which may combine several requests.
        max_waiting: Requests that may wait for an answer.
        read_seconds: Seconds for a whole request to arrive.

    Raises:
        BadTypeError: A limit is not a number.
        BadValueError: A limit is not above 0.

    Example:
        >>> Limits(max_rows=5).max_rows
        5
    """

    max_bytes: int = 16 << 20
    max_total_bytes: int = 256 << 20
    max_rows: int = 1_000
    max_pixels: int = 50_000_000
    max_total_pixels: int = 100_000_000
    max_value_chars: int = 100_000
    batch_rows: int = 256
    max_waiting: int = 1_000
    read_seconds: float = 30.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the numbers."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_kind = is_number if field.name == "read_seconds" else is_integer
            if not is_kind(value):
                raise BadTypeError(f"{field.name} must be a number, got {value!r}", "Pass a number such as 1000")
            if not value > 0:
                raise BadValueError(f"{field.name} must be above 0, got {value!r}", "Pass a number such as 1000")
