"""The server as clients see it: right answers, alone and under load, and a sentence for what is wrong."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.inference import OnnxPredictor, Predictor
from tabvision.modules import TabularModule
from tabvision.schema import Schema
from tabvision.serving.requests import Limits
from tests.made.pairs import tabular_data
from tests.made.servers import Means, model, running
from tests.made.trained import exported, raw

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(limits=Limits(max_rows=50, max_bytes=20_000, max_value_chars=200)) as client:
        yield client


def plain_rows(rows: int = 40) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(raw(rows).to_json(orient="records"))
    return found


def frame_of(answers: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the answers alone, without what is unlike training."""
    return pd.DataFrame(answers).drop(columns=["unseen", "outside"], errors="ignore")


def test_rows_are_answered_as_the_predictor_does(client: httpx.Client) -> None:
    response = client.post("/predict", json=plain_rows())

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    pd.testing.assert_frame_equal(frame_of(response.json()), model().predict(raw()), check_dtype=False, rtol=1e-5)


def test_one_row_is_answered_with_one_object(client: httpx.Client) -> None:
    answer = client.post("/predict", json=plain_rows()[0]).json()

    expected = model().predict(plain_rows()[0]).to_dict("records")[0]
    assert answer.pop("label") == expected.pop("label")
    assert answer == pytest.approx(expected, rel=1e-5)


def test_an_exported_model_is_served_alike() -> None:
    with running(OnnxPredictor(exported("binary"))) as other:
        answers = other.post("/predict", json=plain_rows(5)).json()

    pd.testing.assert_frame_equal(frame_of(answers), model().predict(raw(5)), check_dtype=False, rtol=1e-5)


def unlike_rows() -> tuple[Predictor, list[dict[str, Any]]]:
    """A predictor, and rows of which two are unlike those of training."""
    frame = pd.DataFrame(
        {"job": ["cook", "nurse"] * 20, "age": np.arange(40.0), "paid": ["no", "no", "yes", "yes"] * 10}
    )
    data = TabularDataModule(frame, "paid", verbose=False)
    rows = [
        {"job": job, "age": age}
        for job, age in (("cook", 5), ("pope", 900), ("nurse", 7), ("nurse", None), ("cook", -900))
    ]
    return Predictor(TabularModule(data.schema), device="cpu"), rows


@pytest.mark.parametrize("times", [1, 10])
def test_rows_unlike_those_of_training_name_the_columns(times: int) -> None:
    predictor, rows = unlike_rows()

    with running(predictor) as other:
        answers = other.post("/predict", json=rows * times).json()
        one = other.post("/predict", json=rows[1]).json()

    assert (one["unseen"], one["outside"]) == (["job"], ["age"])
    found = [(answer.get("unseen"), answer.get("outside")) for answer in answers]
    assert found == [(None, None), (["job"], ["age"]), (None, None), (None, None), (None, ["age"])] * times
    assert predictor.predict(rows).attrs["outside"] == {"age": 2}


def test_answers_hold_an_uncertainty_where_it_is_asked_for() -> None:
    predictor = Predictor(TabularModule(tabular_data("regression").schema, members=3))
    expected = predictor.predict(raw(5), uncertainty=True)

    with running(predictor, uncertainty=True) as other:
        answers = other.post("/predict", json=plain_rows(5)).json()

    pd.testing.assert_frame_equal(frame_of(answers), expected, check_dtype=False, rtol=1e-5)


@pytest.mark.parametrize("is_exported", [False, True])
def test_a_model_without_members_says_that_it_has_no_uncertainty(is_exported: bool) -> None:
    answerer = OnnxPredictor(exported("binary")) if is_exported else model()
    with running(answerer, uncertainty=True) as other:
        response = other.post("/predict", json=plain_rows(5))
    assert (response.status_code, "the members of a network differ" in response.json()["error"]) == (422, True)


def test_health_and_schema_tell(client: httpx.Client) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert Schema.from_dict(client.get("/schema").json()) == model().schema


@pytest.mark.slow
def test_hundreds_of_requests_at_once_get_each_its_own_answer() -> None:
    rows = plain_rows(40)
    expected = model().predict(raw(40)).to_dict("records")

    async def ask_all(address: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=httpx.Limits(max_connections=100)) as many:
            return await asyncio.gather(*(many.post("/predict", json=rows[place % 40]) for place in range(400)))

    with running() as one:
        responses = asyncio.run(ask_all(str(one.base_url)))

    for place, response in enumerate(responses):
        assert response.status_code == 200
        answer = response.json()
        assert answer["label"] == expected[place % 40]["label"]
        assert answer["probability_yes"] == pytest.approx(expected[place % 40]["probability_yes"], rel=1e-4)


def test_wrong_rows_among_many_spoil_nobody_elses_answer() -> None:
    rows = plain_rows(40)
    rows[7] = rows[7] | {"x": "much"}
    del rows[20]["job"]

    async def ask_all(address: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=address, timeout=60) as many:
            return await asyncio.gather(*(many.post("/predict", json=row) for row in rows))

    with running() as one:
        statuses = [response.status_code for response in asyncio.run(ask_all(str(one.base_url)))]

    assert [place for place, status in enumerate(statuses) if status != 200] == [7, 20]
    assert {statuses[7], statuses[20]} == {422}


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 400, "The body is not JSON"),
        (b"{", 400, "The body is not JSON"),
        (b'{"x": 1, "x": 2}', 400, "The body is not JSON: the name 'x' occurs twice"),
        (b"\xff\xfe", 400, "JSON in UTF-8"),
        (b'"rows.csv"', 400, "one row, such as"),
        (b"3", 400, "one row, such as"),
        (b"[]", 400, "holds no row"),
        (b"[3]", 400, "a list of rows"),
        (b'{"x": NaN}', 400, "NaN is not a JSON number"),
        (b'{"x": Infinity}', 400, "Infinity is not a JSON number"),
        (b"[" * 9_000, 400, "JSON"),  # how deep is too deep is Python's to say
        (b'{"x": ' + b"9" * 5_000 + b"}", 400, "The body is not JSON"),
        (b'{"x": [1], "z": 1, "job": "a", "size": "s"}', 422, "a value must be a number, text"),
        (b'{"x": {"a": 1}, "z": 1, "job": "a", "size": "s"}', 422, "a value must be a number, text"),
        (b'{"x": 1}', 422, "Row 0: it lacks 3 columns: 'z'"),
        (b'{"x": 1e999, "z": 1, "job": "cook", "size": "s"}', 422, "finite"),
        (json.dumps([{"x": 1}] * 51).encode(), 413, "51 rows, more than the limit of 50"),
        (json.dumps({"x": 1, "z": 1, "job": "a" * 201, "size": "s"}).encode(), 413, "a text of 201 characters"),
        (json.dumps({f"x{name}": 1 for name in range(1_005)}).encode(), 413, "1,005 names, but the model reads 4"),
        (b" " * 20_001, 413, "20,000 bytes at most"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_wrong_body_gets_a_sentence(content: bytes, status: int, sentence: str, client: httpx.Client) -> None:
    response = client.post("/predict", content=content, headers=JSON)

    assert response.status_code == status
    assert sentence in response.json()["error"]
    assert response.json().keys() == {"error"}
    assert "Traceback" not in response.text


def test_a_byte_order_mark_is_read_over_and_an_encoded_body_is_refused(client: httpx.Client) -> None:
    row = json.dumps({"x": 1, "z": 1, "job": "cook", "size": "s"}).encode()

    marked = client.post("/predict", content=codecs.BOM_UTF8 + row, headers=JSON)
    packed = client.post("/predict", content=gzip.compress(row), headers={**JSON, "Content-Encoding": "gzip"})

    assert marked.json() == client.post("/predict", content=row, headers=JSON).json()
    assert packed.status_code == 415
    assert "got Content-Encoding 'gzip'" in packed.json()["error"]
    assert client.put("/predict").headers["Allow"] == "POST"


def test_a_body_that_does_not_tell_its_length_is_cut_off(client: httpx.Client) -> None:
    response = client.post("/predict", content=(b" " * 1_000 for _ in range(30)), headers=JSON)

    assert response.status_code == 413


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_another_kind_of_body_is_refused(kind: str, client: httpx.Client) -> None:
    response = client.post("/predict", content=b"{}", headers={"Content-Type": kind})

    assert response.status_code == 415
    assert "The body must be application/json" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/", 405), ("GET", "/../../etc/passwd", 404), ("GET", "/docs", 404)],
)
def test_what_is_not_there_gets_a_sentence(method: str, path: str, status: int, client: httpx.Client) -> None:
    response = client.request(method, path)

    assert response.status_code == status
    assert response.json()["error"].endswith(".")


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 200), ("LOCALHOST:80", 200), ("[::1]:9", 200), ("evil.example", 403), ("", 403)]
)
def test_only_this_machines_names_are_answered_on_loopback(host: str, status: int, client: httpx.Client) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == status


class Broken:
    """A model that fails, or answers what is no number."""

    def __init__(self, answer: Any) -> None:
        self.schema = model().schema
        self.answer = answer

    def read(self, source: Any, /) -> Any:
        return source

    def predict(self, source: Any, /) -> pd.DataFrame:
        if self.answer is None:
            raise RuntimeError("secret /path/of/the/server")
        return pd.DataFrame({"prediction": [self.answer] * len(source)})


@pytest.mark.parametrize("answer", [None, np.float32("nan"), float("inf")])
def test_a_model_that_fails_says_so_without_a_stack(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with running(Broken(answer)) as one:
        response = one.post("/predict", json=plain_rows()[0])
        assert one.get("/health").status_code == 200  # it goes on

    assert response.status_code == 500
    assert response.json().keys() == {"error"}
    assert "secret" not in response.text
    assert ("secret" in caplog.text) is (answer is None)


# Images. The model is a small stand-in with real decoding: it answers each image's mean.


def photo(value: int, size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    import io

    from PIL import Image as PilImage

    file = io.BytesIO()
    PilImage.new("RGB", size, (value, value, value)).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def images() -> Iterator[httpx.Client]:
    with running(Means(), Limits(max_rows=5, max_pixels=10_000, max_bytes=200_000)) as client:
        yield client


def upload(client: httpx.Client, *contents: bytes) -> httpx.Response:
    return client.post("/predict", files=[("images", (f"{place}.png", data)) for place, data in enumerate(contents)])


def test_uploads_are_answered_in_order(images: httpx.Client) -> None:
    response = upload(images, photo(10), photo(200, kind="JPEG"), photo(90))

    assert [round(answer["mean"]) for answer in response.json()] == [10, 200, 90]


def test_an_image_bomb_is_refused_before_it_is_decoded(images: httpx.Client) -> None:
    bomb = photo(0, (20_000, 2_000))  # 120 MB of pixels in a file of a few thousand bytes
    assert len(bomb) < 200_000

    response = upload(images, photo(1), bomb)

    assert response.status_code == 413
    assert "Image 2 has 20,000 x 2,000 pixels, more than the limit of 10,000" in response.json()["error"]


def test_a_bomb_beyond_every_limit_is_a_sentence(images: httpx.Client) -> None:
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 2_000_000_000, 2_000_000_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + photo(1)[33:]

    response = upload(images, bomb)

    assert response.status_code in (413, 422)
    assert response.json()["error"].startswith("Image 1")


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        ({"files": [("images", ("a.png", b"no image"))]}, 422, "Image 1: "),
        ({"files": [("images", ("a.png", b""))]}, 422, "Image 1: "),
        (
            {"files": [("images", (f"{place}", photo(1))) for place in range(6)]},
            413,
            "6 images, more than the limit of 5",
        ),
        ({"data": {"image": "/etc/passwd"}, "files": [("a", ("a.png", photo(1)))]}, 422, "no path or URL is opened"),
        (
            {"data": {"image": "http://127.0.0.1/a"}, "files": [("a", ("a.png", photo(1)))]},
            422,
            "no path or URL is opened",
        ),
        ({"json": {"image": "/etc/passwd"}}, 415, "No path or URL is opened"),
        ({"json": [{"image": "file:///etc/passwd"}]}, 415, "No path or URL is opened"),
        ({"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "."),
        ({"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}}, 400, "."),
        ({"content": photo(1), "headers": {"Content-Type": "image/png"}}, 415, "multipart/form-data with images"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_upload_gets_a_sentence(
    request_: dict[str, Any], status: int, sentence: str, images: httpx.Client
) -> None:
    response = images.post("/predict", **request_)

    assert response.status_code == status
    assert sentence in response.json()["error"]


class Half:
    """Answers the second of two rows."""

    @property
    def schema(self) -> Schema:
        return model().schema

    def read(self, source: Any, /) -> Any:
        return source

    def predict(self, source: Any, /) -> pd.DataFrame:
        answers = {"label": [None, "a"], "p": [np.nan, 0.5], "error": ["broken", np.nan]}
        return pd.DataFrame(answers).head(len(source))


def test_a_row_without_an_answer_says_why_in_its_place() -> None:
    with running(Half()) as one:
        response = one.post("/predict", json=plain_rows()[:2])

    assert response.json() == [{"error": "broken"}, {"label": "a", "p": 0.5}]


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    import socket

    with (
        running(limits=Limits(read_seconds=0.3)) as one,
        socket.create_connection((one.base_url.host, one.base_url.port or 0)) as slow,
    ):
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
        slow.settimeout(10)
        assert b"408" in slow.recv(200)
