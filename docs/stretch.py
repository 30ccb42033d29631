"""Undo the squashing of a folder of images, and give them the resolution of another.

    python docs/stretch.py SQUASHED OUT --size 200 150

SQUASHED holds square images of whole 4:3 frames and a labels.csv (image_id, dx). OUT gets the
images with that width and height as JPEG, and the table. The size is that of the other training
images, so that sharpness does not tell where an image is from.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image


def main() -> None:
    """Read the options, and write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("squashed", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--size", type=int, nargs=2, default=(200, 150), metavar=("WIDTH", "HEIGHT")
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    shutil.copy(options.squashed / "labels.csv", options.out / "labels.csv")
    for path in sorted(options.squashed.rglob("*.jpg")):
        squashed = Image.open(path).convert("RGB")
        image = squashed.resize(tuple(options.size), Image.Resampling.LANCZOS)
        image.save(options.out / f"{path.stem}.jpg", quality=94)


if __name__ == "__main__":
    main()
