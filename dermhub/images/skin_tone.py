"""Skin tone of a dermatoscopic image, as far as its rim shows it.

It is the individual typology angle, ITA = arctan((L* - 50) / b*) in degrees (Chardon,
Cretois and Hourseau, "Skin colour typology and suntanning pathways", Int J Cosmet Sci 13, 1991), in
its usual six bands (Del Bino et al., Pigment Cell Res 19, 2006). It was made for a colorimeter on
clean skin. The light, the contact fluid and the white balance of a dermatoscope shift it by whole
bands, so it gives counts with a caveat and never a fact about a person.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Floats64

RIM = 0.1
"""Share of height and width, on each side, that counts as skin: lesions lie in the middle."""

DARK = 40
"""Brightest channel below which a pixel is the tube's shadow or a hair; black skin has more."""

FEWEST_PIXELS = 100
"""Skin pixels below which an image says nothing about skin tone."""


def ita(rgb: Image.Image) -> float | None:
    """The individual typology angle, -90 to 90 degrees, of an RGB image's rim.

    None if the rim shows no skin, or is bluish (b* not above 0), as no skin is: then the light
    decides, not the skin.
    """
    pixels = np.asarray(rgb)
    height, width = pixels.shape[:2]
    rim_width = max(round(RIM * width), 1)
    rim_height = max(round(RIM * height), 1)
    rim = np.ones((height, width), bool)
    rim[rim_height:-rim_height, rim_width:-rim_width] = False
    skin = pixels[rim & (pixels.max(axis=2) >= DARK)]
    if len(skin) < FEWEST_PIXELS:
        return None
    # The median of all of them leaves hair, ruler marks and the lesion's edge aside.
    median = np.median(skin, axis=0).astype(float)
    lightness, _, yellow = to_lab(median[None])[0]
    if yellow <= 0:
        return None
    return float(np.degrees(np.arctan((lightness - 50) / yellow)))


def to_lab(rgb: NDArray[Any]) -> Floats64:
    """Convert (N, 3) sRGB values from 0 to 255 to CIE L*, a*, b* (N, 3) under D65.

    IEC 61966-2-1; CIE 15:2004, section 8.
    """
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    # Divided by the XYZ of white, so that grey has exactly a* = b* = 0.
    xyz = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
