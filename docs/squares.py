"""Cut the central squares of a folder's images or masks.

    python docs/squares.py HAM10000_images HAM/images --side 256
    python docs/squares.py MASKS SQUARE-MASKS

The first makes a copy of HAM10000 that takes little room and has what a model at 224 pixels sees:
JPEG files of 256 x 256 pixels, quality 75. The second gives masks the same frame, which `measure
--masks` asks for: PNG files stay PNG, at their own size. All files of the folder and of those below
it are read, and OUT must not exist.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

QUALITY = 75
"""Quality of the JPEG files."""


def main() -> None:
    """Read the options, and write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=0, help="pixels; 0: as large as they are")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    for path in sorted(options.folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            continue
        with Image.open(path) as image:
            square(image, options.side).save(options.out / path.name, quality=QUALITY)


def square(image: Image.Image, side: int) -> Image.Image:
    """Cut the central square of an image, and scale it to `side` pixels (0: not)."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    cut = image.crop((left, top, left + short, top + short))
    return cut.resize((side, side), Image.Resampling.LANCZOS) if side else cut


if __name__ == "__main__":
    main()
