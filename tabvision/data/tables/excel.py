"""Read and write the sheets of Excel files, through pandas and openpyxl (the extra `excel`)."""

from __future__ import annotations

import logging
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Unpack

import pandas as pd
import pyarrow as pa

from tabvision.data.tables.cells import Known, checked_words, with_columns, without_words
from tabvision.data.tables.layout import given_names
from tabvision.data.tables.text_file import TextFormat, first_line
from tabvision.errors import BadValueError, TabvisionError, count
from tabvision.plain import LARGEST_EXACT
from tabvision.schema import Percents

logger = logging.getLogger("tabvision")

_LITERAL = r'"[^"]*"|\\.'  # literal text in a cell's format, such as a % that is only appended to the number
_MERGED = re.compile(rb'<mergeCell ref="[A-Z]+([0-9]+):[A-Z]+([0-9]+)"')
_MOST_ROWS = 1_048_575  # in a sheet, below its header
_LARGEST_SHOWN = 10**15 - 1  # Excel shows and keeps 15 digits

# A spreadsheet runs text that starts like this as a formula; a plain number such as -5 is harmless.
# Source: OWASP, "CSV Injection".
_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?(?:$|[;\t\r\n])"
_FORMULA = rf"(?:[=@\uff1d\uff20\uff0b\uff0d]|[+-](?!{_NUMBER}))"  # including full-width characters
_FIRST = rf"^(?:{_FORMULA}|[\t\r\n])"
_LATER = rf"(?<=.)([;\t\r\n])(?={_FORMULA})"  # some spreadsheets split cells there, ignoring quotes within a cell


def read_excel(path: Path, known: Known, **form: Unpack[TextFormat]) -> pd.DataFrame:
    """Return the rows of the first sheet, and log the other sheets and which words are read as missing.

    Args:
        path: The file.
        known: Columns that are known to be text or not, as for `read_csv`.
        form: As for a text file; only `na_values` and `names` are used.

    Raises:
        BadValueError: The file cannot be read, has no rows, or `names` has another length; or openpyxl is not installed.
    """
    check_excel()
    names = form.get("names")
    try:
        with pd.ExcelFile(path, engine="openpyxl") as book:
            first, *others = map(str, book.sheet_names)
            header: Any = 0 if names is None else None
            frame = pd.read_excel(book, header=header, dtype=object, keep_default_na=False, na_values=[""])
            _note_on_cells(path, book)
            own = [str(name).strip() for name in frame.columns]
            own = own if names is None else given_names(path, len(own), names)
            frame = _with_percents(frame.set_axis(own, axis=1), book, known)
    except Exception as error:  # openpyxl and zipfile may raise anything for a damaged file
        if isinstance(error, TabvisionError):
            raise
        problem = f"{str(path)!r} cannot be read as .xlsx: {first_line(error)}"
        raise BadValueError(problem, "It may be damaged or in another format; save it again") from error
    if not frame.shape[1] or not len(frame):
        raise BadValueError(f"sheet {first!r} of {str(path)!r} has no rows", "Put the table into the first sheet")
    if others:
        logger.info(f"{path.name} has {count(len(others) + 1, 'sheet')}: the first, {first!r}, is read.")
    words = checked_words(form.get("na_values"))

    def parse(columns: Sequence[str], missing: Sequence[str] | None) -> pd.DataFrame:
        part = frame[list(columns)]
        part = part.mask(part.isin(list(missing or ())))
        return part.apply(lambda values: _typed(values, is_text=known.get(str(values.name)) is not None))

    typed = parse([*frame], ())
    if mixed := [name for name in frame if typed[name].dtype == object]:  # numbers mixed with words, as text
        typed = with_columns(typed, {name: _as_text(values) for name, values in parse(mixed, words).items()})
    return without_words(typed, words, known, parse, is_default=form.get("na_values") is None)


def _note_on_cells(path: Path, book: pd.ExcelFile) -> None:
    """Log cells of the first sheet that are missing although it shows something there: failed formulas and merged cells."""
    sheet = book.book.worksheets[0]._worksheet_path  # noqa: SLF001 - the file in the archive has no other name
    with zipfile.ZipFile(path) as archive:
        content = archive.read(sheet)
    if merged := sum(top != bottom for top, bottom in _MERGED.findall(content)):
        logger.info(
            f"{count(merged, 'merged cell')} of {path.name} spanning several rows: only the first row of each has its value; "
            "the others are missing. To use it in all of them, unmerge the cells and fill them in."
        )
    if errors := content.count(b' t="e"'):
        logger.info(f"{count(errors, 'cell')} of {path.name} with an error such as #DIV/0! are read as missing.")


def _with_percents(frame: pd.DataFrame, book: pd.ExcelFile, known: Known) -> pd.DataFrame:
    """Return the first sheet's cells with percents as shown, in known columns of percents: 12 where 0.12 is stored.

    Raises:
        BadValueError: Such a column shows only some of its numbers as percents.
    """
    columns = {at: name for at, name in enumerate(frame) if isinstance(known.get(str(name)), Percents)}
    numbers, percents = Counter[int](), Counter[int]()  # by column
    for row in book.book.worksheets[0].iter_rows() if columns else ():
        for at in columns:
            if at < len(row) and type(row[at].value) in (int, float):
                numbers[at] += 1
                percents[at] += "%" in re.sub(_LITERAL, "", row[at].number_format or "")
    shown = {}
    for at, name in columns.items():
        if 0 < percents[at] < numbers[at]:
            some = f"{percents[at]:,} of {count(numbers[at], 'number')}"
            problem = f"column {name!r} must hold percents, but only {some} are formatted as such"
            raise BadValueError(problem, "Give all its cells one format, or save the table as .csv")
        if percents[at]:
            values = [float(f"{100 * it:.15g}") if type(it) in (int, float) else it for it in frame[name]]
            shown[name] = pd.Series(values, frame.index, object)
    return with_columns(frame, shown)


def _typed(values: pd.Series, *, is_text: bool) -> pd.Series:
    """Return a column of cells with its type, and text as numbers if it looks like them and none begins with a zero (007).

    A sheet holds numbers as floats, which pandas converts to integers; those that have lost digits become floats again.
    """
    values = pd.Series(
        [float(it) if type(it) is int and abs(it) >= LARGEST_EXACT else it for it in values], values.index, object
    ).infer_objects()
    if is_text or not isinstance(values.dtype, pd.StringDtype) or values.str.match(r"\s*[+-]?0\d").any():
        return values
    texts = pa.array(values.str.strip(), pa.large_string(), from_pandas=True)
    for kind in (pa.int64(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            numbers: pd.Series = texts.cast(kind).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
            return numbers.set_axis(values.index)
    return values


def _as_text(values: pd.Series) -> pd.Series:
    """Return a column as text if it holds anything but numbers, or mixes them with text; else unchanged."""
    is_plain = all(isinstance(value, int | float) for value in values.dropna())
    return values.astype("str").where(values.notna()) if values.dtype == object and not is_plain else values


def write_excel(frame: pd.DataFrame, file: BinaryIO) -> None:
    """Write a frame as the only sheet of a file.

    Args:
        frame: The rows.
        file: The open file.

    Raises:
        BadValueError: There are more rows than a sheet can hold, or openpyxl is not installed.
    """
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if len(frame) > _MOST_ROWS:
        raise BadValueError(f"a sheet holds {_MOST_ROWS:,} rows, got {len(frame):,}", "Write .csv or .parquet")

    def written(values: pd.Series) -> pd.Series:
        is_long = pd.api.types.is_integer_dtype(values) and bool((values.abs() > _LARGEST_SHOWN).any())
        if is_long or isinstance(values.dtype, pd.DatetimeTZDtype):  # sheets do not support time zones
            return values.astype("str")
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_dtype(values):
            return values
        return neutralized(values.astype("str").str.replace(ILLEGAL_CHARACTERS_RE, "", regex=True))

    columns = [written(frame.iloc[:, index]) for index in range(frame.shape[1])]
    table = pd.concat(columns, axis=1) if columns else frame
    table.columns = pd.Index(neutralized(pd.Series([str(name) for name in frame.columns], dtype="str")))
    table.to_excel(file, index=False, engine="openpyxl")


def neutralized(text: pd.Series) -> pd.Series:
    """Return text with an apostrophe before whatever a spreadsheet would run as a formula.

    Example:
        >>> neutralized(pd.Series(["=1+1", "-5", "a=b", None])).tolist()
        ["'=1+1", '-5', 'a=b', nan]
        >>> neutralized(pd.Series(["x;=1+1", "x;-5"])).tolist()
        ["x;'=1+1", 'x;-5']
    """
    if text.str.contains(r"[;\t\r\n]", na=False).any():
        text = text.str.replace(_LATER, r"\1'", regex=True, flags=re.DOTALL)
    return text.where(~text.str.match(_FIRST).fillna(False).astype(bool), "'" + text)


def check_excel() -> None:
    """Raise if openpyxl is not installed."""
    try:
        import openpyxl  # noqa: F401
    except ModuleNotFoundError as error:
        remedy = "Install it: pip install 'tabvision[excel]'; or save the table as .csv"
        raise BadValueError("an Excel file needs openpyxl, which is not installed", remedy) from error
