"""Rows of a stopped run that must be scored again: their image or their values changed since.

Each row so far ends with a hash of itself and of the file that it is about.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from dermhub import files
from dermhub.data import batches
from dermhub.scoring import resumable_csv, row_check
from dermhub.scoring.resumable_csv import ResumableCsv

CHECK = "check"
"""Last column of the rows so far, which the complete table lacks (`row_digest`)."""


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, or "" for what can't be read to an end, such as a pipe."""
    with contextlib.suppress(OSError):
        return files.sha256(path)
    return ""


def row_digest(digest: str, cells: Sequence[str]) -> str:
    """Return the hash of a row and of its file's digest: 32 hexadecimal digits."""
    line = resumable_csv.to_line(cells)
    return hashlib.sha256(digest.encode() + b"\0" + line).hexdigest()[:32]


def find(
    table: ResumableCsv, folder: Path, batch: int, lanes: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield the place of each batch with a stale row, and the names of its stale rows.

    A value that can't be a model's answer is named with its line and column. All files of the rows
    are read, in parallel lanes.
    """

    def stale(kept: tuple[int, int, list[list[str]]]) -> tuple[int, list[str]]:
        start, line, rows = kept
        names = []
        for row in rows:
            *cells, stated = row
            if row_digest(file_digest(folder / row[0]), cells) != stated:
                problem = row_check.problem(cells, table.columns[:-1])
                where = f" (line {line}, column {' '.join(problem)})" if problem else ""
                names.append(row[0] + where)
            line += _lines(row)
        return start, names

    for start, names in batches.in_order(stale, _kept(table, batch), lanes):
        if names:
            yield start, names


def _kept(table: ResumableCsv, batch: int) -> Iterator[tuple[int, int, list[list[str]]]]:
    """Yield the rows so far by batches: the place of the first, its line, and the rows."""
    rows = table.rows()
    start = 0
    line = 2
    while group := list(islice(rows, batch)):
        yield start, line, group
        start += len(group)
        line += sum(map(_lines, group))


def _lines(row: Sequence[str]) -> int:
    """Count the lines of a row: a file name may hold line feeds."""
    return resumable_csv.to_line(row).count(b"\n")
