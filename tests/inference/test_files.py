"""Bytes from a path, an address on this machine, or memory; what goes wrong is a sentence."""

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import fsspec  # type: ignore[import-untyped]  # ships no types
import huggingface_hub.utils
import pytest

from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.inference import files
from tabvision.inference.files import _scheme_of, origin_name, read_bytes
from tests.made.hub import Hub, hub
from tests.made.servers import Page, serving


def test_a_path_bytes_and_an_address_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"content")

    with serving({"/a.ckpt": Page(b"content")}) as address:
        origins: list[Any] = [tmp_path / "a.ckpt", str(tmp_path / "a.ckpt"), b"content", f"{address}/a.ckpt"]
        found = {read_bytes(origin) for origin in origins}

    assert found == {b"content"}


def test_a_redirect_is_followed() -> None:
    pages = {"/a": Page(status=302, headers={"Location": "/b"}), "/b": Page(b"content")}

    with serving(pages) as address:
        assert read_bytes(f"{address}/a") == b"content"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a"])
def test_a_redirect_off_the_web_is_not_followed(target: str) -> None:
    with (
        serving({"/a": Page(status=302, headers={"Location": target})}) as address,
        pytest.raises(BadValueError, match=r"http://.*/a could not be read"),
    ):
        read_bytes(f"{address}/a")


def test_a_page_that_is_not_there_is_told() -> None:
    message = r"could not be read \(Not Found\). Check the add"
    with serving({}) as address, pytest.raises(BadValueError, match=message) as refusal:
        read_bytes(f"{address}/a")

    assert isinstance(refusal.value.__cause__, HTTPError)
    assert refusal.value.__cause__.closed  # and with it the connection


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    with pytest.raises(BadValueError, match=r"could not be read \(.*refused\)"):
        read_bytes(f"http://127.0.0.1:{port}/a")


def test_more_than_is_taken_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAX_DOWNLOAD", 1_000)

    with (
        serving({"/a": Page(bytes(5_000))}) as address,
        pytest.raises(BadValueError, match=r"sends more than 1,000 bytes. Download it and pass its path"),
    ):
        read_bytes(f"{address}/a")


def test_a_file_that_breaks_off_is_told() -> None:
    with (
        serving({"/a": Page(bytes(100), length=500)}) as address,
        pytest.raises(BadValueError, match=r"stopped after 100 of 500 bytes. Try again|could not be read"),
    ):
        read_bytes(f"{address}/a")


@pytest.mark.parametrize("address", ["http://", "http://[", "https://a b/"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(BadValueError, match="could not be read"):
        read_bytes(address)


@pytest.mark.parametrize("path", ["nowhere.ckpt", "", "file:///etc/passwd", "a\0b"])
def test_a_missing_file_is_told(path: str) -> None:
    with pytest.raises(MissingFileError, match=r"no checkpoint at .*Pass the path of a .ckpt file"):
        read_bytes(path)


@pytest.mark.parametrize("origin", [None, 3, ["a.ckpt"]])
def test_another_kind_of_origin_is_refused(origin: Any) -> None:
    with pytest.raises(BadTypeError, match="must be a path, a URL or bytes, got"):
        read_bytes(origin)


# From a store that fsspec knows.


@pytest.fixture
def store() -> Iterator[str]:
    """The address of a store in this process's memory that holds `a.ckpt`."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.ckpt", b"content")
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_a_stores_file_is_read_within_the_limit(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_bytes(f"{store}/a.ckpt") == b"content"

    monkeypatch.setattr(files, "_MAX_DOWNLOAD", 3)
    with pytest.raises(BadValueError, match="sends more than 3 bytes"):
        read_bytes(f"{store}/a.ckpt")


def test_a_stores_missing_file_is_told(store: str) -> None:
    with pytest.raises(MissingFileError, match=r"no model at '.*/nowhere.onnx'"):
        read_bytes(f"{store}/nowhere.onnx", kind=".onnx")


def test_a_file_within_another_is_not_opened(store: str) -> None:
    for address in ("zip://a.ckpt::http://127.0.0.1/a.zip", f"memory://a::{store}/a.ckpt"):
        with pytest.raises(BadValueError, match="names a file within another"):
            read_bytes(address)


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_store_without_its_package_is_told() -> None:
    with pytest.raises(BadValueError, match=r"s3://bucket/a.ckpt cannot be opened here .*s3fs.*Install it"):
        read_bytes("s3://bucket/a.ckpt")


def test_addresses_and_paths_are_told_apart() -> None:
    assert _scheme_of("HTTPS://example.org/a") == "https"
    assert _scheme_of("gs://bucket/a") == "gs"
    assert _scheme_of("file:///a") is None
    assert _scheme_of("c:/a") is None
    assert origin_name(bytes(1_000)) == "the 1,000 bytes"
    assert origin_name(bytearray(1_000)) == "the 1,000 bytes"  # type: ignore[arg-type]  # taken as well


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub(monkeypatch, tmp_path / "cache") as found:
        found.repositories["user/model"] = [
            {"best.ckpt": b"old"},
            {"best.ckpt": b"new", "model.onnx": b"onnx", "deep/a.ckpt": b"deep"},
        ]
        yield found


@pytest.mark.parametrize(
    ("address", "kind", "content"),
    [
        ("hf://user/model", ".ckpt", b"new"),
        ("hf://user/model@main", ".ckpt", b"new"),
        ("hf://user/model@v0", ".ckpt", b"old"),
        ("hf://user/model", ".onnx", b"onnx"),
        ("hf://user/model@v1/deep/a.ckpt", ".ckpt", b"deep"),
    ],
)
def test_a_repository_of_the_hub_gives_its_file(there: Hub, address: str, kind: str, content: bytes) -> None:
    assert read_bytes(address, kind=kind) == content
    assert sum(request.startswith("GET /user") for request in there.requests) == 1

    assert read_bytes(address, kind=kind) == content
    assert sum(request.startswith("GET /user") for request in there.requests) == 1, "the cache was not asked"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://user/model@v7", "user/model has no revision 'v7'"),
        ("hf://user/model/b.ckpt", "user/model has no b.ckpt. Name the file"),
        ("hf://user/none", "the hub has no repository user/none, or it is private"),
        ("hf://user", "an address on the hub must be hf://user/model"),
        ("hf://a b/c", "hf://a b/c could not be read"),
    ],
)
@pytest.mark.usefixtures("there")
def test_what_the_hub_does_not_have_is_told(address: str, said: str) -> None:
    with pytest.raises((BadValueError, MissingFileError), match=said):
        read_bytes(address)


def test_a_file_of_the_hub_that_is_too_large_is_not_downloaded(there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAX_DOWNLOAD", 2)

    with pytest.raises(BadValueError, match="hf://user/model holds 3 bytes, and at most 2 are read"):
        read_bytes("hf://user/model")

    assert not any(request.startswith("GET /user") for request in there.requests)


@pytest.mark.usefixtures("there")
def test_offline_a_file_comes_from_the_cache_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes("hf://user/model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()  # before 1.0 those that are open do not hear of it

    assert read_bytes("hf://user/model") == b"new"
    with pytest.raises(BadValueError, match="hf://user/other is not in the cache of the hub"):
        read_bytes("hf://user/other")
