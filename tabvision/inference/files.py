"""Read the bytes of a file from a path, a web address or an fsspec store, up to a limit on what a server may send."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from tabvision.errors import BadTypeError, BadValueError, MissingFileError, TabvisionError

Origin: TypeAlias = str | Path | bytes
"""A file: its path, an http or https address, an address of a store such as s3:// or gs://, or its bytes."""

MAX_DOWNLOAD = 4 << 30  # bytes
TIMEOUT_SECONDS = 30.0  # without a byte
_CHUNK = 1 << 20
_LOCAL = ("file", "local")  # schemes of local files, which must be named by a path


def _scheme_of(origin: str) -> str | None:
    """Return the scheme of an address, or None for a path.

    Example:
        >>> _scheme_of("HTTPS://example.org/best.ckpt"), _scheme_of("s3://bucket/best.ckpt"), _scheme_of("best.ckpt")
        ('https', 's3', None)
    """
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", origin)
    return None if found is None or found[1].lower() in _LOCAL else found[1].lower()


def name_of(origin: Origin) -> str:
    """Return the name of the file in error sentences.

    Example:
        >>> name_of("best.ckpt"), name_of(b"PK")
        ('best.ckpt', 'the 2 bytes')
    """
    return f"the {len(origin):,} bytes" if isinstance(origin, bytes) else str(origin)


def read_bytes(origin: Origin, *, kind: str = ".ckpt", max_bytes: int = MAX_DOWNLOAD) -> bytes:
    """Return all bytes of the file.

    Args:
        origin: A path, an http or https address, one that fsspec opens, such as s3:// or gs://, or the bytes themselves.
        kind: The suffix to name in error sentences.
        max_bytes: The most bytes to accept from a server.

    Raises:
        BadTypeError: The origin is neither a path, an address nor bytes.
        MissingFileError: No such file.
        BadValueError: The address does not respond, sends too much, or needs a package that is not installed.
    """
    if isinstance(origin, bytes | bytearray | memoryview):
        return bytes(origin)
    if not isinstance(origin, str | Path):
        problem = f"a file must be a path, an http address or bytes, got {type(origin).__name__}"
        raise BadTypeError(problem, f"Pass such as 'best{kind}'")
    scheme = _scheme_of(origin) if isinstance(origin, str) else None
    if scheme in ("http", "https"):
        with _explained(str(origin)), _opener().open(str(origin), timeout=TIMEOUT_SECONDS) as response:
            received, declared = (
                _read_limited(response, str(origin), max_bytes),
                response.headers.get("Content-Length", ""),
            )
            if declared.isdigit() and len(received) < int(declared):
                problem = f"{origin!s} broke off after {len(received):,} of {int(declared):,} bytes"
                raise BadValueError(problem, "Try again")
            return received
    if scheme is not None:
        return _from_store(str(origin), scheme, kind, max_bytes)
    file = Path(origin).expanduser()
    if "\0" in str(file) or not file.is_file():
        raise _missing(origin, kind)
    return file.read_bytes()


def _missing(origin: object, kind: str) -> MissingFileError:
    what = {".ckpt": "checkpoint", ".onnx": "model"}.get(kind, "file")
    remedy = f"Pass the path of a {kind} file" + (" that a Trainer wrote" if kind == ".ckpt" else "")
    return MissingFileError(f"no {what} at {str(origin)!r}", remedy)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn any error of an opener into a BadValueError."""
    try:
        yield
    except TabvisionError:
        raise
    except Exception as error:  # each store has its own error classes
        reason = str(getattr(error, "reason", None) or error).rstrip(".") or type(error).__name__
        problem = f"{url} could not be read ({reason})"
        raise BadValueError(problem, "Check the address, or download the file and pass its path") from error


def _from_store(url: str, scheme: str, kind: str, max_bytes: int) -> bytes:
    """Return the bytes of a file in a store; chained addresses (`zip://a::http://b`) are not opened."""
    import fsspec  # type: ignore[import-untyped]  # ships no types

    if scheme not in fsspec.available_protocols():
        raise _missing(url, kind)
    if "::" in url:
        raise BadValueError(f"{url} names a file within another", "Unpack it first, and pass the address of the file")
    with _explained(url):
        try:
            with fsspec.open(url, "rb") as file:
                return _read_limited(file, url, max_bytes)
        except FileNotFoundError as error:
            raise _missing(url, kind) from error
        except ImportError as error:  # it names the package
            raise BadValueError(f"{url} cannot be opened here ({error})", "Install it with pip") from error


def _read_limited(file: IO[bytes] | http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    received = bytearray()
    while chunk := file.read(_CHUNK):
        received += chunk
        if len(received) > max_bytes:
            remedy = "Download it and pass its path, if it is what you expect"
            raise BadValueError(f"{url} sends more than {max_bytes:,} bytes", remedy)
    return bytes(received)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of http and https alone, also after a redirect: neither file nor ftp."""
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
