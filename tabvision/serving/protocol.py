"""Close connections that make no progress. Apart from `server.py`, which must import even without uvicorn."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar, NamedTuple, final

from typing_extensions import override
from uvicorn.protocols.http import h11_impl

_BUSY = {"error": "The server has too many connections. Try again later."}


class _Progress(NamedTuple):
    """The progress of a connection: its current request, and the bytes of a response that the client has not read."""

    cycle: Any  # uvicorn's own class, or None before the first request
    is_answered: bool
    unread: int


@final
class ProgressProtocol(h11_impl.H11Protocol):
    """Uvicorn's protocol, which also closes connections that make no progress within 30 s, and sends errors as JSON.

    Uvicorn itself waits forever for a request that never arrives, for a body that does not end after the response, and for
    a client that does not read its response, so a few such clients could lock out all others. A body that is still needed
    has its own limit (`Limits.read_seconds`), and computing an answer has none.
    """

    idle_seconds: ClassVar[float] = 30.0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._check_later()

    @override
    def send_400_response(self, msg: str) -> None:
        self._send_and_close(400, {"error": f"{msg} Send a request in HTTP/1.1."})

    @override
    def handle_events(self) -> None:
        is_new = self.cycle is None or self.cycle.response_complete
        if is_new and self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self.logger.warning("Exceeded concurrency limit.")
            self._send_and_close(503, _BUSY)
        else:
            super().handle_events()

    def _send_and_close(self, status: int, content: dict[str, str]) -> None:
        h11, body = h11_impl.h11, json.dumps(content).encode()  # type: ignore[attr-defined]  # uvicorn's own import
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        if self.cycle is not None:
            self.cycle.disconnected = True  # otherwise a later answer would raise
        self.transport.close()

    def _progress(self) -> _Progress:
        is_answered = self.cycle is None or self.cycle.response_complete
        return _Progress(self.cycle, is_answered, self.transport.get_write_buffer_size())

    def _check_later(self) -> None:
        self.loop.call_later(self.idle_seconds, self._check, self._progress())

    def _check(self, before: _Progress) -> None:
        if self.transport.is_closing() and not before.unread:
            return
        if (before.is_answered or before.unread) and self._progress() == before:
            self.transport.abort()  # close() would wait for the client to read the rest
        else:
            self._check_later()
