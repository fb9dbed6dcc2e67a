"""Time out connections that send no request; separate from `server.py`, which reports that uvicorn is not installed."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, final

from typing_extensions import override
from uvicorn.protocols.http import h11_impl


@final
class HeaderTimeoutProtocol(h11_impl.H11Protocol):
    """Uvicorn's protocol, which also closes connections that send no request within 30 s.

    Uvicorn itself waits forever: a client that opens all connections and sends nothing would lock out every other client.
    """

    header_seconds: ClassVar[float] = 30.0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._check_later(None)

    def _check_later(self, answered: Any) -> None:  # noqa: ANN401 - uvicorn's own class, or None before the first request
        self.loop.call_later(self.header_seconds, self._check, answered)

    def _check(self, answered: Any) -> None:  # noqa: ANN401 - likewise
        if self.transport.is_closing():
            return
        idle = h11_impl.h11.IDLE  # type: ignore[attr-defined]  # uvicorn's own import
        if self.cycle is answered and self.conn.their_state is idle:  # no request since the last check
            self.transport.close()
        else:
            self._check_later(self.cycle)
