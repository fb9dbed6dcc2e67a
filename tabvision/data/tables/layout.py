"""Detect the layout of a delimited text file: its separator, and whether its first line is a header."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tabvision.data.tables.text_file import TextFile
from tabvision.errors import BadValueError, count, listed

_HEAD_LINES = 20
_HEAD_ROWS = 200
_NUMBER = re.compile(r"\s*[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_DATE = re.compile(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}\b.*", re.ASCII)
_RISING = 4  # a row of numbers that rises this often is hardly data
_SPACE, _COLONS = " ", "::"


class Layout(NamedTuple):
    """The layout of a delimited text file.

    Args:
        header: The names of the columns, as written in the header or as given.
        delimiter: The character between fields.
        sep: The separator in the file itself, for messages; " " is any white space.
        has_header: Whether the first line is the header.
    """

    header: list[str]
    delimiter: str
    sep: str
    has_header: bool = True

    @property
    def names(self) -> list[str]:
        """The column names, stripped of spaces; columns without a name are named as in pandas."""
        return [name.strip() or f"Unnamed: {index}" for index, name in enumerate(self.header)]


def find_layout(file: TextFile, sep: str | None, names: Sequence[str] | None) -> Layout:
    """Return the layout of a file; a separator of several characters is replaced by a single one, in memory.

    Args:
        file: The file.
        sep: The separator; " " is any white space, None detects it.
        names: The column names of a file without a header; empty to name them column_1, column_2 and so on; None to detect
            whether there is a header.

    Raises:
        BadValueError: There are no rows, the first rows are ragged, a column name repeats, or `names` has another length.
    """
    with file.open_text() as text:
        lines = list(itertools.islice((line.strip("\r\n") for line in text if line.strip()), _HEAD_LINES))
    _check_first_lines(file.path, lines)
    if sep is not None and (not isinstance(sep, str) or not sep or set(sep) & set('"\r\n\0')):
        raise BadValueError(f"sep must be the text between fields, got {sep!r}", 'Pass text such as ";", "::" or " "')
    if sep is None:
        sep = _find_separator(lines, file.usual_delimiter)
    sep = {r"\t": "\t", "tab": "\t", r"\s+": _SPACE}.get(sep, sep)  # as typed in a shell
    delimiter = sep if len(sep) == 1 and sep.isascii() and sep != _SPACE else _part_by_tabs(file, sep)
    with closing(file.records(delimiter)) as records:
        found = list(itertools.islice(records, _HEAD_ROWS))
    first, rows = found[0][1], [record for _, record in found]
    if names is not None or _is_data(rows):
        layout = Layout(
            given_names(file.path, len(first), names), delimiter, sep, has_header=rows[0] == list(names or ())
        )
    else:
        layout = Layout(first, delimiter, sep)
    _check_head(file.path, found, layout)
    return layout


def _find_separator(lines: Sequence[str], preferred: str = ",") -> str:
    """Return the separator of the first lines: the delimiter that is most frequent outside quotes in the first line.

    `::` is found if every line has it equally often, and so is white space between numbers only.

    Example:
        >>> _find_separator(['name;"height, cm";age']), _find_separator(["only one column"])
        (';', ',')
        >>> _find_separator(["1::Heat, The::5", "2::Fargo::4"]), _find_separator(["x y", "1.5 2", "3 4"])
        ('::', ' ')
    """
    colons = {line.count(_COLONS) for line in lines}
    if len(colons) == 1 and colons != {0}:
        return _COLONS
    counts = Counter(re.sub(r'"[^"]*"', "", lines[0]))
    found = max((preferred, ",", ";", "\t", "|"), key=lambda delimiter: counts[delimiter])
    if counts[found]:
        return found
    fields = [line.split() for line in lines]
    is_table = len(fields) > 1 and len(fields[0]) > 1 and len(set(map(len, fields))) == 1
    return _SPACE if is_table and all(_NUMBER.fullmatch(cell) for row in fields[1:] for cell in row) else preferred


def _is_data(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row is certainly data, so that there is no header.

    Each of its cells must have its column's type (number, date or text) and cannot be a name: text must occur again below,
    and numbers must not count up like years or column numbers.

    Example:
        >>> _is_data([["196", "242", "3"], ["186", "302", "3"]]), _is_data([["0", "1", "2"], ["5", "3", "1"]])
        (True, False)
        >>> _is_data([["5.1", "setosa"], ["4.9", "setosa"]]), _is_data([["country", "2019"], ["France", "67"]])
        (True, False)
    """
    cells, *others = ([cell.strip() for cell in row] for row in rows)
    if len(cells) < 2 or any(len(row) != len(cells) for row in others):
        return False
    below = [row for row in others if row != cells]  # concatenated files repeat the header
    columns = [[row[index] for row in below if row[index]] for index in range(len(cells))]
    if any(cell and column and _kind([cell]) != _kind(column) for cell, column in zip(cells, columns, strict=True)):
        return False
    kinds = [_kind([cell]) if cell else "" for cell in cells]
    if "text" in kinds:
        texts = [(cell, column) for cell, column, kind in zip(cells, columns, kinds, strict=True) if kind == "text"]
        again = sum(cell in column for cell, column in texts)
        return again > (len(texts) / 2 if len(texts) == len(cells) else 0)
    return "date" in kinds or not _counts_up([cell for cell in cells if cell])


def _kind(cells: Sequence[str]) -> str:
    """Return "number" or "date" if all cells are, else "text"."""
    kinds = {"number": _NUMBER, "date": _DATE}
    return next((kind for kind, pattern in kinds.items() if all(map(pattern.fullmatch, cells))), "text")


def _counts_up(cells: Sequence[str]) -> bool:
    """Return whether numbers may be names that rise from column to column: years, wavelengths, column numbers."""
    numbers = [float(cell.replace(",", ".")) for cell in cells]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if min(steps, default=1) <= 0:
        return False
    is_even = len(steps) > 1 and max(steps) - min(steps) < 1e-6 * max(steps)
    return len(steps) >= _RISING or is_even or steps in ([], [1.0]) or all(1800 <= number <= 2200 for number in numbers)


def _part_by_tabs(file: TextFile, sep: str) -> str:
    """Replace a separator of several characters, or white space, with a single character, and return that."""
    with file.open_text() as opened:
        text = opened.read()
    delimiter = next(mark for mark in "\t\x1f\x1e\x1d" if mark not in text or (mark == "\t" and sep == _SPACE))
    if sep == _SPACE:
        text = "\n".join(line.strip(" \t") for line in text.split("\n"))
    pattern = "[ \t]+" if sep == _SPACE else re.escape(sep)
    file.replace(re.sub(rf'("[^"]*")|{pattern}', lambda found: found[1] or delimiter, text))
    return delimiter


def given_names(path: Path, number: int, names: Sequence[str] | None) -> list[str]:
    """Return the column names of a table without a header, or column_1, column_2 and so on if none are given.

    Raises:
        BadValueError: There are more or fewer names than columns.
    """
    if names and len(names) != number:
        problem = f"names gives {count(len(names), 'column')}, and {str(path)!r} has {number}"
        raise BadValueError(problem, "Name each column once, in order (names=, --names)")
    return list(names or ()) or [f"column_{at}" for at in range(1, number + 1)]


def _check_first_lines(path: Path, lines: Sequence[str]) -> None:
    """Raise if there is a comment, or a line such as `sep=;` for spreadsheets, above the header."""
    if re.fullmatch(r'"?sep=.?"?', lines[0], re.IGNORECASE):
        problem = f"line 1 of {str(path)!r} must be the header, got {lines[0]!r}, a hint for spreadsheets"
        raise BadValueError(problem, "Remove that line")
    if not lines[0].startswith("#"):
        return
    below = [line for line in lines if not line.startswith("#")]
    separator = _find_separator(below) if below else ""
    parts = None if separator == _SPACE else separator  # None is any white space
    if below and len(lines[0].split(parts)) != len(below[0].split(parts)):
        number = lines.index(below[0])
        where, them = ("line 1", "that line") if number == 1 else (f"lines 1 to {number}", "those lines")
        problem = f"{where} of {str(path)!r} {'is a comment' if number == 1 else 'are comments'}, such as {lines[0]!r}"
        raise BadValueError(problem, f"Remove {them}, or only the '#' if the names of the columns follow it")


def _check_head(path: Path, found: Sequence[tuple[int, list[str]]], layout: Layout) -> None:
    """Raise if there are no rows, a title is above the header, the first row is ragged, or the header repeats a name."""
    if layout.has_header and len(found) < 2:
        problem = f"{str(path)!r} has a header ({listed(layout.header)}) but no rows"
        raise BadValueError(problem, "Pass a file with rows")
    line, row = found[min(1, len(found) - 1)]
    # With a title above the header, the first lines have another number of fields than nearly all others.
    widths = [len(each) for _, each in found]
    usual, number = Counter(widths).most_common(1)[0]
    first = widths.index(usual)
    below, names = found[first]
    if first and number > 1 and set(widths[first:]) == {usual} and not any(map(_NUMBER.fullmatch, names)):
        problem = (
            f"line 1 of {str(path)!r} has {count(widths[0], 'field')}, and from line {below:,} on all have {usual}"
        )
        raise BadValueError(problem, f"If line {below:,} names the columns, remove the lines above it")
    if len(row) != len(layout.header):
        raise ragged(path, line, len(layout.header), len(row), layout.sep)
    times = Counter(layout.names)
    if twice := sorted(name for name, number in times.items() if number > 1):
        problem = f"the header of {str(path)!r} has more than one column {listed([*map(repr, twice)])}"
        raise BadValueError(problem, "Rename or remove one of each")


def ragged(path: Path, line: int, expected: int, seen: int, sep: str) -> BadValueError:
    """Return the error for a row with too many or too few fields."""
    problem = f"line {line:,} of {str(path)!r} has {count(seen, 'field')}, the header has {expected}"
    separator = "" if sep == "," else f" (fields are separated by {sep!r}; sep= or --sep sets another separator)"
    remedy = "Repair that line; a field that contains the separator must be in double quotes"
    return BadValueError(problem + separator, remedy)
