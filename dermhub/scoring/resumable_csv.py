"""A CSV table that is written row by row, in a given order, and survives a killed process."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dermhub.data.cells import from_cell, to_cell
from dermhub.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

SEPARATOR = re.compile(r'[",;\t\r\n]')
"""Pattern of a character for which a cell is put into quotation marks."""

SYNC = 2.0
"""Seconds between two syncs to the disk, and so the work that a loss of power costs at most."""


class ResumableCsv:
    """Rows in a file, in the order of `keys`, which are the values of the first column.

    Opening keeps the whole rows in the file as far as they match `keys` from the start, and cuts
    the rest off: after a kill, the last row may be torn. Unless all rows are there, a multiple of
    `step` is kept. `done` is the number of rows kept. Every append is one write, so that a process
    that dies leaves all rows of an append or none; `SYNC` says how much may be lost when the
    machine dies. Raises ConfigError when another process writes the file, when it can't be written,
    and when it is somebody's own: it begins with another heading.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], keys: Sequence[str], step: int = 1
    ) -> None:
        self.path = path
        self.columns = tuple(columns)
        # Windows alone has O_BINARY, and needs it to leave line ends as they are.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise ConfigError(f"{path} is no file: give another file with --out.")
            self._lock()
            check_ours(path, self.columns)
            self.done, size = _whole(path, self.columns, keys, step)
            os.ftruncate(self._descriptor, size)
            if size == 0:
                self._write(to_line(self.columns))
            self._synced = time.monotonic()
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows for the next of `keys`; a column that a row lacks, or that is None, is empty."""
        lines = []
        for row in rows:
            cells = [row.get(name) for name in self.columns]
            lines.append(to_line("" if cell is None else cell for cell in cells))
        self._write(b"".join(lines))
        if time.monotonic() - self._synced > SYNC:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def rows(self) -> Iterator[list[str]]:
        """Yield the rows that are there, without the heading."""
        rows = (row for row, _ in read_rows(self.path))
        return islice(rows, 1, None)

    def close(self) -> None:
        """Force everything to the disk and close the file."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def __enter__(self) -> ResumableCsv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, content: bytes) -> None:
        """Write bytes at the end of the file; raises ConfigError where that fails."""
        try:
            # Usually a single write; where it stops early, the rest follows.
            while content:
                written = os.write(self._descriptor, content)
                content = content[written:]
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _lock(self) -> None:
        """Lock the file for this process; raises ConfigError where another holds it."""
        if fcntl is None:
            return
        try:
            # The system releases the lock when the process ends, however that happens.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"Another process is writing {self.path}: wait until it is done, or give another "
                "file with --out."
            ) from None


def to_line(values: Iterable[Any]) -> bytes:
    """Format a row as CSV, in UTF-8; a file name that is no UTF-8 keeps its bytes.

    A text that a spreadsheet would compute is escaped (`data.cells`); `read_rows` gives it
    back. A cell with a character that some program takes for a separator is in quotation marks.
    """
    cells = []
    for value in values:
        text = to_cell(value) if isinstance(value, str) else str(value)
        if SEPARATOR.search(text):
            text = '"' + text.replace('"', '""') + '"'
        cells.append(text)
    return (",".join(cells) + "\n").encode("utf-8", "surrogateescape")


def read_rows(path: Path) -> Iterator[tuple[list[str], int]]:
    """Yield the whole rows of a CSV file, the heading first, each with its end in bytes.

    A row ends with a line that leaves no quotation mark open. The first row that is torn or no CSV
    ends the iteration.
    """
    place = 0
    record = b""
    with path.open("rb") as stream:
        for line in stream:
            record += line
            if not line.endswith(b"\n") or record.count(b'"') % 2:
                continue
            place += len(record)
            text = io.StringIO(record.decode("utf-8", "surrogateescape"), newline="")
            try:
                (row,) = csv.reader(text, strict=True)
            except (csv.Error, ValueError):
                return
            yield [from_cell(cell) for cell in row], place
            record = b""


def check_ours(path: Path, columns: Sequence[str]) -> None:
    """Raise ConfigError for a file that no `ResumableCsv` of these columns has written.

    Ours begins with the heading, or with a part of it where the writing was broken off.
    """
    heading = to_line(columns)
    with path.open("rb") as stream:
        start = stream.read(len(heading))
    if not heading.startswith(start):
        raise ConfigError(
            f"{path} is there already, and is no part of this run: move it away, or give another "
            "file with --out."
        )


def unwritable(path: Path, error: OSError) -> ConfigError:
    """Make the error for a file that can't be written."""
    return ConfigError(
        f"{path} can't be written ({error.strerror or error}): choose a folder that can be written "
        "and has space."
    )


def _whole(path: Path, columns: Sequence[str], keys: Sequence[str], step: int) -> tuple[int, int]:
    """Count the rows of a file that can be kept, and return their number and end in bytes.

    They have the right heading and number of cells, and their first cells are those of `keys`.
    """
    rows = read_rows(path)
    heading, size = next(rows, ([], 0))
    if heading != list(columns):
        return 0, 0
    kept = 0
    for number, (row, place) in enumerate(rows, 1):
        if len(row) != len(columns) or number > len(keys) or row[0] != keys[number - 1]:
            break
        if number % step == 0 or number == len(keys):
            kept = number
            size = place
    return kept, size
