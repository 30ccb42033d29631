"""Resumable tables: whole rows survive any damage at the end, and only one process writes."""

from __future__ import annotations

import csv
import itertools
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from dermhub.errors import ConfigError
from dermhub.scoring import resumable_csv
from dermhub.scoring.resumable_csv import ResumableCsv

COLUMNS = ("name", "value", "error")
KEYS = ("a", 'b, "b"', "c\nd", "e\r", "f")
ROWS: list[dict[str, Any]] = [{"name": key, "value": place / 4} for place, key in enumerate(KEYS)]
WHOLE = b'name,value,error\na,0.0,\n"b, ""b""",0.25,\n"c\nd",0.5,\n"e\r","0.75",""\nf,1.0,\n'


def write(path: Path, rows: list[dict[str, Any]], step: int = 1) -> int:
    """Open the table, add rows, and return the number of rows that were there before."""
    with ResumableCsv(path, COLUMNS, KEYS, step) as opened:
        opened.append(rows)
        return opened.done


def test_rows_are_written_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "new" / "j.csv"
    assert write(path, ROWS[:2]) == 0
    assert write(path, []) == 2
    assert write(path, ROWS[2:]) == 2
    assert write(path, []) == 5
    # Not every Python puts quotation marks around every cell of the row with the carriage return.
    assert path.read_bytes().replace(b'"e\r","0.75",""', b"").replace(
        b'"e\r",0.75,', b""
    ) == WHOLE.replace(b'"e\r","0.75",""', b"")
    assert [row[0] for row, _ in resumable_csv.read_rows(path)] == ["name", *KEYS]


def test_wherever_it_is_cut_it_becomes_whole_again(tmp_path: Path) -> None:
    path = tmp_path / "j.csv"
    write(path, ROWS)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with ResumableCsv(path, COLUMNS, KEYS) as opened:
            done = opened.done
            opened.append(ROWS[done:])
        assert path.read_bytes() == whole, cut
        assert done <= 4


@pytest.mark.parametrize(
    ("tail", "done"),
    [
        (b"x,1,\n", 2),
        (b"a,0.0,\n", 2),
        (b'"c\nd",0.5\n', 2),
        (b'"c\nd",0.5,,\n', 2),
        (b'"c\nd"x,0.5,\n', 2),
        (b"\0" * 4096, 2),
        (b"\n", 2),
        (b"\xff\xfe\n", 2),
        (b'"', 2),
        (b'"c\nd",0.5,\nz', 3),
    ],
)
def test_what_does_not_belong_is_cut_off(tmp_path: Path, tail: bytes, done: int) -> None:
    path = tmp_path / "j.csv"
    write(path, ROWS[:2])
    path.write_bytes(path.read_bytes() + tail)
    assert write(path, ROWS[done:]) == done
    assert write(path, []) == 5


@pytest.mark.parametrize("content", [b"", b"name,value", b"name,value,error\n"])
def test_a_heading_that_was_broken_off_starts_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j.csv").write_bytes(content)
    assert write(tmp_path / "j.csv", ROWS) == 0
    assert write(tmp_path / "j.csv", []) == 5


@pytest.mark.parametrize("content", [b"other,heading\na,0.0\n", b"name,value\n", b"\x89PNG\n\0\0"])
def test_a_file_of_somebody_else_is_never_written(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"j\.csv is there already, and is no part of this run: "):
        write(path, ROWS)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("there", "kept"), [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4), (5, 5)])
def test_whole_steps_are_kept(tmp_path: Path, there: int, kept: int) -> None:
    write(tmp_path / "j.csv", ROWS[:there])
    assert write(tmp_path / "j.csv", ROWS[kept:], 2) == kept
    assert write(tmp_path / "j.csv", [], 2) == 5


def test_more_rows_than_keys_are_cut(tmp_path: Path) -> None:
    write(tmp_path / "j.csv", ROWS)
    with ResumableCsv(tmp_path / "j.csv", COLUMNS, KEYS[:3]) as opened:
        assert opened.done == 3
    assert write(tmp_path / "j.csv", []) == 3


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "j.csv"
    with ResumableCsv(path, COLUMNS, KEYS) as opened:
        opened.append(ROWS[:1])
        with pytest.raises(
            ConfigError,
            match=r"^Another process is writing .*j\.csv: wait until it is done, or give",
        ):
            ResumableCsv(path, COLUMNS, KEYS)
        opened.append(ROWS[1:])
    assert write(path, []) == 5


@pytest.mark.parametrize("place", ["file/j.csv", ""])
def test_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        ConfigError, match=r"can't be written \(.*\): choose a folder that can be written and has"
    ):
        ResumableCsv(tmp_path / place, COLUMNS, KEYS)


def test_a_full_disk_is_told_and_gone_on_from(tmp_path: Path) -> None:
    path, limits = tmp_path / "j.csv", resource.getrlimit(resource.RLIMIT_FSIZE)
    opened = ResumableCsv(path, COLUMNS, KEYS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"j\.csv can't be written \(File too large\)"):
            opened.append(ROWS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    opened.close()
    assert path.stat().st_size == 30
    assert write(path, ROWS[1:]) == 1
    assert write(path, []) == 5


def test_names_that_are_no_unicode_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xc3\xa4")
    with ResumableCsv(tmp_path / "j.csv", COLUMNS, [name]) as opened:
        opened.append([{"name": name}])
    assert (tmp_path / "j.csv").read_bytes().splitlines()[1] == b"\xff\xc3\xa4,,"
    with ResumableCsv(tmp_path / "j.csv", COLUMNS, [name]) as opened:
        assert opened.done == 1


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    # Every short text of the characters that are special to CSV, a spreadsheet or a terminal.
    special = ["", "=", "'", '"', ",", ";", "\n", "\r", "\t", "+", "a", "\x1b", "\udcff", "\uff1d"]
    texts = ["".join(parts) for parts in itertools.product(special, repeat=3)]
    path = tmp_path / "j.csv"
    path.write_bytes(b"".join(resumable_csv.to_line([text, 0.5, text]) for text in texts))
    rows = [row for row, _ in resumable_csv.read_rows(path)]
    assert rows == [[text, "0.5", text] for text in texts]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_begins_like_a_formula_for_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    names = ["=1.jpg", "a;=1.jpg", "a\t=1.jpg", "a,=1.jpg", "a\n=1.jpg", '";=1.jpg', "'=1.jpg"]
    path = tmp_path / "j.csv"
    path.write_bytes(b"".join(resumable_csv.to_line([name, "x"]) for name in names))
    # As spreadsheets of other countries read it.
    with path.open(newline="", encoding="utf-8") as stream:
        cells = [cell for row in csv.reader(stream, delimiter=delimiter) for cell in row]
    assert [cell for cell in cells if cell[:1] in "=+-@\t\r\n" and cell] == []


def test_a_pipe_in_the_place_of_the_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "j.csv")
    with pytest.raises(ConfigError, match=r"j\.csv is no file: give another file with --out\.$"):
        ResumableCsv(tmp_path / "j.csv", COLUMNS, KEYS)
