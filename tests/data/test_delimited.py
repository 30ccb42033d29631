"""CSV tables in the separators, encodings and line ends of spreadsheets; files that are none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import pytest

from dermhub.data.sources import delimited
from dermhub.errors import DataError

PLAIN = "image_id,dx,note\na,nv,R\u00fccken\nb,mel,Arm\n"
ROWS = [["a", "nv", "R\u00fccken"], ["b", "mel", "Arm"]]


def read(folder: Path, content: bytes, name: str = "t.csv") -> delimited.Sheet:
    (folder / name).write_bytes(content)
    return delimited.read(folder / name)


def cells(sheet: delimited.Sheet) -> list[list[str]]:
    columns = [sheet.column(name) for name in ("image_id", "dx", "note")]
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", "|").encode(),
        PLAIN.replace(",", ", ").encode(),
        PLAIN.replace(",", " , ").encode(),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", "\t").encode("utf-16-le"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.encode("cp1252"),
        b"\xef\xbb\xbfsep=;\r\n" + PLAIN.replace(",", ";").encode(),
        ("sep=\t\n" + PLAIN.replace(",", "\t")).encode("utf-16"),
        ("\n\n" + PLAIN.replace("\na", "\n\n,,\na")).encode(),
        b'"image_id","dx","note"\n"a","nv","R\xc3\xbccken"\n"b","mel","Arm"',
        b'"image_id", "dx", "note"\n"a", "nv", "R\xc3\xbccken"\n"b", "mel", "Arm"',
        PLAIN.replace("image_id", " Image ID ").replace("dx", "\u200bDX\u00a0").encode(),
        PLAIN.encode() + b"\x1a",
        gzip.compress(PLAIN.encode()),
        bz2.compress(PLAIN.encode()),
        lzma.compress(PLAIN.encode()),
    ],
    ids=[
        *("bom", "crlf", "cr", "semicolon", "tab", "bar", "blank after", "blanks", "utf-16"),
        *("utf-16 without mark", "utf-16-be", "utf-32", "cp1252", "sep", "sep utf-16"),
        *("blank lines", "quoted", "quoted, blanks", "headings", "ctrl-z", "gz", "bz2", "xz"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, content: bytes) -> None:
    assert cells(read(tmp_path, content)) == ROWS


def test_a_table_in_an_archive_of_its_own(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", PLAIN)
    assert cells(delimited.read(tmp_path / "t.csv.zip")) == ROWS


def test_rows_know_their_lines(tmp_path: Path) -> None:
    content = b'sep=,\nimage_id,dx,note\n\na,nv,"two\nlines"\nb,mel,\n'
    sheet = read(tmp_path, content)
    # Line 1 names the separator, line 3 is blank, and the first row has two.
    assert sheet.lines == [4, 6]
    assert sheet.column("note") == ["two lines", ""]


def test_cells_that_stand_for_nothing_are_empty(tmp_path: Path) -> None:
    sheet = read(tmp_path, b"image_id,dx\nNA,n/a\nnan,\n#N/A,NULL\n  ,None\n")
    assert sheet.column("image_id") + sheet.column("dx") == [""] * 8


def test_letters_that_can_not_be_seen_are_left_out(tmp_path: Path) -> None:
    sheet = read(tmp_path, "image_id\u200e,\u00addx\n\u202aa\u202c,nv\u200f\n".encode())
    assert sheet.column("image_id") + sheet.column("dx") == ["a", "nv"]


def test_a_comma_in_a_number_is_no_separator(tmp_path: Path) -> None:
    sheet = read(tmp_path, b"image_id;dx;age\na;nv;45,5\nb;mel;50,0\n")
    assert sheet.column("age") == ["45,5", "50,0"]


def test_commas_in_headings_are_no_separators(tmp_path: Path) -> None:
    sheet = read(tmp_path, b"image_id\tdx (nv, mel, bcc)\na\tnv\nb\tmel\n")
    assert sheet.heading == ("image_id", "dx (nv, mel, bcc)")


@pytest.mark.parametrize(
    "heading",
    ["imageid", "Image-ID", "IMAGE ID", "image.id", "image__id", '" image_id "', "Image\u2010Id"],
)
def test_spellings_of_a_heading(tmp_path: Path, heading: str) -> None:
    sheet = read(tmp_path, f"{heading},dx\na,nv\n".encode())
    assert sheet.column("image_id") == ["a"]


def test_two_spellings_of_one_heading_are_named(tmp_path: Path) -> None:
    sheet = read(tmp_path, b"image_id,Image ID,dx\na,b,nv\n")
    with pytest.raises(DataError) as caught:
        sheet.column("image_id")
    assert str(caught.value).endswith(
        "t.csv has 2 columns image_id (image_id, Image ID), expected one. Rename or remove what is "
        "not wanted."
    )


def test_an_open_quotation_mark_behind_a_harmless_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a quotation mark is not closed, in the row after line 3"):
        read(tmp_path, b'image_id,dx,note\na,nv,"5" wide\nb,mel,"open\nc,nv,x\n')


def test_a_quotation_mark_inside_a_cell_is_no_harm(tmp_path: Path) -> None:
    sheet = read(tmp_path, b'image_id,dx,note\na,nv,"5" wide\nb,mel,6" wide\n')
    assert sheet.column("dx") == ["nv", "mel"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "T can't be read as a CSV table (it is empty): save it as CSV UTF-8."),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff", "T can't be read as a CSV table (it is a PNG):"),
        (b"%PDF-1.4\n\xff\x00\x01", "T can't be read as a CSV table (it is a PDF document):"),
        (b"a,b\n\x00\x01\x02\xff", "T can't be read as a CSV table (it is no text):"),
        (b"\xff\xfea\0b", "T can't be read as a CSV table (it is no utf-16):"),
        (b"a,b\n\x81,c\n", "T can't be read as a CSV table (line 2 is no text in UTF-8):"),
        (b'a,b\n"c,d\n', "T can't be read as a CSV table (a quotation mark is not closed, in"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 xls",
            "T is a workbook, expected a CSV table: save it as CSV UTF-8 and give that file.",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "T is only a pointer of git-lfs: fetch the table with git lfs pull.",
        ),
        (b"\x1f\x8b\x08\0 broken", "T can't be read as a CSV table ("),
        (b"PK\x03\x04 broken", "T can't be read as a CSV table (File is not a zip file):"),
        (
            b"a,b\n1,2,3\n4,5\n",
            "T can't be read as a CSV table (Expected 2 fields in line 2, saw 3; there are 1 such",
        ),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert str(caught.value).replace(str(tmp_path / "t.csv"), "T").startswith(sentence)


@pytest.mark.parametrize("inside", ["xl/workbook.xml", "content.xml", "Index/Document.iwa"])
def test_workbooks_are_named(tmp_path: Path, inside: str) -> None:
    with zipfile.ZipFile(tmp_path / "labels.xlsx", "w") as book:
        book.writestr(inside, "<workbook/>")
    with pytest.raises(DataError, match=r"labels\.xlsx is a workbook, expected a CSV table: save"):
        delimited.read(tmp_path / "labels.xlsx")


def test_of_a_large_table_the_beginning_shows_the_heading(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "t.csv").write_bytes((PLAIN + "c,nv,\u00fc\n" * 40_000).encode(encoding))
        assert delimited.read_heading(tmp_path / "t.csv").heading == ("image_id", "dx", "note")
    (tmp_path / "t.csv").write_bytes(b"\x89PNG\0\xff")
    assert delimited.read_heading(tmp_path / "t.csv").heading == ()
