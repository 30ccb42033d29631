"""Any image -> RGB -> array. `Classifier.predict` and the evaluation in training both call this.

The result is the same to the bit on little- and big-endian machines: Pillow resamples in 8-bit
integers, and the normalisation is elementwise float32.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dermhub.config import InputSpec
from dermhub.errors import ImageError
from dermhub.signatures import HEAD, name_of

ImageInput = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""Largest accepted image; above every phone camera's default, below what could exhaust a server."""

MIN_SIDE = 32
"""Shortest accepted side in pixels: below it there is no dermatoscopic structure left to see."""

MAX_RATIO = 20
"""Longest accepted side as a multiple of the shorter: a strip shows no lesion, and its maps would be huge."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What files are read as. Pillow knows more, some of which (EPS) start other programs on what was uploaded."""


def to_rgb(image: ImageInput) -> Image.Image:
    """Turn any accepted input into an upright 8-bit RGB image.

    Accepts a path, the bytes of an image file, a PIL image, or a uint8 array of shape (H, W, 3) in
    RGB order or (H, W) in grey. EXIF orientation is applied; CMYK, palette, grey and 16-bit images are converted;
    transparent pixels are laid over white. Raises ImageError, naming what came, for everything
    else: unreadable or truncated files, animations, NaN arrays, images that are too small, large or narrow.
    """
    if isinstance(image, np.ndarray):
        return _checked_size(_from_array(image), "the array")
    if isinstance(image, Image.Image):
        return _decode(image, "the image")
    if isinstance(image, bytes | bytearray):
        return _open(io.BytesIO(image), "the uploaded data", len(image))
    if not isinstance(image, str | os.PathLike):
        raise ImageError(
            f"Expected a path, the bytes of an image file, a PIL image or a uint8 array, got {type(image).__name__}."
        )
    path = Path(image)
    try:
        stream = path.open("rb")
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, expected an image file.") from None
    except FileNotFoundError:
        raise ImageError(f"There is no file {path}.") from None
    # ValueError: a null byte in the name.
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(path)!r} can't be opened: {getattr(error, 'strerror', None) or error}.") from None
    with stream:
        return _open(stream, str(path), os.fstat(stream.fileno()).st_size)


def to_array(rgb: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """Scale, crop and normalise an RGB image to a float32 array of shape (3, size, size)."""
    pixels = np.asarray(rgb.resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=view_box(rgb.size, spec)))
    return normalise(pixels, spec)


def view_box(size: tuple[int, int], spec: InputSpec) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom), in pixels, of a (width, height) image that a model sees."""
    width, height = size
    if spec.crop_mode == "squash":
        return (0.0, 0.0, float(width), float(height))
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def normalise(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """uint8 (H, W, 3) in RGB order -> float32 (3, H, W), minus mean, divided by std."""
    values = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
    mean = np.array(spec.mean, np.float32)[:, None, None]
    std = np.array(spec.std, np.float32)[:, None, None]
    return np.asarray((values - mean) / std)


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(f"Expected an array of uint8 values 0-255, got {array.dtype}; scale and convert it first.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or array.size == 0:
        raise ImageError(f"Expected an array of shape (H, W, 3), got {array.shape}.")
    return Image.fromarray(array).convert("RGB")


def _open(stream: IO[bytes], name: str, length: int) -> Image.Image:
    if length == 0:
        raise ImageError(f"{name} is empty (0 bytes), expected an image file.")
    try:
        with warnings.catch_warnings():
            # Pillow warns about sizes and odd metadata; the size is checked below, before any decoding.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=FORMATS) as image:
                return _decode(image, name)
    except UnidentifiedImageError:
        raise ImageError(_unreadable(stream, name)) from None
    except Image.DecompressionBombError:
        raise ImageError(_too_large(name)) from None
    except ImageError:
        raise
    # Pillow's readers raise many kinds of error on damaged data (OSError, TypeError, SyntaxError, struct.error, ...).
    except Exception as error:
        raise ImageError(_damaged(name, error)) from None


def _decode(image: Image.Image, name: str) -> Image.Image:
    _checked_size(image, name)
    try:
        frames = getattr(image, "n_frames", 1)
        # An MPO is a phone's JPEG with a preview behind it; every other second frame is an animation.
        if frames > 1 and image.format != "MPO":
            raise ImageError(f"{name} is an animation or a stack of {frames} frames, expected one still image.")
        return _flat_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(_damaged(name, error)) from None


def _flat_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    # Pillow's own convert() clips 16-bit grey to white; the high byte is the 8-bit image.
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise ImageError("The grey values are not finite numbers of at most 16 bits.")
    if image.mode == "F" and values.max() <= 1:
        raise ImageError("The grey values lie between 0 and 1, expected 0 to 255 or 16 bits; scale them first.")
    scale = 257.0 if values.max() > 255 or image.mode.startswith("I;16") else 1.0
    return Image.fromarray(np.round(values / scale).astype(np.uint8)).convert("RGB")


def _checked_size(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(f"{name} ({width} x {height} pixels)"))
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels, too small to classify: expected at least {MIN_SIDE} on each side."
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageError(
            f"{name} is {width} x {height} pixels, too narrow to classify: expected one side to be at most "
            f"{MAX_RATIO} times the other; cut the lesion out first."
        )
    return image


def _unreadable(stream: IO[bytes], name: str) -> str:
    stream.seek(0)
    what = name_of(stream.read(HEAD))
    if not what:
        return f"{name} is not an image that can be read; expected JPEG, PNG, WebP, TIFF or BMP."
    return f"{name} is {what}; expected an image as JPEG, PNG, WebP, TIFF or BMP."


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is damaged or cut short and can't be decoded ({error})."


def _too_large(name: str) -> str:
    return f"{name} has more than the {MAX_PIXELS // 1_000_000} million pixels that are accepted; scale it down first."
