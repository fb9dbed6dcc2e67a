"""Servers on this machine alone: one with answers that a test sets, and our own with a model."""

import functools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx
import pandas as pd
from typing_extensions import override

from tabvision.inference import Predictor
from tabvision.schema import Image, Schema, Target
from tabvision.serving.app import ServedModel, create_app
from tabvision.serving.requests import Limits
from tabvision.serving.server import _LOOPBACK, _make_server, listen
from tabvision.tasks import Binary
from tests.made.images import read_image
from tests.made.trained import trained


class Page(NamedTuple):
    """What is answered at a path: a status, a body, further headers, and a length that may be a lie."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    length: int | None = None


@contextmanager
def serving(pages: Mapping[str, Page]) -> Iterator[str]:
    """The address of a server with these pages, while it is needed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body) if page.length is None else page.length))
            self.end_headers()
            self.wfile.write(page.body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Means:
    """Answers the mean of each image, read as the server hands it over."""

    schema = Schema(target=Target(columns=("label",), task=Binary(), classes=("a", "b")), image=Image(size=(8, 8)))

    def read(self, source: Any, /) -> Any:
        return source

    def predict(self, source: Any, /) -> pd.DataFrame:
        assert all(isinstance(each, bytes) for each in source)  # never a path
        return pd.DataFrame({"mean": [float(read_image(each).mean()) for each in source]})


@functools.cache
def model(target: str = "binary") -> Predictor:
    return Predictor(trained(target)[0], device="cpu")


@contextmanager
def running(
    answerer: ServedModel | None = None, limits: Limits | None = None, *, uncertainty: bool = False
) -> Iterator[httpx.Client]:
    """A client of a server in a thread."""
    listening = listen("127.0.0.1", 0)
    server = _make_server(create_app(answerer or model(), limits, hosts=_LOOPBACK, uncertainty=uncertainty))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
