"""Test for a shortcut: does a model take the look of its further images for melanoma?

    PYTHONPATH=. python benchmarks/source.py MODEL --data HAM [--split test]

A model may have learnt from further images, which are rich in melanomas (train.py --extra). The
images of the split are treated as those were (squashed to a square of 180 pixels, stretched back,
JPEG), and read again. Prints, as Markdown, the change of the answers. A model that had learnt the
source would call them malignant more often.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.images.decode import to_rgb
from dermhub.models import prediction
from dermhub.models.classifier import Classifier

BATCH = 32

SQUASHED = 180
"""Side of the square, in pixels."""

QUALITY = 94
"""Quality of the JPEG."""


def treated(rgb: Image.Image) -> Image.Image:
    """An image with the look of the further ones: squashed to a square, and stretched again."""
    squashed = _jpeg(rgb.resize((SQUASHED, SQUASHED), Image.Resampling.LANCZOS))
    return _jpeg(squashed.resize(rgb.size, Image.Resampling.LANCZOS))


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    options = parser.parse_args()
    print("| model | images | mean malignancy | called malignant | AUROC of malignancy |")
    print("|---|---|---|---|---|")
    for folder in options.models:
        saved = Classifier(folder)
        table = tables.read_table(options.data, saved.config.task)
        part = table[table["split"] == options.split]
        images = [to_rgb(path) for path in part["path"]]
        true = tables.targets(part, saved.config.task)
        threshold = next(iter(saved.config.thresholds.values())).value
        for name, views in (("as they are", images), ("treated", [treated(rgb) for rgb in images])):
            logits = [
                saved.logits(views[start : start + BATCH]) for start in range(0, len(views), BATCH)
            ]
            probabilities = prediction.calibrated(np.concatenate(logits), saved.config)
            score = prediction.malignancy(probabilities, saved.config.task)
            auroc = metrics.summarize(probabilities, true, saved.config.task)["malignancy_auroc"]
            called = (score >= threshold).mean()
            print(
                f"| {saved.name} | {name} | {score.mean():.4f} | {called:.3f} | {auroc:.4f} |",
                flush=True,
            )


def _jpeg(image: Image.Image) -> Image.Image:
    """The image after JPEG compression."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return Image.open(stream).convert("RGB")


if __name__ == "__main__":
    main()
