"""Run the application: open the socket, handle signals, and shut down."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tabvision.checks import is_integer
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.serving.requests import Limits

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from tabvision.serving.app import ServedModel

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_MAX_CONNECTIONS = 2_000
_STOP_SECONDS = 10  # grace period for requests in progress


def serve(
    path: str | Path | ServedModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    limits: Limits | None = None,
    uncertainty: bool = False,
) -> None:
    """Serve a checkpoint, an exported .onnx file or a predictor until interrupted.

    Args:
        path: A checkpoint, or a file that `tabvision export` wrote; or a `Predictor` or `OnnxPredictor`.
        host: The address to listen on; the default accepts connections from this machine only.
        port: The port to listen on; 0 for a free one.
        device: For a checkpoint: "cpu", "cuda", "mps" or "auto".
        limits: The limits of a request; None for the defaults.
        uncertainty: Whether to include the uncertainty in each answer, as in `Predictor.predict`.

    Raises:
        MissingFileError: There is no such file.
        BadValueError: The file cannot be served, or the server cannot listen on the address.
    """
    with speaking("serve"):
        try:
            import python_multipart  # noqa: F401 - reads uploads
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError as error:
            problem = f"serving needs {error.name}, which is not installed"
            raise BadValueError(problem, "Install it: pip install 'tabvision[serve]'") from error
    listening = listen(host, port)
    try:
        model = load(path, device) if isinstance(path, str | Path) else path
        from tabvision.serving.app import create_app

        address, number = listening.getsockname()[:2]
        hosts = _LOOPBACK if address in ("127.0.0.1", "::1") else ()
        shown = f"[{address}]" if ":" in address else address
        name = path if isinstance(path, str | Path) else type(path).__name__
        server = _make_server(create_app(model, limits, hosts=hosts, uncertainty=uncertainty))
        with _stopped_by_signals(server):
            print(f"Serving {name} at http://{shown}:{number} (stop with Ctrl+C)", flush=True)
            server.run(sockets=[listening])
    finally:
        listening.close()
    print("Stopped.", flush=True)


def load(path: str | Path, device: str = "auto") -> ServedModel:
    """Return a predictor for a file; its suffix decides which."""
    from tabvision.inference import OnnxPredictor, Predictor

    if str(path).lower().endswith(".onnx"):
        return OnnxPredictor(path)
    return Predictor(path, device=device)


def _make_server(app: Starlette) -> uvicorn.Server:
    """Return a uvicorn server with limits on connections and on shutdown time."""
    import uvicorn

    from tabvision.serving.protocol import ProgressProtocol

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=ProgressProtocol,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return uvicorn.Server(config)


@speaking("serve")
def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address.

    Raises:
        BadTypeError: The port is not a number.
        BadValueError: The port or address is invalid or in use.
    """
    if not is_integer(port):
        raise BadTypeError(f"port must be a whole number, got {port!r}", "Pass a port such as 8000")
    if not 0 <= port <= 65_535:
        raise BadValueError(f"port must lie in 0 to 65535, got {port}", "Pass a port such as 8000")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        problem = f"host {host!r} cannot be resolved ({error.strerror})"
        raise BadValueError(problem, "Pass an address such as 127.0.0.1") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # not bind but this raises if another program is listening
    except OSError as error:
        listening.close()
        problem = f"cannot listen on port {port} of {host} ({error.strerror})"
        raise BadValueError(problem, "Stop the program that listens there, or pass another port: --port 0") from error
    return listening


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a server, even before it runs; a second signal does not cut the grace period short."""

    def stop(*_: object) -> None:
        server.should_exit = True

    server.handle_exit = stop  # type: ignore[method-assign, assignment]  # replaces uvicorn's handler
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
