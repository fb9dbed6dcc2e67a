"""Bytes from a path, an address on this machine, or memory; what goes wrong is a sentence."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.inference.files import is_url, name_of, read_bytes
from tests.made.servers import Page, serving


def test_a_path_bytes_and_an_address_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"content")

    with serving({"/a.ckpt": Page(b"content")}) as address:
        origins: list[Any] = [tmp_path / "a.ckpt", str(tmp_path / "a.ckpt"), b"content", f"{address}/a.ckpt"]
        found = {read_bytes(origin, who="here") for origin in origins}

    assert found == {b"content"}


def test_a_redirect_is_followed() -> None:
    pages = {"/a": Page(status=302, headers={"Location": "/b"}), "/b": Page(b"content")}

    with serving(pages) as address:
        assert read_bytes(f"{address}/a", who="here") == b"content"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a"])
def test_a_redirect_off_the_web_is_not_followed(target: str) -> None:
    with (
        serving({"/a": Page(status=302, headers={"Location": target})}) as address,
        pytest.raises(BadValueError, match=r"here: http://.*/a could not be read"),
    ):
        read_bytes(f"{address}/a", who="here")


def test_a_page_that_is_not_there_is_told() -> None:
    with serving({}) as address, pytest.raises(BadValueError, match=r"could not be read \(Not Found\). Check the add"):
        read_bytes(f"{address}/a", who="here")


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    with pytest.raises(BadValueError, match=r"could not be read \(.*refused\)"):
        read_bytes(f"http://127.0.0.1:{port}/a", who="here")


def test_more_than_is_taken_is_not_read_to_the_end() -> None:
    with (
        serving({"/a": Page(bytes(5_000))}) as address,
        pytest.raises(BadValueError, match=r"sends more than 1,000 bytes. Download it and pass its path"),
    ):
        read_bytes(f"{address}/a", who="here", max_bytes=1_000)


def test_a_file_that_breaks_off_is_told() -> None:
    with (
        serving({"/a": Page(bytes(100), length=500)}) as address,
        pytest.raises(BadValueError, match=r"broke off after 100 of 500 bytes. Try again|could not be read"),
    ):
        read_bytes(f"{address}/a", who="here")


@pytest.mark.parametrize("address", ["http://", "http://[", "https://a b/"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(BadValueError, match="could not be read"):
        read_bytes(address, who="here")


@pytest.mark.parametrize("path", ["nowhere.ckpt", "", "file:///etc/passwd", "a\0b"])
def test_a_missing_file_is_told(path: str) -> None:
    with pytest.raises(MissingFileError, match=r"here: no checkpoint at .*Pass the path of a .ckpt file"):
        read_bytes(path, who="here")


@pytest.mark.parametrize("origin", [None, 3, ["a.ckpt"]])
def test_another_kind_of_origin_is_refused(origin: Any) -> None:
    with pytest.raises(BadTypeError, match="must be a path, an http address or bytes, got"):
        read_bytes(origin, who="here")


def test_addresses_and_paths_are_told_apart() -> None:
    assert is_url("HTTPS://example.org/a")
    assert not is_url("ftp://example.org/a")
    assert not is_url(Path("http"))
    assert name_of(bytes(1_000)) == "the 1,000 bytes"
