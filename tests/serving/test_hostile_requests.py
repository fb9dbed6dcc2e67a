"""Requests made to harm: a sentence, bounded work, and the next client is answered."""

import contextlib
import io
import json
import logging
import resource
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image as PilImage

from tabvision.schema import Image, Schema
from tabvision.serving.app import create_app
from tabvision.serving.requests import _MAX_SCANS, _MAX_SEGMENTS, Limits, RequestError, check_images, rows_of_json
from tests.made.commands import Forked
from tests.made.images import tiff
from tests.made.servers import Means, model, running
from tests.serving.test_app import photo, plain_rows, upload

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(limits=Limits(max_rows=50, max_bytes=200_000, read_seconds=1.0)) as client:
        yield client


@pytest.fixture(scope="module")
def images() -> Iterator[httpx.Client]:
    with running(Means(), Limits(max_rows=20, max_pixels=10_000, max_total_pixels=15_000, read_seconds=5.0)) as client:
        yield client


def sent(client: httpx.Client, data: bytes) -> bytes:
    """What the server answers to bytes as they are, to its end or a second of silence."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as plain:
        plain.sendall(data)
        plain.settimeout(1.5)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := plain.recv(4_000):
                found += part
        return found


class Columns:
    """Answers how many columns came."""

    schema = property(lambda _: model().schema)

    def read(self, source: Any, /) -> Any:
        return source

    def predict(self, source: Any, /) -> pd.DataFrame:
        return pd.DataFrame({"columns": [len(pd.DataFrame(source).columns)] * len(source)})


def test_names_of_a_clients_choice_become_no_columns() -> None:
    rows = [row | {f"{place}-{more}": 1 for more in range(20)} for place, row in enumerate(plain_rows(40))]

    with running(Columns()) as one:
        answers = one.post("/predict", json=rows).json()

    assert {answer["columns"] for answer in answers} == {4}


@pytest.mark.parametrize(
    "more",
    ['"\\ud800": 3', '"": null', '"__proto__": 1', f'"{"k" * 50_000}": 1', '"q": 1e400', '"\\u0000": true'],
    ids=lambda text: text[:12],
)
def test_odd_keys_change_no_answer_or_get_a_sentence(more: str, client: httpx.Client) -> None:
    body = json.dumps(plain_rows(1)[0])[:-1] + f", {more}}}"

    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 200
    assert response.json().keys() == {"label", "probability_no", "probability_yes"}


def test_a_formula_or_half_a_character_is_a_value_like_another(client: httpx.Client) -> None:
    for text in ("=cmd|' /C calc'!A0", "\ud800", "\0", "a" * 90_000):
        row = json.dumps(plain_rows(1)[0] | {"job": text})
        assert client.post("/predict", content=row, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
        (b"Content-Length: -2\r\n\r\n{}", b"400"),
        (b"Content-Length: +2\r\n\r\n{}", b"400"),
        (b"Content-Length: \xb2\r\n\r\n{}", b"400"),
        (b"Content-Length: 99999999999\r\n\r\n{}", b"413"),
        (b"Transfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b" " * 4096 + b"\r\n") * 60, b"413"),
        (b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFF\r\nab", b"408"),
        (b"Transfer-Encoding: chunked\r\n\r\nno number\r\n", b"400"),
        (b"Transfer-Encoding: identity\r\n\r\n{}", b"400"),
        (b"X: " + b"a" * 100_000 + b"\r\n\r\n", b"400"),
    ],
    ids=lambda value: repr(value)[2:34],
)
def test_lengths_that_lie_are_refused(lines: bytes, status: bytes, client: httpx.Client) -> None:
    answer = sent(client, HEAD + b"Connection: close\r\n" + lines)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Traceback" not in answer
    assert client.get("/health").status_code == 200


def test_after_two_lengths_the_connection_ends(client: httpx.Client) -> None:
    smuggled = b"GET /schema HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled

    answer = sent(client, request)

    assert b"both a Content-Length and a Transfer-Encoding" in answer
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_is_refused_twice_raises_nothing(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        answer = sent(client, HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        logging.getLogger("uvicorn.error").removeHandler(caplog.handler)

    assert answer.count(b"HTTP/1.1 400") == 1
    assert "Traceback" not in caplog.text


def test_pipelined_requests_get_an_answer_each(client: httpx.Client) -> None:
    row = json.dumps(plain_rows(1)[0]).encode()
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(row) + row
    answers = b""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as plain:
        plain.sendall(one * 20)
        plain.settimeout(20)
        while answers.count(b'"label"') < 20:
            answers += plain.recv(65_536)

    assert answers.count(b"HTTP/1.1 200 OK") == 20


# Uploads.


def part(header: bytes, data: bytes = b"v") -> bytes:
    return b"--x\r\n" + header + b"\r\n\r\n" + data + b"\r\n"


def file_part(name: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="images"; filename="' + name + b'"', photo(7))


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"/etc/passwd", b"C:\\a", b"a\0b", b"\xff\xfe", b"=cmd()"])
def test_a_files_name_is_not_looked_at(name: bytes, images: httpx.Client) -> None:
    response = images.post(
        "/predict", content=file_part(name) + b"--x--\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )

    assert response.json() == [{"mean": 7.0}]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"--x", b"multipart/form-data"),
        (b"--\r\n", b"multipart/form-data; boundary="),
        (b"--\r\n", b"multipart/form-data; boundary=" + b"a" * 5_000),
        (b"--\r\n", b"multipart/form-data; boundary=\xe9\xff"),
        (part(b'Content-Disposition: form-data; name="a"; filename="a"', b"") * 10_000 + b"--x--\r\n", None),
        (part(b'Content-Disposition: form-data; name="a"') * 10_000 + b"--x--\r\n", None),
        (part(b"Content-Disposition: form-data") * 10_000 + b"--x--\r\n", None),
        (part(b"X: " + b"a" * 1_000_000) + b"--x--\r\n", None),
        (part(b"X: a\r\n" * 100_000) + b"--x--\r\n", None),
        (b"--x\r\n" * 100_000, None),
        (b"\r" * 1_000_000, None),
        (file_part(b"a")[:-20], None),
    ],
    ids=lambda value: repr(value)[2:40],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Starlette leaves half a file to Python
def test_a_form_that_is_none_gets_a_sentence(body: bytes, kind: bytes | None, images: httpx.Client) -> None:
    headers = {b"Content-Type": kind or b"multipart/form-data; boundary=x"}

    response = images.post("/predict", content=body, headers=headers)

    assert response.status_code == 400
    assert response.json()["error"].endswith(".")


def saved(kind: str, size: tuple[int, int], mode: str = "RGB", **settings: Any) -> bytes:
    file = io.BytesIO()
    PilImage.new(mode, size).save(file, kind, **settings)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG"])
def test_a_bomb_of_every_kind_is_refused_undecoded(kind: str, images: httpx.Client) -> None:
    bomb = saved(kind, (4_000, 300), "1" if kind in ("TIFF", "PNG") else "L")

    response = upload(images, bomb)

    assert response.status_code == 413
    assert "Image 1 has 4,000 x 300 pixels, more than the limit of 10,000" in response.json()["error"]


def test_many_images_may_not_hold_more_pixels_than_a_request(images: httpx.Client) -> None:
    response = upload(images, *[saved("PNG", (90, 100))] * 2)

    assert response.status_code == 413
    assert "With image 2 of 90 x 100 pixels there are more than 15,000 pixels in all" in response.json()["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_large_images_is_given_back() -> None:
    def read(data: bytes) -> None:
        PilImage.open(io.BytesIO(data)).convert("RGB")

    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def answers() -> None:
        create_app(Means())
        data = saved("PNG", (3_000, 3_000))
        read(saved("PNG", (3, 3)))
        before = held()
        with ThreadPoolExecutor(3) as pool:
            for _ in range(2):
                list(pool.map(read, [data] * 3))
            assert held() - before < 40e6  # of 36 MB an image; 130 MB stayed

    assert Forked(answers).ended()[0] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/etc/passwd) run\nshowpage\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"%PDF-1.4\n",
        b"P5 1000000000 1000000000 255\n",
        b"BM" + bytes(52),
    ],
    ids=["eps", "svg", "pdf", "pgm", "bmp"],
)
def test_a_file_that_would_start_a_program_is_no_image(content: bytes, images: httpx.Client) -> None:
    """PIL hands PostScript to Ghostscript."""
    response = upload(images, content)

    assert response.status_code in (413, 422)
    assert response.json()["error"].startswith("Image 1")


def test_a_jpeg_of_endless_scans_or_segments_is_refused() -> None:
    """Each scan is a pass over all pixels; each segment, or byte of filling, a step of the reader."""
    good = saved("JPEG", (64, 64), "L", progressive=True)
    last = good.rindex(b"\xff\xda")
    scans = good[:-2] + good[last:-2] * (_MAX_SCANS + 1) + b"\xff\xd9"
    segments = good[:2] + b"\xff\xe1\x00\x02" * (_MAX_SEGMENTS + 1) + good[2:]
    filling = good[:2] + b"\xff" * (_MAX_SEGMENTS + 1) + good[2:]

    check_images([good], Limits())
    for bomb in (scans, segments, filling):
        with pytest.raises(RequestError, match="Image 1 is a JPEG of more scans or segments than a camera writes"):
            check_images([bomb], Limits())


def test_a_schema_without_columns_reads_no_names() -> None:
    schema = Schema(target=model().schema.target)

    assert rows_of_json(b'[{"a": 1}, {"b": 2}]', schema, Limits()) == ([{}, {}], False)


def test_a_body_nested_deeper_than_any_python_reads_is_told() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"x":', b"}")):
        with pytest.raises(RequestError, match="The JSON is nested too deeply"):
            rows_of_json(opening * 1_000_000 + closing * 1_000_000, model().schema, Limits())


def test_bands_are_measured_as_the_model_reads_them() -> None:
    bands = tiff(np.zeros((30, 40, 6), np.float32))
    image = Image(size=(8, 8), channels=6, value_range=((0.0, 1.0),))

    check_images([bands], Limits(max_pixels=1200), image)
    with pytest.raises(RequestError, match="40 x 30 pixels, more than the limit of 1,199"):
        check_images([bands], Limits(max_pixels=1199), image)
    with pytest.raises(RequestError, match="it has 6 channels of floats, which need channels=6"):
        check_images([bands], Limits())


def test_a_body_for_which_others_leave_no_room_is_asked_to_come_again() -> None:
    with running(limits=Limits(max_bytes=9_000, max_total_bytes=9_500)) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as slow:
            slow.sendall(HEAD + b"Content-Length: 9000\r\n\r\n[")
            while (refused := client.post("/predict", json=plain_rows(10))).status_code == 200:
                pass  # until the server has read the other's head
        assert refused.status_code == 503
        assert refused.json() == {"error": "The server already holds as many bytes as it allows. Try again later."}
        while (answered := client.post("/predict", json=plain_rows(10))).status_code == 503:
            pass  # until it has seen the other leave
        assert answered.status_code == 200
