"""The bytes of a file that is named by a path or a URL, or that is there already, with a limit on what a server may send."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import TypeAlias

from tabvision.errors import BadTypeError, BadValueError, MissingFileError

Origin: TypeAlias = str | Path | bytes
"""Where a file comes from: a path, an http or https address, or its bytes."""

MAX_DOWNLOAD = 4 << 30  # bytes; a server that sends more is not waited for
TIMEOUT_SECONDS = 30.0  # without a byte
_SCHEMES = ("http://", "https://")
_CHUNK = 1 << 20


def is_url(origin: object) -> bool:
    """Whether it is a web address rather than a path.

    Example:
        >>> is_url("https://example.org/best.ckpt"), is_url("best.ckpt")
        (True, False)
    """
    return isinstance(origin, str) and origin.lower().startswith(_SCHEMES)


def name_of(origin: Origin) -> str:
    """How an error calls the file.

    Example:
        >>> name_of("best.ckpt"), name_of(b"PK")
        ('best.ckpt', 'the 2 bytes')
    """
    return f"the {len(origin):,} bytes" if isinstance(origin, bytes) else str(origin)


def read_bytes(origin: Origin, *, kind: str = ".ckpt", max_bytes: int = MAX_DOWNLOAD) -> bytes:
    """All bytes of the file.

    Args:
        origin: A path, an http or https address, or the bytes themselves.
        kind: The suffix that a sentence asks for.
        max_bytes: The most that a server may send.

    Raises:
        BadTypeError: Neither path, address nor bytes.
        MissingFileError: No such file.
        BadValueError: The address does not answer, or sends too much.
    """
    if isinstance(origin, bytes | bytearray | memoryview):
        return bytes(origin)
    if not isinstance(origin, str | Path):
        problem = f"a file must be a path, an http address or bytes, got {type(origin).__name__}"
        raise BadTypeError(problem, f"Pass such as 'best{kind}'")
    if isinstance(origin, str) and is_url(origin):
        return _download(origin, max_bytes)
    file = Path(origin).expanduser()
    if "\0" in str(file) or not file.is_file():
        what = {".ckpt": "checkpoint", ".onnx": "model"}.get(kind, "file")
        remedy = f"Pass the path of a {kind} file" + (" that a Trainer wrote" if kind == ".ckpt" else "")
        raise MissingFileError(f"no {what} at {str(origin)!r}", remedy)
    return file.read_bytes()


def _download(url: str, max_bytes: int) -> bytes:
    try:
        with _opener().open(url, timeout=TIMEOUT_SECONDS) as response:
            return _limited(response, url, max_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        if isinstance(error, BadValueError):
            raise
        reason = str(getattr(error, "reason", None) or error).rstrip(".") or type(error).__name__
        problem = f"{url} could not be read ({reason})"
        raise BadValueError(problem, "Check the address, or download the file and pass its path") from error


def _limited(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    received = bytearray()
    while chunk := response.read(_CHUNK):
        received += chunk
        if len(received) > max_bytes:
            remedy = "Download it and pass its path, if it is what you expect"
            raise BadValueError(f"{url} sends more than {max_bytes:,} bytes", remedy)
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and len(received) < int(declared):
        problem = f"{url} broke off after {len(received):,} of {int(declared):,} bytes"
        raise BadValueError(problem, "Try again")
    return bytes(received)


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https alone, also where a server redirects: neither file nor ftp."""
    opener = urllib.request.OpenerDirector()
    handlers: tuple[type[urllib.request.BaseHandler], ...] = (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    )
    for handler in handlers:
        opener.add_handler(handler())
    return opener
