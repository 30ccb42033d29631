"""Odd and hostile uploads: what each is called, how its bytes are made, and what its sender has to
read.

One table for the library's own test, for the test of the running demo, and for
benchmarks/hostile.py.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from dermhub.images.drawn_lesions import draw
from tests.support.demo_client import as_file

ANSWERED = ""
"""Expected of an upload that is an image."""


@dataclass(frozen=True)
class Odd:
    """A file: its name, how its bytes are made, and how the sentence begins that its sender
    reads.
    """

    name: str
    make: Callable[[], bytes]
    expected: str = ANSWERED


@functools.cache
def lesion() -> Image.Image:
    """A drawn lesion of 200 x 150 pixels."""
    return draw(3, (200, 150), 0.8)


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """The bytes of an image file, of the drawn lesion if no other is given."""
    return _plain(kind) if image is None and not options else _saved(kind, image, **options)


@functools.cache
def _plain(kind: str) -> bytes:
    return _saved(kind, None)


def _saved(kind: str, image: Image.Image | None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or lesion()).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def png_text_bomb() -> bytes:
    """A PNG with 200 MB of comment, packed into 200 KB."""
    whole = saved("PNG")
    packed = zlib.compressobj()
    text = b"".join([packed.compress(bytes(10**6)) for _ in range(200)]) + packed.flush()
    return whole[:33] + chunk(b"zTXt", b"Comment\0\0" + text) + whole[33:]


def png_of_16_bits() -> bytes:
    """A grey PNG with 16 bits a pixel."""
    return saved("PNG", Image.fromarray(np.asarray(lesion().convert("L")).astype(np.uint16) * 257))


def black(width: int, height: int, kind: str = "PNG", mode: str = "1", **options: Any) -> bytes:
    """A black image, held in full but packed into few bytes."""
    return saved(kind, Image.new(mode, (width, height)), **options)


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose frame header (SOF0) promises a size that its pixels don't have."""
    whole = saved("JPEG")
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def jpeg_scans(count: int) -> bytes:
    """A progressive JPEG of 64 million pixels whose last scan is there `count` times: each visits
    every block.
    """
    whole = black(8000, 8000, "JPEG", "L", progressive=True)
    at = whole.rindex(b"\xff\xda")
    return whole[:at] + whole[at:-2] * count + whole[-2:]


def gif_frames(count: int) -> bytes:
    """A GIF of `count` frames, 20 bytes each but for the first."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return saved("GIF")[:-1] + frame * count + b";"


def gif_screen(width: int, height: int) -> bytes:
    """A GIF whose screen is larger than its picture."""
    whole = saved("GIF")
    return whole[:6] + struct.pack("<HH", width, height) + whole[10:]


def tiff_pages(count: int) -> bytes:
    """A TIFF with a picture and a chain of `count` further directories, 30 bytes each."""
    whole = bytearray(saved("TIFF"))
    first = struct.unpack_from("<I", whole, 4)[0]
    entries = struct.unpack_from("<H", whole, first)[0]
    struct.pack_into("<I", whole, first + 2 + 12 * entries, len(whole))
    for number in range(count):
        following = len(whole) + 30 if number + 1 < count else 0
        whole += struct.pack("<HHHIIHHIII", 2, 256, 4, 1, 1, 257, 4, 1, 1, following)
    return bytes(whole)


def tiff_strips(count: int) -> bytes:
    """A TIFF of 8000 x 4000 grey pixels in `count` strips, which are all the same one."""
    start, table = 8, 8 + 8000
    fields = [(256, 4, 1, 8000), (257, 4, 1, 4000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    fields += [(273, 4, count, table), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, table)]
    directory = (
        struct.pack("<H", len(fields))
        + b"".join(struct.pack("<HHII", *one) for one in fields)
        + bytes(4)
    )
    head = b"II*\0" + struct.pack("<I", table + 4 * count)
    return head + bytes(8000) + struct.pack("<I", start) * count + directory


def webp_header() -> bytes:
    """A lossless WebP whose header promises 16384 x 16384 pixels."""
    whole = bytearray(saved("WEBP", lossless=True))
    at = whole.index(b"VP8L") + 9
    struct.pack_into(
        "<I", whole, at, (struct.unpack_from("<I", whole, at)[0] & 0xF0000000) | 0x0FFFFFFF
    )
    return bytes(whole)


def zipped() -> bytes:
    """A ZIP archive with an image in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("lesion.png", saved("PNG"))
    return stream.getvalue()


def oriented(number: int) -> bytes:
    """A JPEG with the EXIF orientation 1 to 8."""
    exif = Image.Exif()
    exif[0x0112] = number
    return saved("JPEG", exif=exif)


def not_a_number() -> bytes:
    """A TIFF of float32 values, one of which is NaN."""
    values = np.asarray(lesion().convert("L"), np.float32).copy()
    values[7, 7] = np.nan
    return saved("TIFF", Image.fromarray(values))


TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""EXIF of an image that is shown turned by 90 degrees."""

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><image '
    b'href="file:///etc/passwd"/></svg>'
)

FRAMES: dict[str, Any] = {"save_all": True, "append_images": [draw(4, (200, 150))]}

DRAWING = "The file is an SVG drawing: save it as PNG;"

LARGE = " has more than the 64 million pixels that are accepted;"

CUT = "The file is damaged or cut short and can't be decoded"

REFUSED: dict[str, Odd] = {
    "no bytes": Odd(
        "empty.jpg", lambda: b"", "The file is empty (0 bytes), expected an image file."
    ),
    "text called jpg": Odd("text.jpg", lambda: b"just a text", "The file is a text file;"),
    "HTML": Odd(
        "page.html",
        lambda: b"<!doctype html><script>alert(1)</script>",
        "The file is an HTML page;",
    ),
    "SVG": Odd("drawing.svg", lambda: SVG, DRAWING),
    "SVG called png": Odd("drawing.png", lambda: SVG, DRAWING),
    "PDF": Odd(
        "a.pdf",
        lambda: b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF",
        "The file is a PDF document;",
    ),
    "PostScript": Odd(
        "a.eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n", "The file is a PostScript drawing;"
    ),
    "ZIP": Odd("images.zip", zipped, "The file is a ZIP archive or an Office document;"),
    "DICOM": Odd(
        "a.dcm",
        lambda: bytes(128) + b"DICM" + bytes(400),
        "The file is damaged or cut short and can't be decoded;",
    ),
    "HEIC": Odd(
        "IMG_1.heic",
        lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400),
        "The file is damaged or cut short and can't be decoded;",
    ),
    "a program": Odd(
        "lesion.jpg.exe", lambda: b"MZ" + bytes(400), "The file is a Windows program;"
    ),
    "random bytes": Odd(
        "a.png",
        lambda: np.random.default_rng(1).bytes(5000),
        "The file is not an image that can be",
    ),
    "JPEG cut short": Odd("half.jpg", lambda: saved("JPEG")[:2000], CUT),
    "PNG cut short": Odd("half.png", lambda: saved("PNG")[:9000], CUT),
    "a JPEG's first bytes": Odd(
        "a.jpg", lambda: b"\xff\xd8\xff\xe0", "The file is a JPEG that is damaged or cut short;"
    ),
    "PNG, 120 megapixels": Odd(
        "bomb.png", lambda: black(12_000, 10_000), "The file (12000 x 10000 pixels)" + LARGE
    ),
    "PNG, 400 megapixels": Odd("bomb.png", lambda: black(20_000, 20_000), "The file" + LARGE),
    "PNG, 4 terapixels in the header": Odd(
        "bomb.png", lambda: png_header(2_000_000, 2_000_000), "The file" + LARGE
    ),
    "JPEG, 4 gigapixels in the header": Odd(
        "bomb.jpg", lambda: jpeg_header(65_500, 65_500), "The file" + LARGE
    ),
    "JPEG of a thousand scans": Odd(
        "bomb.jpg",
        lambda: jpeg_scans(1000),
        "The file (8000 x 8000 pixels) has more than the 32 million pixels that are accepted",
    ),
    "GIF, 4 gigapixels in the header": Odd(
        "bomb.gif", lambda: gif_screen(65_535, 65_535), "The file" + LARGE
    ),
    "GIF of a million frames": Odd(
        "bomb.gif", lambda: gif_frames(1_000_000), "The file is an animation or a stack"
    ),
    "TIFF of 600,000 pages": Odd(
        "bomb.tif", lambda: tiff_pages(600_000), "The file is an animation or a stack"
    ),
    "TIFF in four million strips": Odd(
        "bomb.tif", lambda: tiff_strips(4_000_000), "The file is a TIFF in more than"
    ),
    "WebP, 268 megapixels in the header": Odd(
        "bomb.webp",
        webp_header,
        "The file (16384 x 16384 pixels) has more than the 13 million pixels that are accepted",
    ),
    "animated GIF": Odd(
        "moving.gif",
        lambda: saved("GIF", **FRAMES),
        "The file is an animation or a stack of several frames,",
    ),
    "animated WebP": Odd(
        "moving.webp",
        lambda: saved("WEBP", **FRAMES),
        "The file is an animation or a stack of several frames,",
    ),
    "animated PNG": Odd(
        "moving.png",
        lambda: saved("PNG", **FRAMES),
        "The file is an animation or a stack of several frames,",
    ),
    "1 x 1": Odd(
        "dot.png",
        lambda: black(1, 1, mode="RGB"),
        "The file is 1 x 1 pixels, too small to classify:",
    ),
    "10000 x 1": Odd(
        "line.png", lambda: black(10_000, 1), "The file is 10000 x 1 pixels, too small to classify:"
    ),
    "10000 x 40": Odd(
        "strip.png",
        lambda: black(10_000, 40),
        "The file is 10000 x 40 pixels, too narrow to classify:",
    ),
    "TIFF with NaN": Odd(
        "nan.tif", not_a_number, "The grey values are not finite numbers of at most 16 bits."
    ),
}
"""What came -> a file that gets no answer but a sentence."""

ACCEPTED: dict[str, Odd] = {
    "JPEG": Odd("lesion.jpg", lambda: saved("JPEG")),
    "progressive JPEG": Odd("lesion.jpg", lambda: saved("JPEG", progressive=True)),
    "CMYK": Odd("lesion.jpg", lambda: saved("JPEG", lesion().convert("CMYK"))),
    "grey": Odd("lesion.png", lambda: saved("PNG", lesion().convert("L"))),
    "16 bits": Odd("lesion.png", png_of_16_bits),
    "palette with transparency": Odd(
        "lesion.png", lambda: saved("PNG", lesion().quantize(32), transparency=0)
    ),
    "alpha": Odd("lesion.png", lambda: saved("PNG", lesion().convert("RGBA"))),
    "ICC profile": Odd(
        "a.jpg",
        lambda: saved(
            "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        ),
    ),
    "damaged ICC profile": Odd("lesion.jpg", lambda: saved("JPEG", icc_profile=b"\0" * 200)),
    "image called txt": Odd("lesion.txt", lambda: saved("PNG")),
    "no extension": Odd("lesion", lambda: saved("PNG")),
    "WebP": Odd("lesion.webp", lambda: saved("WEBP")),
    "TIFF": Odd("lesion.tif", lambda: saved("TIFF")),
    "name in other letters": Odd("Läsion 病变 \u202egnp.png", lambda: saved("PNG")),
    "name with markup": Odd("<img src=x onerror=alert(1)>.png", lambda: saved("PNG")),
    "name that leads away": Odd("../../../etc/passwd.png", lambda: saved("PNG")),
    "name of 300 letters": Odd("a" * 300 + ".png", lambda: saved("PNG")),
    "all black": Odd("black.png", lambda: black(200, 150, mode="RGB")),
    "PNG, 200 MB of comment": Odd("bomb.png", png_text_bomb),
    "11 MB": Odd("large.png", lambda: saved("PNG") + bytes(11 * 2**20)),
    **{f"EXIF orientation {n}": Odd("lesion.jpg", lambda n=n: oriented(n)) for n in range(1, 9)},  # type: ignore[misc]
}
"""What came -> a file that is answered like any other image."""

LIMITS: dict[str, Odd] = {
    "JPEG, 64 megapixels": Odd("large.jpg", lambda: black(10_000, 6400, "JPEG", "RGB")),
    "JPEG, 64 megapixels, turned": Odd(
        "large.jpg", lambda: black(10_000, 6400, "JPEG", "RGB", exif=TURNED)
    ),
    "progressive JPEG, 32 megapixels": Odd(
        "a.jpg", lambda: black(8000, 4000, "JPEG", "CMYK", progressive=True)
    ),
    "PNG, 64 megapixels": Odd("large.png", lambda: black(10_000, 6400, mode="RGB")),
    "PNG with alpha, 64 megapixels": Odd("large.png", lambda: black(10_000, 6400, mode="RGBA")),
    "grey PNG of 16 bits, 64 megapixels": Odd(
        "large.png", lambda: black(10_000, 6400, mode="I;16")
    ),
    "WebP, 13 megapixels": Odd(
        "large.webp", lambda: black(4160, 3125, "WEBP", "RGB", lossless=True, method=0)
    ),
    "TIFF, 32 megapixels": Odd(
        "large.tif", lambda: black(8000, 4000, "TIFF", "RGB", compression="tiff_lzw")
    ),
}
"""The largest that are accepted: what they cost is measured by benchmarks/hostile.py."""

NO_FILE = "No file came but {}: expected an image, sent as a file."

ADDRESS = "An address came, which this server does not fetch: download the image and send the file."

NO_PATH = "A path came that is no upload of yours, or no longer: upload the image again, as a file."

VALUES: dict[str, tuple[object, str]] = {
    "text": ("text", NO_FILE.format("text")),
    "a number": (7, NO_FILE.format("a number")),
    "a truth value": (True, NO_FILE.format("a truth value")),
    "an empty list": ([], NO_FILE.format("a list")),
    "an array of NaN": ([[float("nan")] * 3] * 3, NO_FILE.format("a list")),
    "an empty object": ({}, NO_FILE.format("an object")),
    "an object without a path": ({"path": None}, NO_FILE.format("an object")),
    "a list as path": ({"path": ["a"]}, NO_FILE.format("an object")),
    "a data address": ({"path": "data:image/png;base64,AAAA"}, ADDRESS),
    "the server's own file": ({"path": "/etc/passwd"}, NO_PATH),
    "the server's own file, as an upload": (as_file("/etc/passwd"), NO_PATH),
    "a path that leads away": (as_file("../secret.png"), NO_PATH),
    "a path of Gradio's": (as_file("/file=/etc/passwd"), NO_PATH),
}
"""What came in place of an uploaded file, by the API, and what its sender reads."""

TOO_BIG = (
    "The file has more than the 20 MB that are accepted: scale the image down or save it as JPEG."
)

TWO = "2 files came, expected one image: send each by itself."


def addresses(url: str) -> Sequence[object]:
    """An address in every form in which a client could name it in place of a file."""
    return ({"path": url, "url": url}, as_file(url), {"url": url}, url)
