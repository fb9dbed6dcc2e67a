"""Download the Adult data from UCI over https only."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd

from tabvision.data.tables.write import write_frame
from tabvision.errors import BadValueError, count, speaking

ADDRESS = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
NUM_ROWS = {"train": 32_561, "test": 16_281}  # as stated in adult.names
TIMEOUT_SECONDS = 60
ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
    "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "salary",
)  # fmt: skip
REMEDY = "Try again later, or pass the path of a file of your own"


@speaking("AdultDataModule")
def download_adult(path: str | Path) -> None:
    """Download UCI's two files and write them atomically as one CSV with a header and a column `split`.

    Raises:
        BadValueError: UCI cannot be reached, or its response is not the data.
    """
    parts = {
        part: parse_uci(fetch(f"{ADDRESS}/adult.{name}"), part) for part, name in (("train", "data"), ("test", "test"))
    }
    for part, frame in parts.items():
        if len(frame) != NUM_ROWS[part]:
            problem = f"UCI sent {count(len(frame), 'row')} of its {part} part instead of {NUM_ROWS[part]:,}"
            raise BadValueError(problem, REMEDY)
    Path(path).expanduser().parent.mkdir(parents=True, exist_ok=True)
    write_frame(pd.concat(parts.values(), ignore_index=True), Path(path).expanduser())


@speaking("AdultDataModule")
def parse_uci(text: str, part: str) -> pd.DataFrame:
    """Parse one of UCI's files: no header, comment lines with `|`, labels that end in a period in the test file.

    Example:
        >>> row = "39, Private, 7, HS-grad, 9, Divorced, Sales, Husband, White, Male, 0, 0, 40, ?, >50K."
        >>> parse_uci("|1x3 Cross validator" + chr(10) + row, "test")[["age", "salary", "split"]].values.tolist()
        [[39, '>50K', 'test']]
    """
    rows = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("|"))
    try:
        frame = pd.read_csv(
            io.StringIO(rows), names=ADULT_COLUMNS, index_col=False, skipinitialspace=True, keep_default_na=False
        )
    except ValueError as error:  # including pandas' parser errors
        raise BadValueError(f"UCI's {part} file is not a table ({error})", REMEDY) from error
    return frame.assign(salary=frame["salary"].astype("str").str.rstrip("."), split=part)


@speaking("AdultDataModule")
def fetch(address: str) -> str:
    """Return the text at an https address; reject other schemes, even after a redirect.

    Raises:
        BadValueError: The address cannot be fetched.
    """
    try:
        with _https_only().open(address, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read()
            return content.decode("utf-8")
    except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # the error holds the connection
        remedy = "Check the connection, or download the data elsewhere and pass the path of the file"
        raise BadValueError(f"{address} could not be fetched ({error})", remedy) from error


def _https_only() -> urllib.request.OpenerDirector:
    """Return an opener that accepts only https."""
    request = urllib.request
    opener = request.OpenerDirector()
    handlers = (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    )
    for handler in handlers:
        opener.add_handler(handler())
    return opener
