"""Warnings of `dermhub.images.quality` for images as they are, and for damaged ones.

    PYTHONPATH=. python benchmarks/quality.py --data HAM [--split test]
        [--others NAME=FOLDER ...] [--every 1]

Prints, as Markdown, the share of images with each concern: for the images of the split as they are,
for each folder of others, and for the images of the split blurred, darker and brighter. A blur of s
is a Gaussian whose standard deviation is s pixels when the short side has 150. Limits were set on
validation, none on test.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

from dermhub.data import image_files, tables
from dermhub.images import quality
from dermhub.images.decode import to_rgb
from dermhub.tasks import LESION

CODES = ("too-small", "blurred", "too-dark", "too-bright", "vignette", "no-lesion")

Damage = Callable[[Image.Image], Image.Image]


def blur(deviation: float) -> Damage:
    """A Gaussian blur, in pixels of an image with a short side of 150."""
    return lambda rgb: rgb.filter(ImageFilter.GaussianBlur(deviation * min(rgb.size) / 150))


def exposure(factor: float) -> Damage:
    """All channels times a factor, clipped at white."""
    return lambda rgb: ImageEnhance.Brightness(rgb).enhance(factor)


def scaled(short: int) -> Damage:
    """The image with that many pixels on its short side."""

    def scale(rgb: Image.Image) -> Image.Image:
        """Scale an image."""
        width = round(rgb.width * short / min(rgb.size))
        height = round(rgb.height * short / min(rgb.size))
        return rgb.resize((width, height))

    return scale


DAMAGES = {
    **{f"blurred by {width}": blur(width) for width in (0.7, 1, 1.5, 2)},
    **{f"exposure x {n}": exposure(n) for n in (0.25, 0.35, 0.5, 0.7, 1.4, 1.7, 2, 2.5)},
    **{f"short side {side}": scaled(side) for side in (600, 300, 100, 80)},
}


def row(name: str, images: Iterable[Image.Image]) -> str:
    """A line of the table."""
    counts = Counter[str]()
    total = 0
    for rgb in images:
        codes = [concern.code for concern in quality.judge(quality.measure(rgb))]
        counts.update([*codes, *(["any"] if codes else [])])
        total += 1
    shares = " | ".join(f"{counts[code] / total:.3f}" for code in (*CODES, "any"))
    return f"| {name} | {total} | {shares} |"


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--every", type=int, default=1, help="damage only every n-th image")
    options = parser.parse_args()
    table = tables.read_table(options.data, LESION)
    part = table[table["split"] == options.split]
    paths = list(part["path"])
    print(f"| images | n | {' | '.join(CODES)} | any |\n|---|---|{'---|' * (len(CODES) + 1)}")
    print(row(options.split, map(to_rgb, paths)), flush=True)
    for dx in sorted(set(part["dx"])):
        images = map(to_rgb, part["path"][part["dx"] == dx])
        print(row(f"{options.split}, {dx}", images), flush=True)
    for named in options.others:
        name, folder = named.split("=", 1)
        print(row(name, map(to_rgb, image_files.find(Path(folder)))), flush=True)
    for name, damage in DAMAGES.items():
        damaged = (damage(to_rgb(path)) for path in paths[:: options.every])
        print(row(f"{options.split}, {name}", damaged), flush=True)


if __name__ == "__main__":
    main()
