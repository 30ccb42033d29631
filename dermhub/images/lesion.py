"""Segmentation of the pigmented lesion in a dermatoscopic image, without a model.

Other checks rest on it: whether an image shows a lesion at all, and whether a heat map lies on the
lesion. The steps, on a copy of at most 64 x 64 pixels:

1. Set the dark surround aside that some dermatoscopes leave at the corners.
2. Smooth the blue channel, in which pigment is darkest, by a median (Celebi et al., "Lesion border
   detection in dermoscopy images", Comput Med Imaging Graph 33, 2009, review such methods).
3. Subtract uneven light: a quadratic surface through the pixels of the skin.
4. Tell skin from lesion by Otsu's threshold (IEEE Trans Syst Man Cybern 9, 1979).
5. Keep the dark part with the most weight near the centre, and fill its holes.
6. Where it is hardly darker than the skin, search green and red in the same way: a blue-grey
   melanoma may be as light as its skin in blue, and a pale carcinoma stands out in green. Of the
   114 training and validation images without a lesion in blue, this finds one in 58, with a median
   Dice of 0.77.

All choices were made on the masks of the validation images of HAM10000 (Tschandl, Rinner, Apalla et
al., Nature Medicine 26, 2020); `benchmarks/lesion.py` reports the test images. Lesions paler than
the skin, and lesions that fill the image, are found badly. Every step is in integers or rounded, so
that all machines find the same pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Floats64, Mask

SIDE = 64
"""Longest side, in pixels, of the copy that is searched: with 80 the masks were no better."""

DARK = 60
"""Brightest channel, 0 to 255, below which a pixel connected to the border is the surround."""

BETWEEN = 0.75
"""Edge of the lesion, between the median of its pixels (0) and that of the skin (1)."""

SPREAD = 0.125
"""Standard deviation of the centre's weight when dark parts compete, as a share of each side."""

CONTRAST = 0.078
"""The least a lesion is darker than the skin, as a share of the skin's level in that channel.

99.1 % of the validation images have more in blue alone; of 658 pieces of their skin without any
lesion, 79.3 % have less in blue, and 75.8 % in each channel.
"""

FEWEST = 50
"""Pixels that must lie outside the surround for a search."""

BINS = 256
"""Number of levels that Otsu's method tells apart."""

ROUNDED = 4
"""Steps per grey level: levels are rounded to them, so that the order of sums does not matter."""


@dataclass(frozen=True)
class Lesion:
    """A lesion's mask over a small copy of the image.

    `small` (h, w) is the mask, `surround` (h, w) the dark rim around the view. `contrast`, 0 to 1,
    says how much darker the lesion is than the skin, as a share of the skin's level in the channel
    in which it was found.
    """

    small: Mask
    surround: Mask
    contrast: float
    _kept: dict[Any, Mask] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def found(self) -> bool:
        """True where something like a lesion was found."""
        return self.contrast >= CONTRAST

    def over(
        self, size: tuple[int, int], box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    ) -> Mask:
        """The mask (height, width) for a picture of that (width, height).

        The picture shows the part `box` (left, top, right, bottom) of the image, in shares of its
        sides. All False where nothing was found. It is kept, for the many maps of an answer, and
        can't be written into.
        """
        if (size, box) not in self._kept:
            height, width = self.small.shape
            place = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
            levels = Image.fromarray(self.small.astype(np.uint8) * 255)
            scaled = np.asarray(levels.resize(size, Image.Resampling.BILINEAR, box=place))
            mask = (scaled > 127) & self.found
            mask.flags.writeable = False
            self._kept[size, box] = mask
        return self._kept[size, box]


def find_lesion(rgb: Image.Image) -> Lesion:
    """Find the central lesion of an upright RGB image.

    Takes a millisecond, once the image is small.
    """
    return segment(thumbnail(rgb))


def segment(pixels: NDArray[np.uint8]) -> Lesion:
    """Find the central lesion in an image that `thumbnail` made, (h, w, 3) uint8."""
    red, green, blue = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    surround = flood_fill(_border(blue.shape), np.maximum(np.maximum(red, green), blue) < DARK)
    # Its edge is neither dark nor skin.
    valid = ~_widened(_widened(surround))
    if valid.sum() < FEWEST:
        return Lesion(np.zeros_like(surround), surround, 0.0)
    lesion = _search(blue, surround, valid)
    if lesion.found:
        return lesion
    others = (_search(channel, surround, valid) for channel in (green, red))
    return max((lesion, *others), key=lambda each: each.contrast)


def thumbnail(rgb: Image.Image) -> NDArray[np.uint8]:
    """Shrink an RGB image to at most `SIDE` pixels a side, without fine hair: (h, w, 3) uint8."""
    scale = SIDE / max(rgb.size)
    size = (max(round(rgb.width * scale), 3), max(round(rgb.height * scale), 3))
    return median(np.asarray(rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)))


def median(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median of each pixel and its eight neighbours, for each channel of (h, w, 3).

    At the border, the outermost pixels stand for those beyond.
    """
    # Pillow's filter gives the same in ten times the time: it sorts nine values for each pixel.
    # Here three neighbours in a column are sorted, for all pixels at once. The median of nine is
    # the middle one of the largest lower, the middle middle and the smallest upper of three such
    # columns (Paeth, "Median finding on a 3 x 3 grid", Graphics Gems, 1990).
    height, width, channels = pixels.shape
    padded = np.empty((height + 2, width + 2, channels), np.uint8)
    padded[1:-1, 1:-1] = pixels
    padded[0], padded[-1] = padded[1], padded[-2]
    padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    above, level, below = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(above, below), np.maximum(above, below)
    lower, upper = np.minimum(low, level), np.maximum(high, level)
    middle = np.maximum(low, np.minimum(high, level))
    return _middle(
        np.maximum(np.maximum(lower[:, :-2], lower[:, 1:-1]), lower[:, 2:]),
        _middle(middle[:, :-2], middle[:, 1:-1], middle[:, 2:]),
        np.minimum(np.minimum(upper[:, :-2], upper[:, 1:-1]), upper[:, 2:]),
    )


def _middle(
    first: NDArray[np.uint8], second: NDArray[np.uint8], third: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return the middle one of three values, for each place of three arrays."""
    return np.maximum(np.minimum(first, second), np.minimum(np.maximum(first, second), third))


def flood_fill(seed: Mask, within: Mask) -> Mask:
    """Return the pixels of `within` (h, w) that are connected to `seed` by their four sides."""
    # The mask is one long integer, so that a step in all directions is five shifts and costs a
    # microsecond. An empty column keeps the end of a row apart from the start of the next.
    row = within.shape[1] + 1
    allowed = _bits(within)
    reached = _bits(seed & within)
    if not reached:
        return np.zeros_like(within)
    while True:
        wider = (reached | reached << 1 | reached >> 1 | reached << row | reached >> row) & allowed
        if wider == reached:
            return _mask(reached, within.shape)
        reached = wider


def otsu(values: Floats64) -> float:
    """Return the threshold with the largest variance between the two classes (Otsu 1979)."""
    lowest = values.min()
    width = (values.max() - lowest) / BINS or 1.0
    # np.histogram takes three times as long: it checks every edge.
    bins = np.minimum(((values - lowest) / width).astype(np.intp), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    below = counts.cumsum()[:-1]
    above = counts.sum() - below
    # Where the middles of the bins lie, and how far apart, changes no maximum.
    sums = (counts * np.arange(BINS)).cumsum()
    variance = (sums[:-1] * float(counts.sum()) - sums[-1] * below) ** 2 / np.maximum(
        below * above, 1
    )
    return float(lowest + (variance.argmax() + 1) * width)


def _search(channel: NDArray[np.uint8], surround: Mask, valid: Mask) -> Lesion:
    """Search the pixels `valid` (h, w) of one channel (h, w) for the central dark part."""
    even = _evenly_lit(channel.astype(np.float64), valid)
    levels = even[valid]
    if levels.max() - levels.min() < 1:
        return Lesion(np.zeros_like(surround), surround, 0.0)
    limit = otsu(levels)
    dark, light = _median(levels[levels <= limit]), _median(levels[levels > limit])
    mask = _central((even <= dark + (light - dark) * BETWEEN) & valid)
    mask = ~flood_fill(_border(mask.shape), ~mask)
    return Lesion(mask, surround, _contrast(channel, even, mask, valid & ~mask))


def _evenly_lit(values: Floats64, valid: Mask) -> Floats64:
    """Subtract the light on the skin from values (h, w).

    The light is a quadratic surface through the lighter pixels, fitted in two rounds.
    """
    terms = _quadratic(values.shape)
    for _ in range(2):
        skin = valid & (values > otsu(values[valid]))
        of_skin = terms * skin.reshape(-1)
        # A little of the identity: a handful of pixels does not determine a surface.
        normal = of_skin @ terms.T + 1e-3 * np.eye(6)
        weights = np.linalg.solve(normal, of_skin @ values.reshape(-1))
        values = np.round((values - (weights @ terms).reshape(values.shape)) * ROUNDED) / ROUNDED
    return values


@functools.lru_cache(maxsize=16)
def _quadratic(shape: tuple[int, int]) -> Floats64:
    """Return the terms of a quadratic surface, (6, h * w); shared, so nobody writes into it."""
    height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y]).reshape(6, -1)


def _central(mask: Mask) -> Mask:
    """Return the connected part of a mask (h, w) with the most weight near the centre."""
    weight = _centre(mask.shape)
    best = np.zeros_like(mask)
    most = 0.0
    rest = mask
    # Take part after part, from the pixel nearest to the centre on, until what is left weighs less
    # than the best part.
    while (left := (weight * rest).sum()) > most:
        part = flood_fill(_heaviest(weight * rest), rest)
        rest = rest & ~part
        held = float((weight * part).sum())
        if held > most:
            best, most = part, held
        if left - held <= most:
            break
    return best


@functools.lru_cache(maxsize=16)
def _border(shape: tuple[int, int]) -> Mask:
    """Return the mask (h, w) of the outermost pixels; shared, so nobody writes into it."""
    border = np.ones(shape, bool)
    border[1:-1, 1:-1] = False
    return border


@functools.lru_cache(maxsize=16)
def _centre(shape: tuple[int, int]) -> Floats64:
    """Return how near the centre each pixel is, (h, w); shared, so nobody writes into it."""
    down, across = ((np.arange(n) - (n - 1) / 2) / n / SPREAD for n in shape)
    return np.asarray(np.exp(-(down[:, None] ** 2 + across**2) / 2))


def _heaviest(weight: Floats64) -> Mask:
    """Return a mask (h, w) of the pixel with the most weight alone."""
    seed = np.zeros(weight.shape, bool)
    seed.flat[weight.argmax()] = True
    return seed


def _bits(mask: Mask) -> int:
    """Pack a mask (h, w) into an integer, row after row, with an empty column on the right."""
    # np.pad would take three times as long as all the rest.
    padded = np.zeros((mask.shape[0], mask.shape[1] + 1), bool)
    padded[:, :-1] = mask
    return int.from_bytes(bytes(np.packbits(padded, bitorder="little")), "little")


def _mask(bits: int, shape: tuple[int, int]) -> Mask:
    """Unpack the mask (h, w) that `_bits` packed."""
    height, row = shape[0], shape[1] + 1
    count = height * row
    content = np.asarray(memoryview(bits.to_bytes(-(-count // 8), "little")))
    pixels = np.unpackbits(content, count=count, bitorder="little").view(bool)
    return pixels.reshape(height, row)[:, :-1].copy()


def _widened(mask: Mask) -> Mask:
    """Widen a mask (h, w) by all neighbours of its four sides."""
    wide = mask.copy()
    wide[1:] |= mask[:-1]
    wide[:-1] |= mask[1:]
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide


def _contrast(channel: NDArray[np.uint8], even: Floats64, mask: Mask, skin: Mask) -> float:
    """Return how much darker the lesion is than the skin, as a share of the skin's level."""
    if not mask.any() or not skin.any():
        return 0.0
    darker = _median(even[skin]) - _median(even[mask])
    return min(max(darker / max(_median(channel[skin]), 1.0), 0.0), 1.0)


def _median(values: NDArray[Any]) -> float:
    """Return the median of (N,) values, as np.median does in three times the time."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    below, above = np.partition(values, [half - 1, half])[half - 1 : half + 1]
    return (float(below) + float(above)) / 2
