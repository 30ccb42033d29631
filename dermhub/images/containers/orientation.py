"""How an image has to be turned to be upright, as EXIF or XMP beside it say."""

from __future__ import annotations

import re

from dermhub.images.containers.ifd import ORIENTATION, first_directory

MOST_XMP = 2**20
"""Bytes of XMP that are searched; it describes the image near its start."""

_MARKS = re.compile(rb"(?:Exif\0\0)++")

_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(exif: bytes, xmp: bytes) -> int:
    """Return the orientation (EXIF 2.32, tag 0x0112) that EXIF states, else XMP, else 1.

    EXIF is a TIFF, with or without the mark that a JPEG puts before it.
    """
    mark = _MARKS.match(exif)
    directory = first_directory(exif[mark.end() :] if mark else exif)
    if directory is not None and ORIENTATION in directory.fields:
        return next(iter(directory.numbers(ORIENTATION, 1)), 1)
    match = _XMP.search(xmp, 0, MOST_XMP)
    return int(match[1]) if match else 1
