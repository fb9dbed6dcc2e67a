"""Open text files of rows: compressed or not, in any encoding, and pipes, which can be read only once."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypedDict, final

from tabvision.errors import BadValueError, count

_HEAD_BYTES = 1 << 16
_LONGEST_FIELD = 2**31 - 1


class TextFormat(TypedDict, total=False):
    """The format of a text file, as far as the user specifies it.

    Keys:
        encoding: None means UTF-8, with or without a byte order mark.
        na_values: The words in a delimited file that mark a missing value, as an empty cell always does; None for `NA`,
            `nan`, `NULL` and the like.
        sep: The separator between fields, such as "::"; " " is any white space, None detects it.
        names: The column names of a file without a header; empty to name them column_1, column_2 and so on; None to detect
            whether there is a header.
    """

    encoding: str | None
    na_values: Sequence[str] | None
    sep: str | None
    names: Sequence[str] | None


def _open_zip(source: Any) -> IO[bytes]:  # noqa: ANN401 - a path or an open file, as for the other openers
    """Open the only file in an archive, and keep the archive open until that file is closed."""
    archive = zipfile.ZipFile(source)
    names = archive.namelist()
    if len(names) != 1:
        archive.close()
        problem = f"{str(source)!r} holds {count(len(names), 'file')}, expected one"
        raise BadValueError(problem, "Unpack it and pass the path of the table")
    return archive.open(names[0])


_OPENERS: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
}
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def without_compression(path: Path) -> Path:
    """Return the path without a compression suffix.

    Example:
        >>> without_compression(Path("a.csv.gz")).name, without_compression(Path("a.csv")).name
        ('a.csv', 'a.csv')
    """
    return path.with_suffix("") if path.suffix.lower() in _OPENERS else path


@final
class TextFile:
    """A text file that can be opened again and again; a pipe is read into memory.

    Args:
        path: The file or pipe.
        encoding: None means UTF-8, with or without a byte order mark.
        content: A part of the file to read instead of the file; None for all of it.
        skips_spaces: Whether spaces after a delimiter belong to it, as in `31, nurse`; spaces within quotes never do.

    Raises:
        BadValueError: There is no such encoding.
    """

    def __init__(
        self, path: Path, encoding: str | None, content: bytes | None = None, *, skips_spaces: bool = True
    ) -> None:
        try:
            name = codecs.lookup(encoding or "utf-8").name
        except LookupError as error:
            remedy = 'Common are "utf-8", "latin-1", "utf-16"'
            raise BadValueError(f"no text encoding named {encoding!r}", remedy) from error
        self.path, self.skips_spaces = path, skips_spaces
        self.encoding = "utf-8-sig" if name == "utf-8" else name
        self._opener = _OPENERS.get(path.suffix.lower(), lambda source: source.open("rb"))
        self._content = content
        if content is None and not path.is_file():
            content = path.read_bytes()
            is_packed = path.suffix.lower() in _OPENERS
            self._content = self._opener(io.BytesIO(content)).read() if is_packed else content

    @property
    def usual_delimiter(self) -> str:
        """The delimiter that a file with this suffix usually has."""
        return "\t" if without_compression(self.path).suffix.lower() == ".tsv" else ","

    def open(self) -> IO[bytes]:
        """Open the decompressed bytes."""
        found: IO[bytes] = self._opener(self.path) if self._content is None else io.BytesIO(self._content)
        return found

    def open_text(self) -> io.TextIOWrapper:
        """Open the text, with line ends unchanged."""
        return io.TextIOWrapper(self.open(), encoding=self.encoding, newline="")

    def replace(self, text: str) -> None:
        """Replace the text in memory; the file itself stays as it is."""
        self._content = text.encode(self.encoding)

    def records(self, delimiter: str) -> Generator[tuple[int, list[str]], None, None]:
        """Yield each record that is not blank, with the number of its last line."""
        limit = csv.field_size_limit(_LONGEST_FIELD)  # by default a field of more than 131,072 characters is an error
        try:
            with self.open_text() as text:
                reader = csv.reader(text, delimiter=delimiter, skipinitialspace=self.skips_spaces)
                for record in reader:
                    if len(record) > 1 or any(map(str.strip, record)):
                        yield reader.line_num, record
        finally:
            csv.field_size_limit(limit)

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Check that the file is text, and report damaged or undecodable bytes found inside the block.

        Raises:
            BadValueError: The file is empty, binary, damaged, or in another encoding.
        """
        try:
            self._check_head()
            yield
        except UnicodeError as error:  # bytes that do not decode, or UTF-16 without a byte order mark
            raise self._undecodable() from error
        except _UNREADABLE as error:
            problem = f"{str(self.path)!r} cannot be read: {error}"
            raise BadValueError(problem, "It may be damaged; write it again") from error

    def _check_head(self) -> None:
        with self.open() as file:
            head = file.read(_HEAD_BYTES)
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            problem = f"{str(self.path)!r} is empty ({len(head)} bytes)"
            raise BadValueError(problem, "Pass a file with rows")
        is_wide = self.encoding.startswith(("utf-16", "utf-32"))
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not is_wide:
            bits = 32 if head[2:4] == b"\0\0" else 16  # in UTF-16 the first letter would follow
            remedy = f'Pass encoding="utf-{bits}" (--encoding utf-{bits})'
            raise BadValueError(f"{str(self.path)!r} is UTF-{bits} text", remedy)
        if b"\0" in head and not is_wide:
            problem = f"{str(self.path)!r} is not text: byte {head.index(0):,} is zero"
            raise BadValueError(problem, "Give the file the suffix of its real format, such as .parquet")

    def _undecodable(self) -> BadValueError:
        with self.open() as file:
            data = file.read()
        name = self.encoding.removesuffix("-sig").upper()
        try:
            data.decode(self.encoding)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            byte = f"byte 0x{data[error.start]:02x} at position {error.start:,} (line {line:,})"
            remedy = 'Pass encoding="latin-1" (--encoding latin-1), or save it as UTF-8'
            return BadValueError(f"{str(self.path)!r} is not {name}: {byte}", remedy)
        return BadValueError(f"{str(self.path)!r} is not {name}", 'Pass encoding="latin-1" (--encoding latin-1)')


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message, without its period, or its type if it has no message.

    Example:
        >>> first_line(ValueError("bad header.\nat line 2")), first_line(KeyboardInterrupt())
        ('bad header', 'KeyboardInterrupt')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
