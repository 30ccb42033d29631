"""Decoding of anything that may be an image into an upright RGB image, within limits.

Prediction, evaluation and training all decode here. Training sees the whole picture (`to_rgb`),
prediction and evaluation a smaller one where that serves (`ImageFile.decode`).
"""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dermhub.errors import ImageError
from dermhub.images.containers import jpeg, webp
from dermhub.images.containers.first_still import first_still
from dermhub.images.containers.ifd import ORIENTATION
from dermhub.images.containers.still import DAMAGED, SEVERAL, RefusedError
from dermhub.images.optional import heif
from dermhub.images.unreadable_files import HEAD, refusal

ImageInput = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""Largest accepted image; above every phone camera's default, below what could exhaust a server."""

MAX_BYTES = 200_000_000
"""Longest accepted file; 64 million pixels of three bytes have 192 million."""

LESS = {"WEBP": webp.MOST_PIXELS, "TIFF": 32_000_000}
LESS |= dict.fromkeys(("HEIF", "AVIF"), heif.MOST_PIXELS)
"""Largest accepted image of formats whose decoders hold the whole image several times."""

LARGE = 16_000_000
"""Pixels above which an image is read at a quarter of its width and height.

At least 1,000,000 pixels are left. A model sees some 200 x 200 of them, and converting the whole
image would take a gigabyte.
"""

QUARTER = 4

DIVIDED = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""First bytes of JPEG, and of JPEG 2000 bare and in boxes (ISO 15444-1, annexes A and I)."""

DRAFTS = (8, 4, 2)
"""Whole numbers by which the JPEG decoder divides width and height, in the frequency domain."""

BAND = 32
"""Rows that are converted at one time."""

MIN_SIDE = 32
"""Shortest accepted side in pixels: below it there is no dermatoscopic structure left to see."""

MAX_RATIO = 20
"""Longest accepted side in times of the shorter: a strip shows no lesion and has huge maps."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the turn that makes the image upright (EXIF 2.32, tag 0x0112)."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Formats that files are read as.

Pillow knows more, some of which (EPS) start other programs on what was uploaded.
"""


def to_rgb(image: ImageInput) -> Image.Image:
    """Turn any accepted input into an upright 8-bit RGB image.

    Accepts a path, the bytes of an image file, a PIL image, or a uint8 array of shape (H, W, 3) in
    RGB order or (H, W) in grey. EXIF orientation is applied; CMYK, palette, grey and 16-bit images
    are converted; transparent pixels are laid over white; more than `LARGE` pixels are reduced to a
    sixteenth. Raises ImageError, naming what came, for everything else: unreadable or truncated
    files, animations, NaN arrays, images that are too small, large or narrow, and files made to
    keep a decoder busy.
    """
    if isinstance(image, np.ndarray):
        return _checked_size(_from_array(image), "the array")
    if isinstance(image, Image.Image):
        return _decode(image, "the image").rgb
    return open_file(image).decode().rgb


def open_file(image: str | os.PathLike[str] | bytes) -> ImageFile:
    """Read an image file, given by its path or its bytes, without decoding it.

    Raises ImageError for anything else, and for a file that can't be opened, is too long, or is
    known by its structure to be no usable image.
    """
    if isinstance(image, bytes | bytearray):
        return ImageFile(bytes(image), "the uploaded data")
    if not isinstance(image, str | os.PathLike):
        raise ImageError(
            "Expected a path, the bytes of an image file, a PIL image or a uint8 array, got "
            f"{type(image).__name__}."
        )
    path = Path(image)
    # Opening a pipe would wait for somebody to write into it. os.path raises nothing, whatever the
    # name is.
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):  # noqa: PTH110, PTH112, PTH113
        raise ImageError(f"{path} is a pipe or a device, expected an image file.")
    try:
        stream = path.open("rb")
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, expected an image file.") from None
    except FileNotFoundError:
        raise ImageError(f"There is no file {path}.") from None
    # ValueError: a null byte in the name.
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{str(path)!r} can't be opened: {getattr(error, 'strerror', None) or error}."
        ) from None
    with stream:
        content = stream.read(MAX_BYTES + 1)
    return ImageFile(content, str(path))


@dataclass(frozen=True)
class Decoded:
    """A decoded picture `rgb`, and the (width, height) that `to_rgb` would give it."""

    rgb: Image.Image
    size: tuple[int, int]


class ImageFile:
    """An image file in memory, whose content may be decoded several times, at several scales.

    `name` is its name in messages, and `compressed` "JPEG" or "WebP" for one that is compressed
    strongly (`containers.compression`), else "". Raises ImageError for bytes whose structure shows
    that they are no usable image; all other errors come with the decoding.
    """

    def __init__(self, content: bytes, name: str) -> None:
        if not content:
            raise ImageError(f"{name} is empty (0 bytes), expected an image file.")
        if len(content) > MAX_BYTES:
            raise ImageError(
                f"{name} has more than the {MAX_BYTES // 1_000_000} MB that are accepted; scale "
                "the image down or save it as JPEG."
            )
        try:
            still = first_still(content)
        except RefusedError as error:
            raise ImageError(f"{name} {error}") from None
        if still is None:
            raise ImageError(refusal(content, name))
        self.compressed = still.compressed
        self._name = name
        self._still = still
        self._head = content[:HEAD]

    @property
    def divides(self) -> bool:
        """True where the decoder divides width and height by itself, faster than it decodes all."""
        return self._still.content.startswith(DIVIDED)

    def decode(self, least: int = 0) -> Decoded:
        """Decode the picture, upright and in RGB.

        With `least`, width and height may be divided by a whole number, the largest that leaves at
        least `least` pixels to the short side. Raises ImageError as `to_rgb` does.
        """
        if not self._is_whole:
            raise ImageError(f"{self._name} {DAMAGED}")
        return _turned(self._pixels(self._still.content, least), self._still.orientation)

    @cached_property
    def _is_whole(self) -> bool:
        """False for a file without its end of which pixels depend on what stands there."""
        versions = ((self._still.equal, True), (self._still.unequal, False))
        if not any(content for content, _ in versions):
            return True
        whole = np.asarray(self._pixels(self._still.content).rgb)
        return all(
            np.array_equal(np.asarray(self._pixels(content).rgb), whole) is same
            for content, same in versions
            if content
        )

    def _pixels(self, content: bytes, least: int = 0) -> Decoded:
        """Decode a file of pixels alone, without its turn."""
        try:
            with warnings.catch_warnings():
                # Pillow warns about sizes, which are checked before any decoding.
                warnings.simplefilter("ignore")
                opener = self._still.opener or _open
                with opener(content) as image:
                    return _decode(image, self._name, ours=True, least=least)
        except RefusedError as error:
            raise ImageError(f"{self._name} {error}") from None
        except UnidentifiedImageError:
            kind = self._still.kind
            raise ImageError(
                f"{self._name} is {kind}." if kind else refusal(self._head, self._name)
            ) from None
        except Image.DecompressionBombError:
            raise ImageError(_too_large(self._name)) from None
        except ImageError:
            raise
        # Pillow's readers raise many kinds of error on damaged data (OSError, TypeError,
        # SyntaxError, struct.error, ...).
        except Exception:
            raise ImageError(f"{self._name} {DAMAGED}") from None


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    """Convert an array (H, W, 3) or (H, W) of uint8; raises ImageError for any other."""
    if array.dtype != np.uint8:
        raise ImageError(
            f"Expected an array of uint8 values 0-255, got {array.dtype}; scale and convert it "
            "first."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or array.size == 0:
        raise ImageError(f"Expected an array of shape (H, W, 3), got {array.shape}.")
    return Image.fromarray(array).convert("RGB")


def _decode(image: Image.Image, name: str, ours: bool = False, least: int = 0) -> Decoded:
    """Convert an opened image to upright RGB; see `ImageFile.decode` for `least`.

    `ours`: nobody else holds the image, so it needs no copy.
    """
    _checked_size(image, name)
    _checked_format(image, name)
    try:
        if image.format == "TIFF" and not ours:
            # Pillow turns a TIFF while it loads its pixels, and then no longer states a turn.
            image.load()
        # An MPO is a phone's JPEG with a preview behind it, and a HEIC's tiles count as frames. Any
        # other second frame belongs to an animation.
        if getattr(image, "is_animated", False) and image.format not in ("MPO", "HEIF"):
            raise ImageError(f"{name} {SEVERAL}")
        # Our own files have none, but an AVIF whose decoder only tells its turn.
        turn = 1 if ours and image.format != "AVIF" else image.getexif().get(ORIENTATION, 1)
        width, height = image.size
        large = width * height > LARGE
        size = (-(-width // QUARTER), -(-height // QUARTER)) if large else (width, height)
        _draft(image, divisor(image.size, least))
        if large and image.size == (width, height):
            rgb = _reduced(image)
        elif ours and image.mode == "RGB" and "transparency" not in image.info:
            # A copy would cost half as much as the decoding.
            image.load()
            rgb = image
        else:
            rgb = _in_bands(image)
        rest = divisor(rgb.size, least)
        if rest > 1:
            rgb = rgb.reduce(rest)
        decoded = _turned(Decoded(rgb, size), turn)
        # The file's own metadata (its turn, too) no longer describe this image.
        decoded.rgb.info.clear()
        return decoded
    except ImageError:
        raise
    except Exception:
        raise ImageError(f"{name} {DAMAGED}") from None


def _turned(decoded: Decoded, orientation: int) -> Decoded:
    """Turn a picture upright."""
    turn = TURNS.get(orientation)
    if turn is None:
        return decoded
    # Turns from 5 on swap width and height.
    size = decoded.size[::-1] if orientation >= 5 else decoded.size
    return Decoded(decoded.rgb.transpose(turn), size)


def divisor(size: tuple[int, int], least: int) -> int:
    """Return the largest whole number by which to divide (width, height).

    The short side keeps at least `least` pixels; with 0, nothing is divided.
    """
    return max(min(size) // least, 1) if least else 1


def _draft(image: Image.Image, number: int) -> None:
    """Have the JPEG decoders divide the sides by at most `number`; other formats stay as they are.

    Sides are rounded up.
    """
    # A HEIC would be exchanged for its preview.
    if image.format not in ("JPEG", "MPO", "JPEG2000"):
        return
    for step in DRAFTS:
        if step <= number:
            image.draft(None, (image.width // step, image.height // step))
            return


def _reduced(image: Image.Image) -> Image.Image:
    """Convert a large image to RGB at a quarter of its width and height (rounded up).

    There are never two whole images in memory.
    """
    size = image.size
    # All formats but JPEG leave the size as it is and are reduced band by band.
    _draft(image, QUARTER)
    return _in_bands(image, QUARTER if image.size == size else 1)


def _in_bands(image: Image.Image, step: int = 1) -> Image.Image:
    """Convert an image to RGB band by band; `step` pixels a side become one (rounded up)."""
    highest = _highest(image)
    width, height = image.size
    rgb = Image.new("RGB", (-(-width // step), -(-height // step)))
    for top in range(0, height, BAND):
        band = _flat_rgb(image.crop((0, top, width, min(top + BAND, height))), highest)
        rgb.paste(band if step == 1 else band.reduce(step), (0, top // step))
    return rgb


def _highest(image: Image.Image) -> float:
    """Return the highest grey value of an image of 32-bit pixels, which tells its range.

    0 for an image of any other mode.
    """
    extrema = image.getextrema() if image.mode in ("I", "F") else (0, 0)
    return float(extrema[1])  # type: ignore[arg-type]


def _flat_rgb(image: Image.Image, highest: float) -> Image.Image:
    """Convert any mode to RGB, transparent pixels over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image, highest)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image, highest: float) -> Image.Image:
    """Convert grey of 16 or 32 bits to 8 bits: Pillow's own convert() clips it to white."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise ImageError("The grey values are not finite numbers of at most 16 bits.")
    if image.mode == "F" and highest <= 1:
        raise ImageError(
            "The grey values lie between 0 and 1, expected 0 to 255 or 16 bits; scale them first."
        )
    scale = 257.0 if highest > 255 or image.mode.startswith("I;16") else 1.0
    return Image.fromarray(np.round(values / scale).astype(np.uint8)).convert("RGB")


def _checked_size(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(f"{name} ({width} x {height} pixels)"))
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels, too small to classify: expected at least "
            f"{MIN_SIDE} on each side."
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageError(
            f"{name} is {width} x {height} pixels, too narrow to classify: expected one side to be "
            f"at most {MAX_RATIO} times the other; cut the lesion out first."
        )
    return image


def _checked_format(image: Image.Image, name: str) -> None:
    limit = LESS.get(image.format or "", MAX_PIXELS)
    kind = {"WEBP": "WebP", "HEIF": "HEIC"}.get(image.format or "", image.format)
    if image.format in ("JPEG", "MPO") and "progressive" in image.info:
        limit, kind = jpeg.MOST_HELD, "progressive JPEG"
    if image.width * image.height > limit:
        raise ImageError(
            f"{name} ({image.width} x {image.height} pixels) has more than the "
            f"{limit // 1_000_000} million pixels that are accepted of a {kind}; scale it down "
            "first."
        )


def _too_large(name: str) -> str:
    return (
        f"{name} has more than the {MAX_PIXELS // 1_000_000} million pixels that are accepted; "
        "scale it down first."
    )
