"""Skin tone and sharpness of a dermatoscopic image, as far as pixels tell: to know what a test set holds.

Skin tone is the individual typology angle, ITA = arctan((L* - 50) / b*) in degrees (Chardon, Cretois and Hourseau,
"Skin colour typology and suntanning pathways", Int J Cosmet Sci 13, 1991), in its usual six bands (Del Bino et al.,
Pigment Cell Res 19, 2006). It was made for a colorimeter on clean skin. The light, the contact fluid and the white
balance of a dermatoscope shift it by whole bands, so it gives counts with a caveat and never a fact about a person.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.metrics import Floats

BANDS = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -np.inf}
"""Degrees above which an angle is in the band, from light to dark."""

RIM = 0.1
"""Share of the height and width, on each side, whose pixels are taken for skin: lesions are in the middle."""

DARK = 40
"""A pixel whose brightest channel is below this is the tube's shadow or a hair; black skin reflects more."""

FEWEST = 100
"""Skin pixels below which an image tells nothing."""

SIDE = 150
"""Sharpness is measured on a square of this side, so that it does not depend on the file's size alone."""


def ita(rgb: Image.Image) -> float | None:
    """The individual typology angle, -90 to 90 degrees, of an RGB image's rim.

    None if the rim shows no skin, or is bluish (b* not above 0), as no skin is: then the light decides, not the skin.
    """
    pixels = np.asarray(rgb)
    height, width = pixels.shape[:2]
    across, down = max(round(RIM * width), 1), max(round(RIM * height), 1)
    rim = np.ones((height, width), bool)
    rim[down:-down, across:-across] = False
    skin = pixels[rim & (pixels.max(axis=2) >= DARK)]
    if len(skin) < FEWEST:
        return None
    # The median of all of them leaves hair, ruler marks and the lesion's edge aside.
    lightness, _, yellow = to_lab(np.median(skin, axis=0)[None].astype(float))[0]
    return float(np.degrees(np.arctan((lightness - 50) / yellow))) if yellow > 0 else None


def bands(angles: Floats) -> dict[str, int]:
    """Number of angles in each band, from light to dark, and of those that are not known (NaN)."""
    known = angles[np.isfinite(angles)]
    counts, above = {}, np.inf
    for name, least in BANDS.items():
        counts[name] = int(((known > least) & (known <= above)).sum())
        above = least
    return counts | {"unknown": int(len(angles) - len(known))}


def sharpness(rgb: Image.Image) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000) of the grey central square, at `SIDE` pixels."""
    width, height = rgb.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    grey = np.asarray(rgb.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), np.float64)
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var())


def to_lab(rgb: NDArray[Any]) -> Floats:
    """(N, 3) sRGB values from 0 to 255 -> CIE L*, a*, b* (N, 3) under D65 (IEC 61966-2-1; CIE 15:2004, section 8)."""
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    # Divided by what white gives, so that grey has exactly a* = b* = 0.
    xyz = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
