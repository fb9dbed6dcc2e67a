"""Read delimited text files strictly: a row with too many or too few fields is an error.

pandas' C engine parses the files. pyarrow's takes the same CPU time per row (it only uses more threads), infers further
types (dates, times, hexadecimal numbers), and loses digits of integers beyond 64 bits.
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Unpack

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tabvision.data.tables.cells import (
    Known,
    are_whole,
    checked_words,
    with_columns,
    with_padded_numbers,
    without_words,
)
from tabvision.data.tables.layout import Layout, find_layout, ragged
from tabvision.data.tables.text_file import TextFile, TextFormat
from tabvision.errors import BadValueError, count, listed
from tabvision.preprocess.text_formats import have_points_of_thousands

logger = logging.getLogger("tabvision")

CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data")
_HEAD_ROWS = 1_000


def read_csv(
    path: Path, known: Known | None = None, content: bytes | None = None, **form: Unpack[TextFormat]
) -> pd.DataFrame:
    """Return the rows of a delimited text file, and log what is not read literally: words, zeros, decimal commas.

    Args:
        path: The file.
        known: Columns that are known to be text or not: the texts each may hold, or None; the types of others are inferred.
            A word or an empty cell among those texts is a value.
        content: Some records of the file to read instead of the file; None for all of it.
        form: How the file is written; see `TextFormat`.

    Raises:
        BadValueError: The file is empty, binary, in another encoding or ragged, or has duplicate column names.
    """
    na_values, names = form.get("na_values"), form.get("names")
    words, known = checked_words(na_values), known or {}
    has_spaces = any(text.startswith(" ") for texts in known.values() for text in texts or ())
    file = TextFile(path, form.get("encoding"), content, skips_spaces=not has_spaces)
    with file.checked():
        layout = find_layout(file, form.get("sep"), names)
        frame = _parse(file, layout, known)
        if _drop_repeated_headers(file, layout, frame):
            frame = _parse(file, layout, known)
        if frame.iloc[:, -1].isna().any():  # a row with too few fields has no last value
            _check_no_short_row(file, layout)
        _log_layout(file, layout, names)
        frame = frame.fillna({name: "" for name, texts in known.items() if name in frame and "" in (texts or ())})

        def parse(columns: Sequence[str], missing: Sequence[str] | None) -> pd.DataFrame:
            kinds: Known = dict.fromkeys(columns, () if missing is None else None)
            return _parse(file, layout, kinds, columns, missing or ())

        frame = without_words(frame, words, known, parse, is_default=na_values is None)
        if layout.delimiter == ";":  # files with decimal commas have semicolons between fields
            frame = _with_decimal_commas(frame, known)
            frame = _with_points_of_thousands(frame, known, lambda names: parse(names, None))
        return with_padded_numbers(frame, known, parse, file, layout.delimiter)


def _log_layout(file: TextFile, layout: Layout, names: Sequence[str] | None) -> None:
    """Log what is unusual about the layout of a file."""
    path = file.path
    with file.open_text() as text:
        head = re.sub(r'"[^"]*"', "", "".join(itertools.islice(text, _HEAD_ROWS)))
    if file.skips_spaces and re.search(rf"(?:^|{re.escape(layout.delimiter)}) ", head, re.MULTILINE):
        where = f"after {layout.sep!r} and at the start of a line"
        logger.info(f"Spaces {where} in {path.name} are ignored, except within quotes.")
    if layout.sep != file.usual_delimiter and len(layout.header) > 1:
        logger.info(f"{path.name} is read with {layout.sep!r} between fields.")
    if padded := [name for name in layout.header if name != name.strip()]:
        logger.info(f"Spaces removed around {count(len(padded), 'column name')}: {listed([*map(repr, padded)])}.")
    if not layout.has_header and not names:
        called = f"its columns are called {listed([*map(repr, layout.names)])}"
        logger.info(f"{path.name} has no header: {called}; name them with names= (--names).")


def _with_decimal_commas(frame: pd.DataFrame, known: Known) -> pd.DataFrame:
    """Convert text such as "1,5" to numbers, except in the columns known to be text.

    A comma before three digits may separate thousands, so it counts as a decimal comma only if another value of the frame
    has a comma that cannot be anything else.

    Example:
        >>> from tabvision.logs import notes_at
        >>> with notes_at(False):
        ...     _with_decimal_commas(pd.DataFrame({"size": ["1,5", "2"], "name": ["a", "1,5"]}), {})["size"].tolist()
        [1.5, 2.0]
        >>> with notes_at(False):
        ...     _with_decimal_commas(pd.DataFrame({"size": ["12,345", "-0,019"]}), {})["size"].tolist()
        [12.345, -0.019]
    """
    texts = {
        name: pa.array(frame[name], pa.large_string())
        for name in frame
        if isinstance(frame[name].dtype, pd.StringDtype) and known.get(name) is None
    }
    number = r"^\s*[+-]?[0-9]+(,[0-9]+)?\s*$"
    found = {  # the first rows settle most columns without looking at the rest
        name: values
        for name, values in texts.items()
        if all(pc.all(pc.match_substring_regex(part, number)).as_py() for part in (values[:_HEAD_ROWS], values))
    }
    unambiguous = r"^\s*[+-]?0,[0-9]|,([0-9]{1,2}|[0-9]{4,})\s*$"
    if not any(pc.any(pc.match_substring_regex(values, unambiguous)).as_py() for values in found.values()):
        return frame
    numbers = {name: pd.to_numeric(frame[name].str.replace(",", ".", regex=False)) for name in found}
    logger.info(f"Read with a decimal comma: {listed([repr(name) for name in numbers])}.")
    return with_columns(frame, numbers)


def _with_points_of_thousands(
    frame: pd.DataFrame, known: Known, read: Callable[[Sequence[str]], pd.DataFrame]
) -> pd.DataFrame:
    """Return columns as text if 1.234 means 1234 in them, which pandas would read as a number a thousand times smaller.

    Args:
        frame: The rows as read by pandas.
        known: Columns that are known to be text or not.
        read: Reads some columns again, as text.
    """
    names = []
    for name in (name for name in frame if name not in known and frame[name].dtype == float):
        present = frame[name].dropna().to_numpy()
        thousands = present * 1_000
        if not (abs(thousands - thousands.round()) <= 1e-9 * abs(thousands)).all():  # more than three decimals
            continue
        is_whole = present % 1 == 0
        if is_whole.any() and not is_whole.all():
            names.append(name)
    texts = read(names) if names else frame
    found = {name: texts[name] for name in names if have_points_of_thousands(texts[name].dropna().unique())}
    return with_columns(frame, found) if found else frame


def _parse(
    file: TextFile, layout: Layout, known: Known, columns: Sequence[str] | None = None, words: Sequence[str] = ()
) -> pd.DataFrame:
    """Parse all columns or some, with empty cells and the words as missing values."""

    def read(**settings: Any) -> pd.DataFrame:  # noqa: ANN401 - settings of pandas
        with file.open() as opened:
            found: pd.DataFrame = pd.read_csv(
                opened,
                sep=layout.delimiter,
                header=0 if layout.has_header else None,
                names=layout.names,
                keep_default_na=False,
                na_values=["", *words],
                index_col=False,
                skipinitialspace=file.skips_spaces,
                encoding=file.encoding,
                low_memory=False,
                **{"usecols": columns} | settings,
            )
            return found

    try:
        frame = read(dtype={name: "str" for name in layout.names if known.get(name) is not None})
        texts = [name for name in frame if isinstance(frame[name].dtype, pd.StringDtype)]
        if mixed := [name for name in texts if (frame[name] == "").any()]:  # as with integers from 2**63 on
            frame = with_columns(frame, read(usecols=mixed, dtype="str"))
        return with_exact_integers(frame, lambda some: read(usecols=some, dtype_backend="numpy_nullable"))
    except pd.errors.ParserError as error:
        if "Calling read(nbytes) on source failed" in str(error):  # pandas loses an error without text: that of Ctrl-C
            raise KeyboardInterrupt from error
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            expected, line, seen = map(int, found.groups())
            raise ragged(file.path, line, expected, seen, layout.sep) from error
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip().rstrip(".")
        is_quote = "EOF inside string" in reason
        remedy = "Look for a quote that is opened and never closed" if is_quote else "Repair the file"
        raise BadValueError(f"{str(file.path)!r} cannot be read: {reason}", remedy) from error


def with_exact_integers(frame: pd.DataFrame, read: Callable[[list[str]], pd.DataFrame]) -> pd.DataFrame:
    """Return the frame with Int64 for columns of integers and missing values.

    pandas turns them into floats, which changes numbers from 2**53 on, and the type of the column.

    Args:
        frame: The rows as read by pandas.
        read: Reads some columns again, with pandas' nullable types.

    Example:
        >>> frame = pd.DataFrame({"id": [2**53 + 1, None]})
        >>> with_exact_integers(frame, lambda names: pd.DataFrame({"id": pd.array([2**53 + 1, None])}))["id"].tolist()
        [9007199254740993, <NA>]
    """
    gaps = [name for name in frame if frame[name].dtype == float and frame[name].isna().any()]
    names = [name for name in gaps if are_whole(frame[name])]
    again = read(names) if names else frame
    found = {name: again[name].array for name in names if pd.api.types.is_integer_dtype(again[name])}
    return with_columns(frame, found) if found else frame


def _drop_repeated_headers(file: TextFile, layout: Layout, frame: pd.DataFrame) -> bool:
    """Drop rows that repeat the header, as in concatenated files, from the text in memory; return whether there are any."""
    repeats = pd.Series(data=len(layout.names) > 1, index=frame.index)
    for name in frame.columns:
        if not repeats.any() or not isinstance(frame[name].dtype, pd.StringDtype):
            return False
        repeats &= frame[name].str.strip() == name
    if not repeats.any():
        return False
    (_, header), *records = file.records(layout.delimiter)
    lines = {line: f"{line:,}" for line, record in records if [cell.strip() for cell in record] == layout.names}
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=layout.delimiter)
    writer.writerows([header, *(record for line, record in records if line not in lines)])
    file.replace(text.getvalue())
    where = f"line {listed([*lines.values()])}"
    logger.info(f"The header of {file.path.name} is repeated, as in files that were joined; left out: {where}.")
    return True


def _check_no_short_row(file: TextFile, layout: Layout) -> None:
    """Raise if a row has too few fields, which pandas would fill with missing values.

    pyarrow's fast parser rejects such rows; only then does the slower standard library find the line.
    """
    names = [str(index) for index in range(len(layout.header))]
    only_last: dict[str, Any] = {"include_columns": names[-1:], "column_types": {names[-1]: pa.binary()}}
    try:
        with file.open() as opened:
            reader: Any = pa.csv.open_csv(
                opened,
                read_options=pa.csv.ReadOptions(encoding=file.encoding.removesuffix("-sig"), column_names=names),
                parse_options=pa.csv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(**only_last),
            )
            for _ in reader:
                pass
    except pa.ArrowInvalid:
        with closing(file.records(layout.delimiter)) as records:
            for line, record in records:
                if len(record) < len(names):
                    raise ragged(file.path, line, len(names), len(record), layout.sep) from None
