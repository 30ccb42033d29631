"""Copy a folder of images, with the colour of the light removed (colour constancy).

    python docs/constancy.py HAM OUT

OUT gets every image as PNG under its name, and the table. The light's colour is taken from the
image itself, as the Minkowski mean of each channel with exponent 6 (Shades of Gray: Finlayson &
Trezzi 2004, section 3), and divided out.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

EXPONENT = 6
"""Exponent of the Minkowski mean."""


def main() -> None:
    """Read the options, and write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    for path in options.images.glob("*metadata.csv"):
        shutil.copy(path, options.out / path.name)
    for path in sorted(options.images.rglob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"), float)
        light = (pixels**EXPONENT).mean(axis=(0, 1)) ** (1 / EXPONENT)
        white = pixels * (light.mean() / np.maximum(light, 1))
        copy = Image.fromarray(np.clip(white, 0, 255).round().astype(np.uint8))
        copy.save(options.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
