"""A client that sends half a request, or none, is not waited for without end."""

from __future__ import annotations

import socket

import pytest

from tabvision.serving.protocol import HeaderTimeoutProtocol
from tests.made.servers import running


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: local"], ids=["silent", "half a header"])
def test_a_connection_without_a_request_is_closed(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeaderTimeoutProtocol, "header_seconds", 0.2)

    with running() as one, socket.create_connection((one.base_url.host, one.base_url.port or 0)) as slow:
        slow.sendall(begun)
        slow.settimeout(10)
        assert slow.recv(100) == b""
        assert one.get("/health").status_code == 200


def test_a_client_that_asks_now_and_then_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeaderTimeoutProtocol, "header_seconds", 0.4)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

    with running() as one, socket.create_connection((one.base_url.host, one.base_url.port or 0)) as kept:
        kept.settimeout(0.15)
        for _ in range(6):
            kept.sendall(request)
            assert b"200 OK" in received(kept)


def received(kept: socket.socket) -> bytes:
    """What comes until nothing more does."""
    found = b""
    try:
        while part := kept.recv(1_000):
            found += part
    except TimeoutError:
        pass
    return found
