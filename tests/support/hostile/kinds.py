"""Files that are made to keep a decoder busy, or that are odd in a way that decoders stumble over.

Each kind is made in two sizes: full, as an attacker would send it (benchmarks/hostile.py), and
small, to test what is said about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dermhub.images.containers import gif, jpeg, png, tiff, webp
from tests.support.hostile import jpegs, others, pictures, pngs, tiffs
from tests.support.odd_files import ANSWERED, CUT, black

MB = 2**20


@dataclass(frozen=True)
class Hostile:
    """A kind of file: its name, its maker, the maker's arguments for a file of full size and for a
    small one (None: the same), and how the sentence begins that its sender reads.
    """

    name: str
    make: Callable[..., bytes]
    full: tuple[Any, ...] = ()
    small: tuple[Any, ...] | None = None
    expected: str = ANSWERED

    def large(self) -> bytes:
        """Make a file of full size."""
        return self.make(*self.full)

    def little(self) -> bytes:
        """Make a small file."""
        return self.make(*(self.full if self.small is None else self.small))


IS = "The file is "
NO_IMAGE = IS + "not an image that can be read;"
SLOW = ", made to be slow to read; expected an ordinary image: save it anew."
CHUNKS = f"{IS}a PNG of more than {png.MOST_CHUNKS:,} chunks{SLOW}"
BLOCKS = f"{IS}a GIF of more than {gif.MOST_BLOCKS:,} blocks{SLOW}"
SEGMENTS = f"{IS}a JPEG of more than {jpeg.MOST_SEGMENTS:,} segments{SLOW}"
TABLES = f"{IS}a JPEG of more than {jpeg.MOST_TABLES:,} tables{SLOW}"
SCANS = f"{IS}a JPEG of more than {jpeg.MOST_SCANS} scans{SLOW}"
VISITS = f"{IS}a JPEG of more than 7 scans of this size{SLOW}"
TILES = f"{IS}a TIFF whose tiles are larger than its image{SLOW}"
OVER = f"{IS}a TIFF whose pieces lie over one another{SLOW}"
LARGE_WEBP = (
    "The file ({} pixels) has more than the 13 million pixels that are accepted of a WebP; scale "
    "it down first."
)
LARGE_JPEG = (
    "has more than the 32 million pixels that are accepted of a progressive JPEG; scale it down "
    "first."
)
PACKED_ROWS = IS + "a BMP of packed rows (RLE) with more than 2 million pixels or 1 MB; expected a"

DIRECTORIES = (
    Hostile("PNG, EXIF of 6000 fields that share 0.9 MB", pngs.png_exif, (6000, 943_718), (9, 999)),
    Hostile("PNG, EXIF of 200 fields that share 19 MB", pngs.png_exif, (200, 19 * MB), (9, 999)),
    Hostile(
        "PNG, EXIF of 65,535 fields as text", pngs.png_exif_as_text, (65_000, 800_000), (9, 99)
    ),
    Hostile("JPEG, EXIF of 200 fields that share 18 MB", jpegs.jpeg_exif, (200, 18 * MB), (9, 999)),
    Hostile("JPEG, EXIF with its mark 3 million times", jpegs.jpeg_marks, (300,), (2,)),
    Hostile(
        "WebP, EXIF of 200 fields that share 19 MB", others.webp_exif, (200, 19 * MB), (9, 999)
    ),
    Hostile("MPO, an index of a million images", jpegs.mpo_exif, (200, 18 * MB), (9, 999)),
    Hostile("TIFF, 200 fields that share 19 MB", tiffs.tiff_tags, (200, 7, 19 * MB), (9, 7, 999)),
    Hostile("TIFF, 200 fields of 49,999 doubles", tiffs.tiff_tags, (200, 12, 49_999), (9, 12, 99)),
    Hostile("TIFF, 3000 fields of 49,999 doubles", tiffs.tiff_tags, (3000, 12, 49_999), (9, 12, 9)),
    Hostile("TIFF, directories in one another", tiffs.tiff_inner, (3000, 19 * MB), (9, 999)),
    Hostile(
        "BigTIFF, 25,000 fields that share 19 MB", tiffs.big_tiff, (25_000, 19 * MB), (800, 999)
    ),
    Hostile("TIFF, a directory followed by itself", tiffs.tiff_cycle),
    Hostile("JPEG, EXIF that leads to itself", jpegs.exif_of, (0x8769, 4, 1, b"\x08\0\0\0")),
    Hostile("JPEG, EXIF orientation 99", jpegs.exif_of, (0x112, 3, 1, b"\x63\0\0\0")),
    Hostile("JPEG, EXIF orientation as text", jpegs.exif_of, (0x112, 2, 4, b"six\0")),
    Hostile("JPEG, EXIF orientation of 9 numbers", jpegs.exif_of, (0x112, 3, 9, bytes(4))),
    Hostile("JPEG, EXIF that is none", jpegs.jpeg_with, ((0xE1, b"Exif\0\0 nothing at all"),)),
)
"""EXIF in every place where it can stand, and TIFFs."""

PIECES = (
    Hostile("TIFF, a tile of 1.6 GB", tiffs.tiff_tile, (40_000,), (2048,), TILES),
    Hostile("TIFF, a tile of 2.1 GB", tiffs.tiff_tile, (46_336,), (2048,), TILES),
    Hostile("TIFF, a tile of 256 x 256 pixels", tiffs.tiff_tile, (256,), (256,)),
    Hostile(
        "TIFF, LZMA with a dictionary of 3 GB",
        tiffs.tiff_lzma,
        (8000, 4000),
        (200, 150),
        f"{IS}a TIFF in LZMA with a dictionary of more than 64 MB{SLOW}",
    ),
    Hostile(
        "TIFF, 5000 pieces of 19 MB", tiffs.tiff_overlapping, (5000, 19 * MB), (600, 999), OVER
    ),
    Hostile("TIFF in 48,400 tiles", tiffs.tiff_small_tiles, (220, 220), (13, 10)),
    Hostile(
        "TIFF of a JPEG of 90 scans",
        tiffs.tiff_of_jpeg,
        (90, 4000),
        (9, 64),
        IS + "a TIFF of JPEGs",
    ),
    Hostile(
        "TIFF in 50,001 strips",
        tiffs.tiff_overlapping,
        (tiff.MOST_VALUES + 1, 99),
        expected=f"{IS}a TIFF in more than {tiff.MOST_VALUES:,} pieces",
    ),
    Hostile(
        "TIFF in a rare compression",
        tiffs.tiff_compressed,
        (34_887,),
        expected=IS
        + "a TIFF packed in a way that can't be read (compression 34887); expected none, LZW,",
    ),
    Hostile(
        "TIFF of five channels",
        tiffs.tiff_channels,
        (5, 8, 1),
        expected=IS
        + "a TIFF with 5 channel(s) of 8-bit numbers; expected grey, RGB or CMYK of 8 or 16",
    ),
    Hostile(
        "TIFF of three channels of floats",
        tiffs.tiff_channels,
        (3, 32, 3),
        expected=IS
        + "a TIFF with 3 channel(s) of 32-bit floating-point numbers; expected grey, RGB or",
    ),
)
"""TIFFs whose pixels are the trouble."""

PNGS = (
    Hostile("PNG, 1.6 million unknown chunks", pngs.png_many, (b"abCd", 1_600_000), (b"abCd", 99)),
    Hostile(
        "PNG, 1.6 million empty chunks of pixels", pngs.png_many, (b"IDAT", 1_600_000), (b"IDAT", 9)
    ),
    Hostile("PNG, 300,000 comments", pngs.png_texts, (300_000,), (9,)),
    Hostile(
        "PNG, a colour profile of 1 GB",
        pngs.png_packed,
        (b"iCCP", b"x\0\0", 2**30, 1),
        (b"iCCP", b"x\0\0", 2 * MB, 1),
    ),
    Hostile(
        "PNG, a comment of 1 GB",
        pngs.png_packed,
        (b"iTXt", b"k\0\1\0\0\0", 2**30, 1),
        (b"iTXt", b"k\0\1\0\0\0", 2 * MB, 1),
    ),
    Hostile(
        "PNG, 10,000 comments of 1 MB",
        pngs.png_packed,
        (b"zTXt", b"k\0\0", MB - 1, 10_000),
        (b"zTXt", b"k\0\0", MB, 99),
    ),
    Hostile(
        "PNG, 10,000 XMP of 1 MB",
        pngs.png_packed,
        (b"zTXt", b"XML:com.adobe.xmp\0\0", MB, 10_000),
        (b"zTXt", b"XML:com.adobe.xmp\0\0", MB, 9),
    ),
    Hostile("PNG, a comment of 19 MB at its end", pngs.png_end, (19 * MB,), (999,)),
    Hostile("PNG, 1 GB behind the last row", pngs.png_surplus, (2**30,), (MB,)),
    Hostile(
        "PNG of 16 bits, interlaced, 64 megapixels",
        pngs.png_pixels,
        (8000, 8000, 16, 4),
        (8000, 4001, 1, 1),
        "The file (8000 x ",
    ),
    Hostile(
        "PNG of 16 bits, interlaced, 32 megapixels",
        pngs.png_pixels,
        (8000, 4000, 16, 4),
        (80, 40, 16, 4),
    ),
    Hostile(
        "PNG of 16 bits and 4 channels, 64 megapixels",
        pngs.png_promise,
        (8000, 8000, 16, 4),
        expected="The file (8000 x 8000 pixels) has more than the 32 million pixels that are "
        "accepted of a PNG with colours of 16 bits;",
    ),
    Hostile(
        "PNG of 16 bits and 4 channels, 32 megapixels",
        pngs.png_pixels,
        (8000, 4000, 16, 4, 0),
        (80, 40, 16, 4, 0),
    ),
    Hostile("PNG of noise, 18 MB", pictures.stored, (2500, 2500), (250, 250)),
    Hostile("PNG, a comment with a wrong checksum", pngs.png_broken_text),
    Hostile("PNG, pixels in pieces with a comment between", pngs.png_of_pieces, (9,), (9,)),
)

JPEGS = (
    Hostile(
        "JPEG, 5 million empty segments", jpegs.jpeg_many, (0xE5, b"", 5_000_000), (0xE5, b"", 9)
    ),
    Hostile(
        "JPEG, 4.9 million empty APP0", jpegs.jpeg_many, (0xE0, b"", 4_900_000), (0xE0, b"", 9)
    ),
    Hostile(
        "JPEG, 280,000 tables",
        jpegs.jpeg_many,
        (0xDB, b"\0" + b"\1" * 64, 280_000),
        (0xDB, b"\0" + b"\1" * 64, 9),
    ),
    Hostile(
        "JPEG, 300 comments of 64 KB", jpegs.jpeg_many, (0xFE, bytes(65_533), 300), (0xFE, b"c", 9)
    ),
    Hostile("JPEG, 300 parts of a colour profile", jpegs.jpeg_profile, (300,), (3,)),
    Hostile(
        "JPEG, XMP of 19 MB",
        jpegs.jpeg_many,
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"tiff:Orientation" * 4000, 300),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0", 9),
    ),
    Hostile(
        "JPEG, Photoshop's blocks of 19 MB",
        jpegs.jpeg_many,
        (0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000, 300),
        (0xED, b"Photoshop 3.0\0", 9),
    ),
    Hostile("JPEG, 19 MB of fill bytes", jpegs.jpeg_fill, (19 * MB,), (99,)),
    Hostile("JPEG, 19 MB of fill bytes in its pixels", jpegs.jpeg_fill_within, (19 * MB,), (99,)),
    Hostile("JPEG, 19 MB of zeros after its start", jpegs.zeros, (19 * MB,), (99,), NO_IMAGE),
    Hostile(
        "JPEG in arithmetic coding, 49 scans",
        jpegs.jpeg_arithmetic,
        (49, 8000, 4000),
        expected=VISITS,
    ),
    Hostile(
        "JPEG in arithmetic coding, 6 scans", jpegs.jpeg_arithmetic, (6, 8000, 4000), (6, 80, 40)
    ),
    Hostile(
        "JPEG in arithmetic coding, 64 megapixels",
        jpegs.jpeg_arithmetic,
        (0, 8000, 8000, 0xC9),
        (0, 80, 80, 0xC9),
    ),
    Hostile(
        "progressive CMYK, last scan 40 times",
        jpegs.jpeg_scans,
        (40, 8000, 4000, "CMYK"),
        (60, 80, 40, "CMYK"),
        IS + "a JPEG",
    ),
    Hostile(
        "progressive grey, last scan 40 times",
        jpegs.jpeg_scans,
        (40, 8000, 4000, "L"),
        (60, 80, 40, "L"),
        IS + "a JPEG",
    ),
    Hostile("progressive noise, 32 megapixels", pictures.progressive, (8000, 4000, 1), (80, 40, 1)),
    Hostile("progressive noise, 15 megapixels", pictures.progressive, (5000, 3000, 3), (50, 40, 3)),
    Hostile(
        "JPEG of three scans, 64 megapixels",
        jpegs.jpeg_divided,
        (8000, 8000),
        (8000, 8000),
        "The file (8000 x 8000 pixels) has more than the 32 million pixels that are accepted of a "
        "JPEG of several scans;",
    ),
    Hostile("JPEG of three scans, 32 megapixels", jpegs.jpeg_divided, (8000, 4000), (80, 40)),
    Hostile(
        "JPEG of 12 bits",
        jpegs.jpeg_frame,
        (0xC1, 12, 1),
        expected=IS + "a JPEG of 12 bits a sample and 1 component(s);",
    ),
    Hostile(
        "JPEG of two components",
        jpegs.jpeg_frame,
        (0xC0, 8, 2),
        expected=IS + "a JPEG of 8 bits a sample and 2 component(s);",
    ),
    Hostile(
        "hierarchical JPEG",
        jpegs.jpeg_frame,
        (0xC5, 8, 1),
        expected=IS + "a lossless or hierarchical JPEG;",
    ),
    Hostile("JPEG without its last two bytes", jpegs.without_end, (2, 4000, 3000), (2,)),
    Hostile(
        "progressive JPEG without its last two bytes",
        jpegs.progressive_without_end,
        (2, 4000, 3000),
        (2,),
    ),
    Hostile("JPEG without its last 200 bytes", jpegs.without_end, (200, 4000, 3000), (200,), CUT),
    Hostile("MPO of 50 images", pictures.mpo, (50,), (3,)),
)

OTHERS = (
    Hostile("GIF, a comment of 19 MB", others.gif_comment, (78_000,), (9,)),
    Hostile("GIF, a comment of 10 MB", others.gif_comment, (40_000,), (9,)),
    Hostile("GIF, 500,000 comments", others.gif_comments, (500_000,), (9,)),
    Hostile("GIF, 2 million comments", others.gif_comments, (2_000_000,), (9,)),
    Hostile("GIF, a comment in 9 million blocks", others.gif_letters, (9_000_000,), (9,)),
    Hostile("GIF, 19 MB of junk before its picture", others.gif_junk, (19 * MB,), (9,)),
    Hostile("GIF, 19 MB of junk behind its picture", others.gif_behind, (19 * MB,), (9,)),
    Hostile("GIF, interlaced, 64 megapixels", pictures.interlaced_gif, (8000, 8000), (80, 80)),
    Hostile("WebP, 2 million chunks", others.webp_chunks, (2_000_000,), (9,)),
    Hostile(
        "WebP, a canvas of 268 megapixels",
        others.webp_canvas,
        (16_384, 16_384, 0),
        expected=LARGE_WEBP.format("16384 x 16384"),
    ),
    Hostile(
        "WebP, an animation's canvas of 268 megapixels",
        others.webp_canvas,
        (16_383, 16_383, 1),
        expected=LARGE_WEBP.format("16383 x 16383"),
    ),
    Hostile("WebP with alpha, 12.2 megapixels", pictures.alpha, (4032, 3024), (400, 300)),
    Hostile(
        "WebP, 40 megapixels",
        black,
        (8000, 5000, "WEBP", "RGB"),
        expected=LARGE_WEBP.format("8000 x 5000"),
    ),
    Hostile(
        "lossless WebP, 40 megapixels",
        pictures.plain_webp,
        (8000, 5000),
        expected=LARGE_WEBP.format("8000 x 5000"),
    ),
    Hostile(
        "progressive JPEG of CMYK, 63 megapixels",
        pictures.progressive_cmyk,
        (9000, 7000),
        expected=f"The file (9000 x 7000 pixels) {LARGE_JPEG}",
    ),
    Hostile(
        "WebP of noise, 12 megapixels",
        pictures.noise,
        (4000, 3000, "WEBP", 3),
        (400, 300, "WEBP", 3),
    ),
    Hostile("lossless WebP of noise, 3 megapixels", pictures.lossless, (2000, 1500), (200, 150)),
    Hostile(
        "BMP of packed rows, 64 megapixels",
        others.bmp_rows,
        (8000, 8000, b"\xff\0" * 31),
        (2000, 1001, b""),
        PACKED_ROWS,
    ),
    Hostile(
        "BMP of packed short rows, 16 megapixels",
        others.bmp_rows,
        (8000, 2000, b"\1\5"),
        (2000, 1001, b""),
        PACKED_ROWS,
    ),
    Hostile(
        "BMP of packed short rows, 2 megapixels",
        others.bmp_rows,
        (2000, 1000, b"\1\5"),
        (80, 40, b"\1\5"),
    ),
    Hostile(
        "BMP of packed single pixels, 1 MB",
        others.bmp_rows,
        (1000, 480, b"\1\5" * 1000),
        (80, 40, b"\1\5" * 80),
    ),
    Hostile("BMP without its pixels", others.bmp, (8000, 8000, 0, b""), expected=CUT),
    Hostile(
        "grey PNG of 16 bits, 16 megapixels",
        black,
        (4000, 3990, "PNG", "I;16"),
        (80, 40, "PNG", "I;16"),
    ),
    Hostile(
        "PNG with alpha, 16 megapixels", black, (4000, 3990, "PNG", "RGBA"), (80, 40, "PNG", "RGBA")
    ),
    Hostile("a text of 72 empty comments", others.svg_comments, (72,), (72,), IS + "a text file;"),
    Hostile(
        "a pointer of git-lfs",
        others.lfs,
        (),
        (),
        IS + "a git-lfs pointer and not the image itself: fetch it with git lfs pull;",
    ),
)

KINDS = (*DIRECTORIES, *PIECES, *PNGS, *JPEGS, *OTHERS)

MANY = {
    "PNG, 1.6 million unknown chunks": CHUNKS,
    "PNG, 1.6 million empty chunks of pixels": CHUNKS,
    "PNG, 300,000 comments": CHUNKS,
    "JPEG, 5 million empty segments": SEGMENTS,
    "JPEG, 4.9 million empty APP0": SEGMENTS,
    "JPEG, 280,000 tables": TABLES,
    "GIF, 500,000 comments": BLOCKS,
    "GIF, 2 million comments": BLOCKS,
    "GIF, a comment in 9 million blocks": BLOCKS,
    "WebP, 2 million chunks": f"{IS}a WebP of more than {webp.MOST_CHUNKS:,} chunks{SLOW}",
}
"""Kinds of which a few are answered and very many are refused."""
