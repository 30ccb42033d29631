"""A table that is written row by row and survives being killed: CSV, appended to, with its rows in
a known order.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dermhub.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


SYNC = 2.0
"""Seconds after which what was written is forced to the disk: what a loss of power costs at
most.
"""


class ResumableCsv:
    """Rows in a file, in the order of `keys`, which are the values of the first column.

    Opening it keeps the whole rows that are there, as far as they are those of `keys` from its
    start, and cuts the rest off: after a kill, the last row may be torn. Of rows that are not all,
    a multiple of `step` is kept. `done` rows are there. Every append is one write, so rows of a
    process that dies are in the file or not; `SYNC` says what may be lost with the machine. Raises
    ConfigError when another process writes the file, or it can't be written.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], keys: Sequence[str], step: int = 1
    ) -> None:
        self.path, self.columns = path, tuple(columns)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644
            )
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            self._lock()
            self.done, size = _whole(path, self.columns, keys, step)
            os.ftruncate(self._descriptor, size)
            if size == 0:
                self._write(to_line(self.columns))
            self._synced = time.monotonic()
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, the next of `keys`; a column that a row lacks stays empty."""
        self._write(b"".join(to_line(["" if (v := row.get(name)) is None else v for name in self.columns])
                             for row in rows))  # fmt: skip
        if time.monotonic() - self._synced > SYNC:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def close(self) -> None:
        """Force everything to the disk and close the file."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def __enter__(self) -> ResumableCsv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            # The system lets go of it when the process ends, however that happens.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"Another process is writing {self.path}: wait until it is done, or give another "
                "file with --out."
            ) from None


def to_line(values: Iterable[Any]) -> bytes:
    """A row as CSV, in UTF-8; a file name that is no UTF-8 keeps its bytes."""
    given = list(values)
    # Not every Python puts a carriage return into quotation marks.
    odd = any("\r" in str(value) for value in given)
    stream = io.StringIO()
    csv.writer(
        stream, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    ).writerow(given)
    return stream.getvalue().encode("utf-8", "surrogateescape")


def read_rows(path: Path) -> Iterator[tuple[list[str], int]]:
    """The whole rows of a CSV file, the heading first, each with the place in bytes where it ends.

    A row ends with a line that leaves no quotation mark open. Ends at the first row that is torn or
    no CSV.
    """
    place, record = 0, b""
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
            yield row, place
            record = b""


def unwritable(path: Path, error: OSError) -> ConfigError:
    """The error for a file that can't be written."""
    return ConfigError(
        f"{path} can't be written ({error.strerror or error}): choose a folder that can be written "
        "and has space."
    )


def _whole(path: Path, columns: Sequence[str], keys: Sequence[str], step: int) -> tuple[int, int]:
    """How many rows are there as they have to be and are kept, and where the last one of them
    ends.
    """
    rows = read_rows(path)
    heading, size = next(rows, ([], 0))
    if heading != list(columns):
        return 0, 0
    kept = 0
    for done, (row, place) in enumerate(rows, 1):
        if len(row) != len(columns) or done > len(keys) or row[0] != keys[done - 1]:
            break
        if done % step == 0 or done == len(keys):
            kept, size = done, place
    return kept, size
