"""Read the bytes of a file from a path, a URL, the Hugging Face hub or an fsspec store, and check the facts in it."""

from __future__ import annotations

import http.client
import math
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from tabvision.checks import is_integer
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, TabvisionError, count, listed
from tabvision.schema import Schema

Origin: TypeAlias = str | Path | bytes
"""A file: its path, an http or https URL, hf://user/model, a URL of a store such as s3:// or gs://, or its bytes."""

_MAX_DOWNLOAD = 4 << 30  # the most bytes to accept from a server
_TIMEOUT_SECONDS = 30.0  # without receiving a byte
_CHUNK = 1 << 20
_ON_HUB = re.compile(r"hf://([^/@:]+/[^/@:]+)(?:@((?:refs/(?:pr|convert)/)?[^/@]+))?(?:/(.+))?", re.IGNORECASE)
_LOCAL = ("file", "local")  # schemes of local files, which must be given as paths instead


def _scheme_of(origin: str) -> str | None:
    """Return the scheme of a URL, or None for a path.

    Example:
        >>> _scheme_of("HTTPS://example.org/best.ckpt"), _scheme_of("s3://bucket/best.ckpt"), _scheme_of("best.ckpt")
        ('https', 's3', None)
    """
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", origin)
    return None if found is None or found[1].lower() in _LOCAL else found[1].lower()


def origin_name(origin: Origin) -> str:
    """Return the name of a file for error messages.

    Example:
        >>> origin_name("best.ckpt"), origin_name(b"PK")
        ('best.ckpt', 'the 2 bytes')
    """
    return str(origin) if isinstance(origin, str | Path) else f"the {len(origin):,} bytes"


def read_bytes(origin: Origin, *, kind: str = ".ckpt") -> bytes:
    """Return all bytes of the file.

    Args:
        origin: A path, an http or https URL, hf://user/model for a repository on the Hugging Face hub, optionally with
            @revision and /file, a URL that fsspec opens, such as s3:// or gs://, or the bytes themselves.
        kind: The suffix to name in error messages.

    Raises:
        BadTypeError: The origin is not a path, a URL or bytes.
        MissingFileError: The file does not exist.
        BadValueError: The URL does not respond, sends too much, or needs a package that is not installed.
    """
    if isinstance(origin, bytes | bytearray | memoryview):
        return bytes(origin)
    if not isinstance(origin, str | Path):
        problem = f"a file must be a path, a URL or bytes, got {type(origin).__name__}"
        raise BadTypeError(problem, f"Pass a path such as 'best{kind}'")
    url = str(origin)
    scheme = _scheme_of(url)  # None for a Path, which keeps only one of two slashes
    if scheme in ("http", "https"):
        return _from_web(url)
    if scheme == "hf":
        return _from_hub(url, kind)
    if scheme is not None:
        return _from_store(url, scheme, kind)
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
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it keeps the connection open
        reason = str(getattr(error, "reason", None) or error).rstrip(".") or type(error).__name__
        problem = f"{url} could not be read ({reason})"
        raise BadValueError(problem, "Check the address, or download the file and pass its path") from error


def _from_web(url: str) -> bytes:
    with _explained(url), _opener().open(url, timeout=_TIMEOUT_SECONDS) as response:
        received = _read_limited(response, url)
        declared = response.headers.get("Content-Length", "")
        if declared.isdigit() and len(received) < int(declared):
            problem = f"the download of {url} stopped after {len(received):,} of {int(declared):,} bytes"
            raise BadValueError(problem, "Try again")
        return received


def _from_hub(url: str, kind: str) -> bytes:
    """Return the bytes of a file on the Hugging Face hub through its cache, or from the cache alone when offline."""
    from huggingface_hub import errors, hf_hub_download, hf_hub_url

    found = _ON_HUB.fullmatch(url)
    if found is None:
        ways = f"hf://user/model, hf://user/model@revision or hf://user/model/file{kind}"
        raise BadValueError(f"an address on the hub must be {ways}, got {url}", "Correct the address")
    repo, revision, file = found[1], found[2], found[3] or f"{'best' if kind == '.ckpt' else 'model'}{kind}"
    try:
        size, is_reached = _size_on_hub(hf_hub_url(repo, file, revision=revision))
        if size is None or size <= _MAX_DOWNLOAD:
            return Path(hf_hub_download(repo, file, revision=revision, local_files_only=not is_reached)).read_bytes()
    except errors.LocalEntryNotFoundError as error:
        problem = f"{url} is not in the cache of the hub, and the hub cannot be reached"
        raise BadValueError(problem, "Connect to the network, or pass the path of a file") from error
    except errors.EntryNotFoundError as error:
        raise MissingFileError(f"{repo} has no {file}", f"Name the file: hf://{repo}/path/to/file") from error
    except errors.RevisionNotFoundError as error:
        remedy = "Pass a branch, a tag or a commit, or leave it out"
        raise BadValueError(f"{repo} has no revision {revision!r}", remedy) from error
    except errors.RepositoryNotFoundError as error:
        problem = f"the hub has no repository {repo}, or it is private and your token does not give access"
        raise BadValueError(problem, "Check the name, or log in: hf auth login, or set HF_TOKEN") from error
    except Exception as error:  # errors of the network, the repository's name or the cache
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadValueError(f"{url} could not be read ({reason:.300})", "Check the address and the network") from error
    remedy = "Download it and pass its path, if it is what you expect"
    raise BadValueError(f"{url} holds {size:,} bytes, and at most {_MAX_DOWNLOAD:,} are read", remedy)


def _size_on_hub(url: str) -> tuple[int | None, bool]:
    """Return the size that the hub states, and whether it was reached; a download would retry for most of a minute."""
    from huggingface_hub import errors, get_hf_file_metadata

    try:
        return get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS).size, True
    except errors.HfHubHTTPError:  # the hub answered; the download will say what is wrong
        return None, True
    except Exception:
        return None, False


def _from_store(url: str, scheme: str, kind: str) -> bytes:
    """Return the bytes of a file in a store; chained URLs (`zip://a::http://b`) are not opened."""
    import fsspec  # type: ignore[import-untyped]  # ships no types

    if scheme not in fsspec.available_protocols():
        raise _missing(url, kind)
    if "::" in url:
        raise BadValueError(f"{url} names a file within another", "Unpack it first, and pass the address of the file")
    with _explained(url):
        try:
            with fsspec.open(url, "rb") as file:
                return _read_limited(file, url)
        except FileNotFoundError as error:
            raise _missing(url, kind) from error
        except ImportError as error:  # its message names the package
            raise BadValueError(f"{url} cannot be opened here ({error})", "Install it with pip") from error


def _read_limited(file: IO[bytes] | http.client.HTTPResponse, url: str) -> bytes:
    received = bytearray()
    while chunk := file.read(_CHUNK):
        received += chunk
        if len(received) > _MAX_DOWNLOAD:
            remedy = "Download it and pass its path, if it is what you expect"
            raise BadValueError(f"{url} sends more than {_MAX_DOWNLOAD:,} bytes", remedy)
    return bytes(received)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https only, even after a redirect, but not for file or ftp."""
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


def check_facts(schema: Schema, width: int, name: str) -> None:
    """Raise if the schema in a file holds facts that training never writes, or that do not fit the answers.

    Raises:
        BadValueError: Names do not match the predictions one to one, a vocabulary has a duplicate, a mean or std is not
            finite, or an image's range of values is not valid.
    """
    names = schema.task.names(schema.target)
    what = "class" if schema.task.is_classes else "target"
    if len(names) != width or len(set(names)) < width:
        raise _damaged_schema(name, f"it must have {width} different {what} names, got {listed(names)}")
    if any("\ud800" <= letter <= "\udfff" for each in names for letter in str(each)):
        raise _damaged_schema(name, "a name holds a lone surrogate")
    for category in schema.categorical:
        if len(set(category.vocabulary)) < len(category.vocabulary):
            raise _damaged_schema(name, f"the vocabulary of {category.name!r} contains a value twice")
    for number in schema.continuous:
        if not (math.isfinite(number.mean) and math.isfinite(number.std) and number.std > 0):
            raise _damaged_schema(name, f"{number.name!r} has mean {number.mean:g} and std {number.std:g}")
    ranges, channels = (schema.image.value_range, schema.image.channels) if schema.image else ((), 3)
    if len(ranges) not in (0, 1, channels) or not all(-math.inf < low < high < math.inf for low, high in ranges):
        raise _damaged_schema(name, f"the image's {count(channels, 'channel')} have the ranges {listed(ranges)}")


def _damaged_schema(name: str, problem: str) -> BadValueError:
    return BadValueError(f"the schema in {name} is damaged: {problem}", "Do not use it; ask for the original file")


def check_format(found: object, oldest: int, newest: int, name: str, remedy: str) -> None:
    """Raise unless this version of tabvision can read a file's format; the remedy is for one that is too old."""
    if not is_integer(found) or found > newest:
        problem = f"{name} has format {found!r}, and {newest} is the newest that this version reads"
        raise BadValueError(problem, "Update tabvision: pip install --upgrade tabvision")
    if found < oldest:
        raise BadValueError(f"{name} has format {found}, and {oldest} is the oldest that this version reads", remedy)
