"""A real server on a free port of this machine, for real clients."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tabvision.inference import Predictor
from tabvision.serving.app import Answerer, create_app
from tabvision.serving.requests import Limits
from tabvision.serving.server import LOOPBACK, _make_server, listen
from tests.inference.trained import trained


@functools.cache
def model(target: str = "binary") -> Predictor:
    return Predictor(trained(target)[0], device="cpu")


@contextmanager
def running(answerer: Answerer | None = None, limits: Limits | None = None) -> Iterator[httpx.Client]:
    """A client of a server in a thread."""
    listening = listen("127.0.0.1", 0)
    server = _make_server(create_app(answerer or model(), limits, hosts=LOOPBACK))
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
