"""Rows of columns and images over HTTP: JSON without images, a form with them, and nothing opened by name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tabvision.inference import Predictor
from tabvision.modules import FusedModule
from tabvision.serving.page import page
from tests.made.images import encoded, pixels
from tests.made.pairs import Pair
from tests.made.servers import running

PAIR = Pair(FusedModule, "regression")
ROW: dict[str, Any] = {"x": 0.5, "z": None, "job": "nurse", "size": "m"}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(PAIR.module(PAIR.data().schema), device="cpu")


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[httpx.Client]:
    with running(predictor) as client:
        yield client


def answered(client: httpx.Client, row: Any, **files: bytes) -> httpx.Response:
    """The response to a row in a form, with images as files."""
    parts: list[tuple[str, Any]] = [("row", (None, json.dumps(row)))]
    return client.post("/predict", files=parts + [(name, (f"{name}.jpg", data)) for name, data in files.items()])


def test_a_row_is_answered_with_and_without_its_images(client: httpx.Client, predictor: Predictor) -> None:
    photo = encoded(pixels())

    both = answered(client, ROW, file=photo, back=photo)
    one = answered(client, ROW, back=photo)
    none = client.post("/predict", json=[ROW, {**ROW, "file": None}])

    assert both.json() == pytest.approx(predictor.predict({**ROW, "file": photo, "back": photo}).to_dict("records")[0])
    assert one.json() == pytest.approx(predictor.predict({**ROW, "file": None, "back": photo}).to_dict("records")[0])
    alone = predictor.predict({**ROW, "file": None, "back": None}).to_dict("records")[0]
    assert [pytest.approx(answer) for answer in none.json()] == [alone, alone]


def test_a_photo_that_is_damaged_after_its_header_is_named(client: httpx.Client) -> None:
    photo = encoded(pixels(), "PNG")

    answer = answered(client, ROW, file=photo[: len(photo) // 2], back=photo).json()

    assert answer.pop("unreadable") == ["file"]
    assert answer == pytest.approx(answered(client, ROW, back=photo).json())


@pytest.mark.parametrize("content", [b"", b"no image", encoded(pixels(), "PNG")[:20]])
def test_a_photo_that_is_none_at_all_is_named_as_well(client: httpx.Client, content: bytes) -> None:
    photo = encoded(pixels())

    answer = answered(client, ROW, file=content, back=photo).json()

    assert answer.pop("unreadable") == ["file"]
    assert answer == pytest.approx(answered(client, ROW, back=photo).json())


def test_no_path_in_a_request_is_opened(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(pixels(), "PNG"))
    row = {**ROW, "file": str(tmp_path / "secret.png")}

    for response in (client.post("/predict", json=row), answered(client, row)):
        assert response.status_code == 422
        assert "no path or URL is opened" in response.json()["error"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("file", ("a.jpg", encoded(pixels())))], "row"),
        ([("row", (None, "[]"))], "row"),
        ([("row", (None, json.dumps(ROW))), ("side", ("a.jpg", b"x"))], "side"),
        ([("row", (None, json.dumps(ROW))), ("file", (None, "a.jpg"))], "file"),
        ([("row", (None, json.dumps({"x": 1}))), ("file", ("a.jpg", encoded(pixels())))], "job"),
        ([("row", (None, "{")), ("file", ("a.jpg", encoded(pixels())))], "JSON"),
    ],
)
def test_a_form_that_is_not_one_row_is_refused(client: httpx.Client, parts: Any, expected: str) -> None:
    response = client.post("/predict", files=parts)

    assert 400 <= response.status_code < 500
    assert expected in response.json()["error"]


def test_the_page_has_a_field_for_each_column_and_each_image(predictor: Predictor) -> None:
    text = page(predictor.schema, "n")

    assert 'data-kind="row"' in text
    assert text.count("data-name=") == len(ROW)
    assert 'data-column="file"' in text
    assert 'data-column="back"' in text
