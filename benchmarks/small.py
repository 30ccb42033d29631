"""Answers to small images; `dermhub.images.quality.SHORT` was chosen by them.

    PYTHONPATH=. python benchmarks/small.py --data HAM [--model model_cards/lesion]
        [--split validation]

Prints, as Markdown, for the images of the split scaled to each short side: the share whose most
probable class is another one than for the image as it is, the accuracy, and the AUROC of
malignancy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.images.decode import to_rgb
from dermhub.models import prediction
from dermhub.models.classifier import Classifier

SHORTS = (112, 96, 80, 64, 48, 32)
"""Short sides in pixels."""

BATCH = 32


def scaled(rgb: Image.Image, short: int) -> Image.Image:
    """An image with that many pixels on its short side."""
    factor = short / min(rgb.size)
    size = (round(rgb.width * factor), round(rgb.height * factor))
    return rgb.resize(size, Image.Resampling.BICUBIC)


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("model_cards/lesion"))
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    options = parser.parse_args()
    saved = Classifier(options.model)
    table = tables.read_table(options.data, saved.config.task)
    part = table[table["split"] == options.split]
    images = [to_rgb(path) for path in part["path"]]
    truth = tables.targets(part, saved.config.task)
    print(f"{options.split}, {len(images)} images, {saved.name}\n")
    print("| short side | another class | accuracy | AUROC of malignancy |\n|---|---|---|---|")
    first = None
    for short in (None, *SHORTS):
        views = images if short is None else [scaled(rgb, short) for rgb in images]
        logits = [
            saved.logits(views[start : start + BATCH]) for start in range(0, len(views), BATCH)
        ]
        probabilities = prediction.calibrated(np.concatenate(logits), saved.config)
        summary = metrics.summarize(probabilities, truth, saved.config.task)
        called = probabilities.argmax(axis=1)
        first = called if first is None else first
        print(
            f"| {short or 'as they are'} | {(called != first).mean():.3f} | "
            f"{summary['accuracy']:.3f} | {summary['malignancy_auroc']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
