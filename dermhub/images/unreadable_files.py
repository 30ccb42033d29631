"""The kind of a file that is not a readable image, so that a refusal can name what came.

The signatures are those that the formats' own specifications give; nothing of the content beyond
the first bytes is read.
"""

from __future__ import annotations

import codecs
import re

EXPECTED = "JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC, AVIF or DICOM"
"""Formats that are read."""

HEAD = 512
"""First bytes of a file that are enough to name it."""

STARTS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript drawing"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript drawing"),
    (128, b"DICM", "a DICOM file that is damaged or cut short"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"8BPS", "a Photoshop document: export it as PNG or JPEG"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image: save it as JPEG or PNG"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image: save it as JPEG or PNG"),
    (0, b"\xff\x0a", "a JPEG XL image: save it as JPEG or PNG"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image: save it as JPEG or PNG"),
    (0, b"\x93NUMPY", "a NumPy array file: save it as PNG"),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a git-lfs pointer and not the image itself: fetch it with git lfs pull",
    ),
    (0, b"MZ", "a Windows program"),
    (0, b"\x7fELF", "a program"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"ID3", "a sound file"),
    (0, b"OggS", "a sound or video file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\xff\xd8\xff", "a JPEG that is damaged or cut short"),
    (0, b"\x89PNG", "a PNG that is damaged or cut short"),
    (0, b"GIF8", "a GIF that is damaged or cut short"),
)
"""Offset, the bytes there, and the kind of file, with what to do about it where that helps."""

BRANDS = {
    b"heic": "a HEIC photo that is damaged or cut short",
    b"heix": "a HEIC photo that is damaged or cut short",
    b"hevc": "a HEIC photo that is damaged or cut short",
    b"heim": "a HEIC photo that is damaged or cut short",
    b"mif1": "a HEIC photo that is damaged or cut short",
    b"msf1": "a HEIC photo that is damaged or cut short",
    b"avif": "an AVIF image that is damaged or cut short",
    b"avis": "an AVIF image that is damaged or cut short",
    b"crx ": "a camera's raw image: save it as JPEG",
    b"qt  ": "a video",
}
"""Major brand of an ISO base media file (ISO/IEC 14496-12, box `ftyp`) -> kind.

Any other brand is a video.
"""

RIFF = {b"WEBP": "a WebP that is damaged or cut short", b"AVI ": "a video", b"WAVE": "a sound file"}

_PROLOG = re.compile(rb"\xef\xbb\xbf|\s+|<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE\s+svg.*?>", re.S | re.I)
"""One part of what may stand before the root of an SVG."""

_SVG = re.compile(rb"<svg[\s>]", re.I)

_HTML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script)[\s>]", re.S | re.I
)


def kind_of(head: bytes) -> str:
    """Name what a file with these first `HEAD` bytes is ("a PDF document"); "" if unknown."""
    for offset, mark, name in STARTS:
        if head[offset : offset + len(mark)] == mark:
            return name
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "a video")
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12], "")
    if _is_svg(head):
        return "an SVG drawing: save it as PNG"
    if _HTML.match(head):
        return "an HTML page"
    return "a text file" if _is_text(head) else ""


def refusal(content: bytes, name: str) -> str:
    """Say what a file with this content, or these first bytes of it, is, and what is expected."""
    what = kind_of(content[:HEAD])
    if not what:
        return f"{name} is not an image that can be read; expected {EXPECTED}."
    return f"{name} is {what}; expected an image as {EXPECTED}."


def _is_svg(head: bytes) -> bool:
    # Part by part: one expression for all of them would try every way to divide a row of comments,
    # and these are as many as 2 to the power of their number.
    place = 0
    while match := _PROLOG.match(head, place):
        place = match.end()
    return _SVG.match(head, place) is not None


def _is_text(head: bytes) -> bool:
    try:
        # Not final: a letter of several bytes may be cut at the end of a long file's head.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in text)
