"""A client that sends half a request, or none, or does not read its answer, is not waited for without end."""

import json
import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from tabvision.serving.protocol import ProgressProtocol
from tabvision.serving.requests import RequestError, SharedBudget
from tests.made.servers import running

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


BEGUN = {  # what a client sends, and whether it gets an answer
    "silent": (b"", False),
    "half a header": (b"GET /health HTTP/1.1\r\nHost: local", False),
    "one request": (GET + b"\r\n", True),
    "a byte after the answer": (GET + b"\r\nG", True),
    "half a body": (GET + b"Content-Length: 1000\r\n\r\nhalf", True),
    "half a chunk": (GET + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf", True),
}


def test_a_connection_that_makes_no_progress_is_closed(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr(ProgressProtocol, "idle_seconds", 0.2)

    with running() as one, ExitStack() as stack:
        slow = {}
        for name, (begun, _) in BEGUN.items():
            address = (one.base_url.host, one.base_url.port or 0)
            slow[name] = stack.enter_context(socket.create_connection(address, timeout=10))
            slow[name].sendall(begun)
        for name, (_, answered) in BEGUN.items():
            with subtests.test(name):
                assert (b"200 OK" in until_closed(slow[name])) == answered
        assert one.get("/health").status_code == 200


def test_a_client_that_never_reads_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressProtocol, "idle_seconds", 0.2)

    with running() as one, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect((one.base_url.host, one.base_url.port or 0))
        deaf.settimeout(10)
        pages = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000_000  # enough to fill every buffer on the way
        with pytest.raises((ConnectionError, TimeoutError)):
            deaf.sendall(pages)
        assert one.get("/health").status_code == 200


def test_a_client_that_asks_now_and_then_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressProtocol, "idle_seconds", 0.4)

    with running() as one, socket.create_connection((one.base_url.host, one.base_url.port or 0)) as kept:
        kept.settimeout(10)
        for _ in range(6):
            kept.sendall(GET + b"\r\n")
            found = b""
            while not found.endswith(b"}"):
                found += kept.recv(1_000)
            assert b"200 OK" in found
            time.sleep(0.15)


def test_a_client_has_the_whole_time_after_an_answer_that_took_long() -> None:
    aborted: list[bool] = []
    protocol: Any = object.__new__(ProgressProtocol)
    cycle = SimpleNamespace(response_complete=False)
    protocol.cycle, protocol.loop = cycle, SimpleNamespace(call_later=lambda *_: None)
    protocol.transport = SimpleNamespace(
        is_closing=lambda: False, get_write_buffer_size=lambda: 0, abort=lambda: aborted.append(True)
    )
    begun = protocol._progress()
    cycle.response_complete = True

    protocol._check(begun)

    assert not aborted
    protocol._check(protocol._progress())
    assert aborted


def test_what_is_no_http_is_answered_as_json() -> None:
    with running() as one, socket.create_connection((one.base_url.host, one.base_url.port or 0)) as wild:
        wild.settimeout(10)
        wild.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, body = until_closed(wild).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400")
    assert "Invalid HTTP request" in json.loads(body)["error"]


def test_more_connections_than_the_server_takes_are_answered_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabvision.serving.server._MAX_CONNECTIONS", 2)

    with running() as one:
        address = (one.base_url.host, one.base_url.port or 0)
        with socket.create_connection(address) as _, socket.create_connection(address) as last:
            last.settimeout(10)
            last.sendall(GET + b"\r\n")
            head, _, body = until_closed(last).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 503")
    assert "too many connections" in json.loads(body)["error"]


def test_a_budget_is_common_but_one_request_always_fits() -> None:
    budget = SharedBudget(10, "pixels")

    with budget.reserve(11):
        with pytest.raises(RequestError, match="as many pixels as it allows"), budget.reserve(1):
            pass
        assert budget.used == 11
    with budget.reserve(5), budget.reserve(5):
        assert budget.used == 10
    assert budget.used == 0


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection, which it must."""
    found = b""
    try:
        while part := connection.recv(1_000):
            found += part
    except ConnectionError:
        pass
    return found
