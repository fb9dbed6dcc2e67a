"""Read delimited text files strictly: a row with too many or too few fields is an error.

pandas' C engine parses the files. pyarrow's takes the same processor time per row (it only uses more threads) and infers
other types: dates, times, hexadecimal numbers; integers beyond 64 bits lose digits.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import logging
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tabvision.errors import BadValueError, count, listed

logger = logging.getLogger("tabvision")

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_HEAD_BYTES = 1 << 16
_HEAD_ROWS = 1_000
_LONGEST_FIELD = 2**31 - 1


def _open_zip(path: Path) -> IO[bytes]:
    """Open the only file of an archive, which stays open until that file is closed."""
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    if len(names) != 1:
        archive.close()
        problem = f"{str(path)!r} holds {count(len(names), 'file')}, expected one"
        raise BadValueError(problem, "Unpack it and pass the path of the table")
    return archive.open(names[0])


_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": cast("Callable[[Path], IO[bytes]]", gzip.open),
    ".bz2": cast("Callable[[Path], IO[bytes]]", bz2.open),
    ".xz": cast("Callable[[Path], IO[bytes]]", lzma.open),
    ".zip": _open_zip,
}
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def without_compression(path: Path) -> Path:
    """Return the path without the suffix of a compression.

    Example:
        >>> without_compression(Path("a.csv.gz")).name, without_compression(Path("a.csv")).name
        ('a.csv', 'a.csv')
    """
    return path.with_suffix("") if path.suffix.lower() in _OPENERS else path


def read_csv(path: Path, *, encoding: str | None, text: Collection[str] = ()) -> pd.DataFrame:
    """Return the rows of a delimited text file, and log an unusual delimiter, decimal commas or stripped column names.

    Args:
        path: The file; its delimiter is the most frequent of `, ; | tab` in the header.
        encoding: None means UTF-8, with or without a byte order mark.
        text: Columns to read as text even if the values look like numbers; the types of the others are inferred.

    Raises:
        BadValueError: The file is empty, binary, in another encoding or ragged, or has duplicate column names.
    """
    encoding = _checked_encoding(encoding)
    try:
        _check_text(path, encoding)
        header, delimiter = _read_header(path, encoding)
        frame = _parse(path, encoding, header, delimiter, text)
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding) from error
    except _UNREADABLE as error:
        raise BadValueError(f"{str(path)!r} cannot be read: {error}", "It may be damaged; write it again") from error
    if frame.iloc[:, -1].isna().any():  # a short row has no last value
        _check_no_short_row(path, encoding, header, delimiter)
    if delimiter != _usual_delimiter(path) and len(header) > 1:
        logger.info(f"{path.name} is read with {delimiter!r} between fields.")
    if padded := [name for name in header if name != name.strip()]:
        logger.info(f"Spaces left out around {count(len(padded), 'column name')}: {listed([*map(repr, padded)])}.")
    # decimal commas come with semicolons between fields
    return _with_decimal_commas(frame, text) if delimiter == ";" else frame


def _with_decimal_commas(frame: pd.DataFrame, text: Collection[str] = ()) -> pd.DataFrame:
    """Convert text such as "1,5" to numbers, except in the columns named by `text`.

    A comma before three digits may separate thousands: it counts as a decimal comma only if another value of the frame has
    a comma that can be nothing else.

    Example:
        >>> from tabvision.logs import notes_at
        >>> with notes_at(False):
        ...     _with_decimal_commas(pd.DataFrame({"size": ["1,5", "2"], "name": ["a", "1,5"]}))["size"].tolist()
        [1.5, 2.0]
    """
    texts = {
        name: pa.array(frame[name], pa.large_string())
        for name in frame
        if isinstance(frame[name].dtype, pd.StringDtype) and name not in text
    }
    found = {name: values for name, values in texts.items() if _all_match(values, r"^\s*[+-]?[0-9]+(,[0-9]+)?\s*$")}
    unambiguous = r",([0-9]{1,2}|[0-9]{4,})\s*$"
    if not any(pc.any(pc.match_substring_regex(values, unambiguous)).as_py() for values in found.values()):
        return frame
    numbers = {name: pd.to_numeric(frame[name].str.replace(",", ".", regex=False)) for name in found}
    logger.info(f"Read with a decimal comma: {listed([repr(name) for name in numbers])}.")
    return frame.assign(**numbers)


def _all_match(values: pa.Array, pattern: str) -> bool:
    """Return whether every text matches; the first rows settle most columns without a look at the rest."""
    return all(pc.all(pc.match_substring_regex(part, pattern)).as_py() for part in (values[:_HEAD_ROWS], values))


def _find_delimiter(line: str, preferred: str = ",") -> str:
    """Return the most frequent delimiter of a header line, outside quotes.

    Example:
        >>> _find_delimiter('name;"height, cm";age'), _find_delimiter("only one column")
        (';', ',')
    """
    counts = Counter(re.sub(r'"[^"]*"', "", line))
    found = max((preferred, ",", ";", "\t", "|"), key=lambda delimiter: counts[delimiter])
    return found if counts[found] else preferred


def _usual_delimiter(path: Path) -> str:
    return "\t" if without_compression(path).suffix.lower() == ".tsv" else ","


def _checked_encoding(encoding: str | None) -> str:
    try:
        name = codecs.lookup(encoding or "utf-8").name
    except LookupError as error:
        remedy = 'Common are "utf-8", "latin-1", "utf-16"'
        raise BadValueError(f"no text encoding named {encoding!r}", remedy) from error
    return "utf-8-sig" if name == "utf-8" else name


def _open_bytes(path: Path) -> IO[bytes]:
    opener = _OPENERS.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open_bytes(path), encoding=encoding, newline="")


def _check_text(path: Path, encoding: str) -> None:
    with _open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise BadValueError(f"{str(path)!r} is empty ({len(head)} bytes)", "Pass a file with a header and rows")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "utf-16" not in encoding:
        raise BadValueError(f"{str(path)!r} is UTF-16 text", 'Pass encoding="utf-16" (--encoding utf-16)')
    if b"\0" in head and "utf-16" not in encoding and "utf-32" not in encoding:
        problem = f"{str(path)!r} is not text: byte {head.index(0):,} is zero"
        raise BadValueError(problem, "Give the file the suffix of its real format, such as .parquet")


def _records(path: Path, encoding: str, delimiter: str) -> Generator[tuple[int, list[str]], None, None]:
    """Yield each record that is not blank, with the number of its last line."""
    limit = csv.field_size_limit(_LONGEST_FIELD)  # by default a field above 131,072 characters is an error
    try:
        with _open_text(path, encoding) as text:
            reader = csv.reader(text, delimiter=delimiter)
            for record in reader:
                if len(record) > 1 or any(map(str.strip, record)):
                    yield reader.line_num, record
    finally:
        csv.field_size_limit(limit)


def _read_header(path: Path, encoding: str) -> tuple[list[str], str]:
    with _open_text(path, encoding) as text:
        first_line = next(line for line in text if line.strip())
    delimiter = _find_delimiter(first_line, _usual_delimiter(path))
    with closing(_records(path, encoding, delimiter)) as records:
        (_, header), *rows = itertools.islice(records, 2)
    if not rows:
        raise BadValueError(f"{str(path)!r} has a header ({listed(header)}) but no rows", "Pass a file with rows")
    for line, row in rows:
        if len(row) != len(header):
            raise _ragged(path, line, len(header), len(row))
    num_columns = Counter(name.strip() for name in header)
    if twice := sorted(name for name, num in num_columns.items() if num > 1 and name):
        problem = f"the header of {str(path)!r} names more than one column {listed([repr(name) for name in twice])}"
        raise BadValueError(problem, "Rename or remove one of each")
    return header, delimiter


def _parse(path: Path, encoding: str, header: list[str], delimiter: str, text: Collection[str]) -> pd.DataFrame:
    names = [name.strip() or f"Unnamed: {index}" for index, name in enumerate(header)]  # as pandas names them
    read = partial(
        pd.read_csv, path, sep=delimiter, header=0, names=names, index_col=False, encoding=encoding, low_memory=False
    )
    try:
        frame = read(dtype={name: "str" for name in names if name in text})
        if mixed := [name for name in frame if _holds_empty_text(frame[name])]:
            frame = frame.assign(**read(usecols=mixed, dtype="str"))
        return with_exact_integers(frame, lambda some: read(usecols=some, dtype_backend="numpy_nullable"))
    except pd.errors.ParserError as error:
        if ragged := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            expected, line, seen = map(int, ragged.groups())
            raise _ragged(path, line, expected, seen) from error
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip().rstrip(".")
        is_quote = "EOF inside string" in reason
        remedy = "Look for a quote that is opened and never closed" if is_quote else "Repair the file"
        raise BadValueError(f"{str(path)!r} cannot be read: {reason}", remedy) from error


def with_exact_integers(frame: pd.DataFrame, read: Callable[[list[str]], pd.DataFrame]) -> pd.DataFrame:
    """Return the frame with integers beside missing values as Int64.

    pandas makes floats of them, which are other numbers from 2**53 on, and another kind of column.

    Args:
        frame: What pandas reads.
        read: Reads some columns again, with pandas' nullable types.

    Example:
        >>> frame = pd.DataFrame({"id": [2**53 + 1, None]})
        >>> with_exact_integers(frame, lambda names: pd.DataFrame({"id": pd.array([2**53 + 1, None])}))["id"].tolist()
        [9007199254740993, <NA>]
    """
    names = [name for name in frame if _may_be_integers(frame[name])]
    again = read(names) if names else frame
    found = {name: again[name].array for name in names if pd.api.types.is_integer_dtype(again[name])}
    return frame.assign(**found) if found else frame


def _may_be_integers(values: pd.Series) -> bool:
    if values.dtype != float or not values.isna().any() or values.isna().all():
        return False
    return bool((values.dropna() % 1 == 0).all())


def _holds_empty_text(values: pd.Series) -> bool:
    """Return whether pandas read an empty cell as text, as it does among integers from 2**63 on."""
    return isinstance(values.dtype, pd.StringDtype) and bool((values == "").any())


def _ragged(path: Path, line: int, expected: int, seen: int) -> BadValueError:
    problem = f"line {line:,} of {str(path)!r} has {count(seen, 'field')}, the header has {expected}"
    return BadValueError(problem, "Repair that line; a field that holds the delimiter must stand in double quotes")


def _check_no_short_row(path: Path, encoding: str, header: list[str], delimiter: str) -> None:
    """Raise if a row has too few fields, which pandas would fill with missing values.

    pyarrow's parser rejects such rows and is fast; only if it does, the slower standard library finds the line.
    """
    names = [str(index) for index in range(len(header))]
    only_last: dict[str, Any] = {"include_columns": names[-1:], "column_types": {names[-1]: pa.binary()}}
    try:
        with _open_bytes(path) as file:
            reader: Any = pa.csv.open_csv(
                file,
                read_options=pa.csv.ReadOptions(encoding=encoding.removesuffix("-sig"), column_names=names),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(**only_last),
            )
            for _ in reader:
                pass
    except pa.ArrowInvalid:
        with closing(_records(path, encoding, delimiter)) as records:
            for line, record in records:
                if len(record) < len(header):
                    raise _ragged(path, line, len(header), len(record)) from None


def _undecodable(path: Path, encoding: str) -> BadValueError:
    with _open_bytes(path) as file:
        data = file.read()
    name = encoding.removesuffix("-sig").upper()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} at position {error.start:,} (line {line:,})"
        remedy = 'Pass encoding="latin-1" (--encoding latin-1), or save it as UTF-8'
        return BadValueError(f"{str(path)!r} is not {name}: {byte}", remedy)
    return BadValueError(f"{str(path)!r} is not {name}", 'Pass encoding="latin-1" (--encoding latin-1)')
