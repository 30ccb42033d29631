"""The one still image of a file, found by the file's first bytes."""

from __future__ import annotations

from dermhub.images.containers import bmp, gif, jpeg, png, tiff, webp
from dermhub.images.containers.still import Still
from dermhub.images.optional import dicom, heif


def first_still(content: bytes) -> Still | None:
    """Reduce an image file to what a decoder needs; None for a file of another kind.

    Raises RefusedError for an animation and for a file made to keep a decoder busy. A damaged file
    is handed on, as far as it goes: its decoder notices.
    """
    if content.startswith(jpeg.START + b"\xff"):
        return jpeg.still(content)
    if content.startswith(png.START):
        return png.still(content)
    if content.startswith(gif.STARTS):
        return gif.still(content)
    if webp.is_webp(content):
        return webp.still(content)
    if content.startswith(b"BM"):
        return bmp.still(content)
    if heif.is_heif(content):
        return heif.still(content)
    if dicom.is_dicom(content):
        return dicom.still(content)
    return tiff.still(content)
