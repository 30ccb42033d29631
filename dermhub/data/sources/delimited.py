"""CSV tables as spreadsheets and archives write them: bytes -> a heading and rows of text.

Any separator, line ends and encoding that can be told from the file itself are read; a file that
is no table is refused by what it is. No cell is converted here.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dermhub.errors import DataError, some
from dermhub.images.unreadable_files import HEAD, kind_of

SEPARATORS = (",", ";", "\t", "|")

EMPTY = frozenset(
    {
        *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""Cells that stand for nothing, as pandas takes them, beside the empty one."""

INVISIBLE = "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
"""Letters without width: marks of byte order and of direction, soft hyphens."""

BEGINNING = 1 << 16
"""Bytes that are enough to see a heading."""

WORKBOOKS = ("xl/workbook.xml", "content.xml", "[Content_Types].xml", "Index/Document.iwa")
"""Files in the workbooks of Excel, LibreOffice and Numbers, which are archives."""

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""First bytes -> encoding. Those of UTF-32 begin with those of UTF-16."""


@dataclass(frozen=True)
class Sheet:
    """A table of text: its heading, its cells, and the line of the file in which each row begins.

    `cells` has the columns that were asked for, by their place. `guessed` is true where the file is
    no UTF-8, and letters beyond ASCII are taken for those of Windows.
    """

    path: Path
    heading: tuple[str, ...]
    cells: dict[int, list[str]]
    lines: list[int]
    guessed: bool = False

    def has(self, name: str) -> bool:
        """Tell if the table has a column; headings are compared by `fold`."""
        return fold(name) in map(fold, self.heading)

    def name(self, name: str) -> str:
        """Return a column's heading; raises DataError where it is there twice."""
        names = [heading for heading in self.heading if fold(heading) == fold(name)]
        if len(names) != 1:
            alike = f" ({some(names)})" if len(set(names)) > 1 else ""
            raise DataError(
                f"{self.path} has {len(names)} columns {name}{alike}, expected one. Rename or "
                "remove what is not wanted."
            )
        return names[0]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, "" for those that are empty.

        Raises DataError where the table has two such columns or none.
        """
        cells = map(_clean, self.cells[self.heading.index(self.name(name))])
        return ["" if cell in EMPTY else cell for cell in cells]

    def check_line_breaks(self, name: str) -> None:
        """Raise DataError where a cell of a column has a line break, which may hide rows."""
        cells = self.cells[self.heading.index(self.name(name))]
        broken = [
            line
            for cell, line in zip(cells, self.lines, strict=True)
            if re.search(r"[\r\n]", cell.strip())
        ]
        if broken:
            raise DataError(
                f"{self.path} has a line break in a cell of {self.name(name)}, in the row(s) that "
                f"begin in line {some(broken)}, and may lose the rows behind it: expected a row a "
                "line; close the quotation mark, or remove the break."
            )

    def with_column(self, name: str, cells: list[str]) -> Sheet:
        """Return the table with one more column, or with other cells in the one that it has."""
        if self.has(name):
            return replace(self, cells=self.cells | {self.heading.index(self.name(name)): cells})
        more = {len(self.heading): cells}
        return replace(self, heading=(*self.heading, name), cells=self.cells | more)


def _clean(cell: str) -> str:
    """Return a cell without what can't be seen: blanks at its ends, and letters of no width."""
    return " ".join(re.sub(INVISIBLE, "", cell).split())


def fold(name: str) -> str:
    """Return a heading in the form in which two are compared.

    Case, blanks, hyphens, underscores and points make no difference: "Image ID" is image_id.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    return re.sub("[\\s\"'_.\u2010-\u2015\ufeff\u200b-]+", "", text)


def read(path: Path, wanted: Collection[str] | None = None) -> Sheet:
    """Read a table, of some only the columns that are `wanted`; raises DataError for no table."""
    return _read(path, None, wanted)


def read_heading(path: Path) -> Sheet:
    """Return the beginning of a table, without a heading where a file is none."""
    try:
        return _read(path, BEGINNING, ())
    except DataError:
        return Sheet(path, (), {}, [])


def _read(path: Path, limit: int | None, wanted: Collection[str] | None) -> Sheet:
    try:
        with path.open("rb") as stream:
            content = _unpacked(stream.read() if limit is None else stream.read(limit), path, limit)
    except FileNotFoundError:
        raise DataError(
            f"There is no file {path}: give a CSV table with the columns image_id and dx."
        ) from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise no_table(path, getattr(error, "strerror", None) or str(error)) from None
    text, guessed = _text(content, path, cut=limit is not None)
    first, separator, skipped = _separator(text)
    return _parsed(text[first:], separator, skipped, Sheet(path, (), {}, [], guessed), wanted)


def no_table(path: Path, reason: str) -> DataError:
    """Return the error for a file that is no table, and why."""
    return DataError(f"{path} can't be read as a CSV table ({reason}): save it as CSV UTF-8.")


def _unpacked(content: bytes, path: Path, limit: int | None) -> bytes:
    """Unpack a compressed table; raises DataError for a workbook."""
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise _workbook(path)
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name in WORKBOOKS for name in names):
                raise _workbook(path)
            if len(names) != 1:
                raise no_table(path, f"it is an archive of {len(names)} files: unpack it")
            with archive.open(names[0]) as stream:
                return stream.read() if limit is None else stream.read(limit)
    for start, module in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ", lzma)):
        if content.startswith(start):
            with module.open(path) as stream:
                return bytes(stream.read() if limit is None else stream.read(limit))
    return content


def _workbook(path: Path) -> DataError:
    return DataError(
        f"{path} is a workbook, expected a CSV table: save it as CSV UTF-8 and give that file."
    )


def _text(content: bytes, path: Path, cut: bool) -> tuple[str, bool]:
    """Decode a table; returns the text, and if its encoding is a guess.

    `cut` says that these are only the first bytes of a file.
    """
    errors = "ignore" if cut else "strict"
    encoding = next((name for mark, name in BOMS if content.startswith(mark)), "")
    # UTF-16 without a mark: the letters of a heading have a zero before or after them.
    zeros = [byte == 0 for byte in content[:4]]
    if zeros in ([False, True] * 2, [True, False] * 2):
        encoding = "utf-16-le" if zeros[1] else "utf-16-be"
    guessed = False
    try:
        text = content.decode(encoding or "utf-8", errors)
    except UnicodeDecodeError as error:
        if encoding:
            raise no_table(path, f"it is no {encoding}") from None
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            line = content.count(b"\n", 0, error.start) + 1
            raise no_table(path, f"line {line} is no text in UTF-8") from None
        guessed = True
    if any(letter < " " and letter not in "\t\r\n\f\v\x1a" for letter in text[:HEAD]):
        kind = kind_of(content[:HEAD]).partition(":")[0].partition(" that is")[0]
        raise no_table(path, f"it is {kind or 'no text'}")
    if kind_of(content[:HEAD]) == "an HTML page":
        raise no_table(path, "it is an HTML page, perhaps of a login")
    if text.lstrip()[:1] in ("{", "["):
        raise no_table(path, "it is JSON")
    if text.startswith("version https://git-lfs"):
        raise DataError(f"{path} is only a pointer of git-lfs: fetch the table with git lfs pull.")
    return text, guessed


def _separator(text: str) -> tuple[int, str, int]:
    """Find where a table begins in its text, its separator, and the lines before it."""
    named = re.match(r'\ufeff?"?sep=(.)"?[^\S\r\n]*(\r\n|\r|\n)', text, re.I)
    if named:
        return named.end(), named[1], 1
    head = text[:BEGINNING]
    best, most = ",", (False, 0.0, 0)
    for separator in SEPARATORS:
        rows = _some_rows(head, separator)
        width = len(rows[0]) if rows else 0
        even = sum(len(row) == width for row in rows) / max(len(rows), 1)
        if (width > 1, even, width) > most:
            best, most = separator, (width > 1, even, width)
    return 0, best, 0


def _some_rows(head: str, separator: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(head, newline=""), delimiter=separator):
            if any(map(str.strip, row)):
                rows.append(row)
            if len(rows) == 20:
                break
    except csv.Error:
        return rows
    return rows


def _parsed(
    text: str, separator: str, skipped: int, empty: Sheet, wanted: Collection[str] | None
) -> Sheet:
    """Parse a table that begins after `skipped` lines; raises DataError for broken rows."""
    for strict in (True, False):
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            skipinitialspace=separator != "\t",
            strict=strict,
        )
        line = 0
        try:
            rows = ((line := number + skipped, row) for number, row in _numbered(reader))
            sheet = _sheet(rows, empty, wanted)
            if not strict:
                # A lenient reader takes all that follows an open quotation mark for one cell.
                _check_closed(text, separator, line - skipped)
            return sheet
        except csv.Error as error:
            reason = str(error)
            if "unexpected end of data" in reason:
                reason = "a quotation mark is not closed"
            elif strict:
                # A quotation mark inside a cell is no harm.
                continue
            raise no_table(empty.path, f"{reason}, in the row after line {line}") from None
    raise AssertionError("the second reading returns or raises")


def _check_closed(text: str, separator: str, line: int) -> None:
    """Raise csv.Error where the last row, which begins in a line, has an open quotation mark."""
    lines = list(io.StringIO(text, newline=""))[line - 1 :]
    try:
        for _ in csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True):
            pass
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise


def _sheet(
    rows: Iterator[tuple[int, list[str]]], empty: Sheet, wanted: Collection[str] | None
) -> Sheet:
    _, row = next(rows, (0, []))
    if not row:
        raise no_table(empty.path, "it is empty")
    heading = tuple(_clean(name) for name in row)
    names = None if wanted is None else set(map(fold, wanted))
    cells: dict[int, list[str]] = {
        place: [] for place, name in enumerate(heading) if names is None or fold(name) in names
    }
    lines: list[int] = []
    long: list[tuple[int, int]] = []
    width = len(heading)
    for line, row in rows:
        lines.append(line)
        if len(row) > width:
            long.append((line, len(row)))
        for place, column in cells.items():
            column.append(row[place] if place < len(row) else "")
    if long and len(long) == len(lines):
        raise DataError(
            f"{empty.path} has rows with more cells than its heading: remove the commas at their "
            "ends."
        )
    if long:
        line, saw = long[0]
        raise no_table(
            empty.path,
            f"Expected {width} fields in line {line}, saw {saw}; there are {len(long)} such lines",
        )
    return replace(empty, heading=heading, cells=cells, lines=lines)


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of a CSV reader that is not blank, with the line in which it begins."""
    line = 1
    for row in reader:
        if any(map(str.strip, row)) and row != ["\x1a"]:
            yield line, row
        line = reader.line_num + 1  # type: ignore[attr-defined]
