"""The masks of `dermhub.images.lesion` against those that people drew or corrected.

    PYTHONPATH=. python benchmarks/lesion.py --data HAM --masks MASKS [--split test]

MASKS holds `<image_id>_segmentation.png` for each image (Tschandl 2020). Prints, as Markdown, Dice
and IoU for the images of the split, for each diagnosis, and the share where nothing was found; then
that share on pieces of skin without any lesion, one cut from a corner of each image that has such a
corner. Choices were made on validation, none on test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dermhub.arrays import Mask
from dermhub.data import tables
from dermhub.images import lesion as images_lesion
from dermhub.images.decode import to_rgb
from dermhub.release.class_maps import read_mask
from dermhub.tasks import LESION

PIECE = 0.35
"""Share of an image's width and height that a piece of skin has."""

SHADED = 80
"""Brightest channel, 0 to 255, below which a pixel may be hair or the surround, not plain skin."""


def overlap(mask: Mask, true: Mask) -> tuple[float, float]:
    """Dice and IoU of two masks; the second is not empty."""
    both = (mask & true).sum()
    either = (mask | true).sum()
    return 2 * both / (mask.sum() + true.sum()), both / either


def skin(rgb: Image.Image, true: Mask) -> Iterator[Image.Image]:
    """The corners of an image that show skin alone."""
    width = round(rgb.width * PIECE)
    height = round(rgb.height * PIECE)
    for left in (0, rgb.width - width):
        for top in (0, rgb.height - height):
            piece = rgb.crop((left, top, left + width, top + height))
            lesion = true[top : top + height, left : left + width].any()
            if not lesion and np.asarray(piece).max(axis=2).min() > SHADED:
                yield piece


def row(name: str, scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """A line of the table from (N, 3): Dice, IoU, and 1 where a lesion was found."""
    dice, iou, found_any = scores.T
    nothing = 1 - found_any.mean()
    figures = (np.median(dice), dice.mean(), np.median(iou), (dice > 0.7).mean(), nothing)
    return f"| {name} | {len(scores)} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |"


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    options = parser.parse_args()
    table = tables.read_table(options.data, LESION)
    part = table[table["split"] == options.split]
    scores = []
    pieces = []
    seconds = 0.0
    for path, image_id in zip(part["path"], part["image_id"], strict=True):
        rgb = to_rgb(path)
        true = read_mask(options.masks, image_id, rgb.size)
        start = time.perf_counter()
        lesion = images_lesion.find_lesion(rgb)
        seconds += time.perf_counter() - start
        scores.append((*overlap(lesion.over(rgb.size), true), lesion.found))
        corner = next(skin(rgb, true), None)
        if corner is not None:
            pieces.append(images_lesion.find_lesion(corner).found)
    measured = np.array(scores, float)
    dx = part["dx"].to_numpy(str)
    print(f"{options.split}; {1000 * seconds / len(part):.1f} ms an image\n")
    print("| images | n | median Dice | mean Dice | median IoU | Dice above 0.7 | nothing found |")
    print("|---|---|---|---|---|---|---|")
    print(row("all", measured))
    for name in sorted(set(dx)):
        print(row(name, measured[dx == name]))
    print(
        f"\nOf {len(pieces)} pieces of skin without a lesion, {1 - np.mean(pieces):.3f} have none "
        "found in them."
    )


if __name__ == "__main__":
    main()
