"""Kinds of files by their first bytes, as each format's writer or specification puts them there."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dermhub.images.unreadable_files import BRANDS, HEAD, STARTS, kind_of


def written(kind: str, **options: Any) -> bytes:
    """Return an image file as Pillow writes it."""
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, kind, **options)
    return stream.getvalue()[:HEAD]


def archive(*members: str) -> bytes:
    """Return a ZIP archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for member in members:
            file.writestr(member, "x")
    return stream.getvalue()[:HEAD]


def array() -> bytes:
    """Return an array as NumPy saves it."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()[:HEAD]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (written("PDF"), "a PDF document"),
        (written("EPS"), "a PostScript drawing"),
        (written("ICO"), "an icon"),
        (written("JPEG")[:20], "a JPEG that is damaged or cut short"),
        (written("PNG")[:20], "a PNG that is damaged or cut short"),
        (written("GIF")[:20], "a GIF that is damaged or cut short"),
        (written("WEBP")[:20], "a WebP that is damaged or cut short"),
        (archive("word/document.xml"), "a ZIP archive or an Office document"),
        (archive(), "an empty ZIP archive"),
        (gzip.compress(b"x", mtime=0), "a gzip archive"),
        (array(), "a NumPy array file: save it as PNG"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a sound file"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a video"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "an AVIF image that is damaged or cut short"),
        (b"\0" * 128 + b"DICM", "a DICOM file that is damaged or cut short"),
        (
            b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by hand -->\n<SVG width='1'>",
            "an SVG drawing: save it as PNG",
        ),
        (b"\n  <html lang='en'>", "an HTML page"),
        (b"<htmlish>", "a text file"),
        (
            b"<!-- a --><!-- b --> <?xml version='1.0'?><!DOCTYPE svg><svg>",
            "an SVG drawing: save it as PNG",
        ),
        (b"<!---->" * 72, "a text file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
            "a git-lfs pointer and not the image itself: fetch it with git lfs pull",
        ),
        ("Läsion, mit Umlaut\r\n".encode(), "a text file"),
        (("a" + "ä" * HEAD).encode()[:HEAD], "a text file"),
        (("a" + "ä" * HEAD).encode()[: HEAD - 2] + b"\xff\xff", ""),
        (b"RIFF\0\0", ""),
        (b"\x80\x81\x82", ""),
        (b"text\0with a zero", ""),
        (b"", ""),
    ],
)
def test_name(head: bytes, name: str) -> None:
    assert kind_of(head) == name


def test_the_table_is_whole() -> None:
    assert all(offset + len(mark) <= HEAD for offset, mark, _ in STARTS)
    assert all(len(brand) == 4 for brand in BRANDS)
    for offset, mark, name in STARTS:
        assert kind_of(bytes(offset) + mark + bytes(8)) == name
