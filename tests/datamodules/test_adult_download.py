"""Fetching Adult: UCI's own format, https alone, whole or not at all. The network is the one thing that is replaced."""

import http.server
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from datamodules import adult_download
from datamodules.adult_download import ADDRESS, ADULT_COLUMNS, NUM_ROWS, download_adult, fetch, parse_uci
from tabvision.errors import BadValueError

ROW = "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, ?, <=50K"
TRAIN = f"{ROW}\n{ROW.replace('39', '52')}\n\n"
TEST = f"|1x3 Cross validator\n{ROW}.\n{ROW.replace('<=50K', '>50K')}.\n\n"


def test_both_files_of_uci_are_read_in_their_own_format() -> None:
    frame = parse_uci(TRAIN, "train")
    assert list(frame.columns) == [*ADULT_COLUMNS, "split"]
    assert frame["age"].tolist() == [39, 52]
    assert frame["workclass"].tolist() == ["State-gov", "State-gov"]
    assert frame["native-country"].tolist() == ["?", "?"]
    assert frame["split"].unique().tolist() == ["train"]

    frame = parse_uci(TEST, "test")
    assert frame["salary"].tolist() == ["<=50K", ">50K"]
    assert frame["hours-per-week"].tolist() == [40, 40]


def test_a_page_in_place_of_the_file_is_refused() -> None:
    with pytest.raises(BadValueError, match="UCI's train file is not a table"):
        parse_uci(f"{ROW}\n{ROW}, and, more\n", "train")


def send(monkeypatch: pytest.MonkeyPatch, num_train: int, num_test: int) -> list[str]:
    """Has UCI send so many rows; gives the list of addresses that are asked for."""
    asked: list[str] = []

    def answer(address: str) -> str:
        asked.append(address)
        return f"{ROW}\n" * num_train if address.endswith(".data") else "|1x3\n" + f"{ROW}.\n" * num_test

    monkeypatch.setattr(adult_download, "fetch", answer)
    return asked


def test_both_files_become_one_with_a_split_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = send(monkeypatch, NUM_ROWS["train"], NUM_ROWS["test"])

    download_adult(tmp_path / "cache" / "adult.csv")

    assert asked == [f"{ADDRESS}/adult.data", f"{ADDRESS}/adult.test"]
    assert all(address.startswith("https://") for address in asked)
    assert pd.read_csv(tmp_path / "cache" / "adult.csv")["split"].value_counts().to_dict() == NUM_ROWS
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["adult.csv"]


def test_half_a_file_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send(monkeypatch, NUM_ROWS["train"], 5)

    with pytest.raises(BadValueError, match="UCI sent 5 rows of its test part instead of 16,281"):
        download_adult(tmp_path / "adult.csv")

    assert not list(tmp_path.iterdir())


@pytest.fixture
def loopback() -> Iterator[str]:
    """The address of a web server on this machine that would answer over http."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_address_that_is_not_https_is_refused_even_where_it_would_answer(loopback: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"could not be fetched .*unknown url type: http"):
        fetch(loopback)

    with pytest.raises(BadValueError, match="unknown url type: file"):
        fetch(tmp_path.as_uri())


def test_offline_is_said_in_a_sentence(loopback: str) -> None:
    closed = loopback.replace("http:", "https:")  # no TLS there: nothing can be fetched

    with pytest.raises(
        BadValueError, match=r"could not be fetched .*Check the connection, or download the data elsewhere"
    ):
        fetch(closed)


def test_a_page_that_is_not_there_is_told(loopback: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adult_download, "_https_only", urllib.request.build_opener)  # which takes http as well

    with pytest.raises(BadValueError, match=r"nowhere could not be fetched .*404.*Check the connection") as refusal:
        fetch(f"{loopback}nowhere")

    assert isinstance(refusal.value.__cause__, urllib.error.HTTPError)
    assert refusal.value.__cause__.closed  # and with it the connection


def test_a_redirect_to_plain_http_is_not_followed(loopback: str) -> None:
    opener = adult_download._https_only()
    request = urllib.request.Request(ADDRESS)
    request.timeout = 5  # as opening it would set

    with pytest.raises(urllib.error.URLError, match="unknown url type: http"):
        opener.error("https", request, io.BytesIO(), 302, "moved", {"location": loopback})
