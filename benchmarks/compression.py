"""Drift of answers where validation images are saved anew with losses.

    PYTHONPATH=. python benchmarks/compression.py --data HAM [--model lesion ...] [--images 300]

Prints, as Markdown, the share of images with another most probable class and with another zone, the
AUROC of malignancy, and the mean change of the probability. The images are taken evenly from the
validation split, in the order of their ids. The limits of `dermhub.images.containers.compression`
were set by it.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import dermhub
from dermhub.arrays import Floats64
from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.images.decode import to_rgb
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.tasks import LESION

FORMATS = [("JPEG", quality) for quality in (10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)]
FORMATS += [("WEBP", quality) for quality in (10, 30, 50, 60, 70, 80, 90)]


def saved(rgb: Image.Image, kind: str, quality: int) -> bytes:
    """Save an image in a format, with a quality from 0 to 100."""
    stream = io.BytesIO()
    rgb.save(stream, kind, quality=quality)
    return stream.getvalue()


def answers(classifier: Classifier, photos: list[Photo]) -> Floats64:
    """Probabilities (N, C) of photographs, one by one."""
    arrays = [photo.array(classifier.config.input) for photo in photos]
    logits = np.concatenate([classifier.engine.forward(array[None])[0] for array in arrays])
    return prediction.calibrated(logits, classifier.config)


def rows(classifier: Classifier, table: pd.DataFrame) -> list[str]:
    """One row of the table for each format."""
    config = classifier.config
    zones = config.zones
    assert zones
    malignant = table["dx"].isin(LESION.positive).to_numpy(bool)
    images = [to_rgb(path) for path in table["path"]]
    before = answers(classifier, [Photo.open(path) for path in table["path"]])
    score = prediction.malignancy(before, config.task)
    lines = [f"| {classifier.name} | as they are | | | {metrics.auroc(score, malignant):.3f} | |"]
    for kind, quality in FORMATS:
        after = answers(classifier, [Photo.open(saved(rgb, kind, quality)) for rgb in images])
        changed = prediction.malignancy(after, config.task)
        other_class = (after.argmax(axis=1) != before.argmax(axis=1)).mean()
        pairs = zip(changed, score, strict=True)
        other_zone = np.mean([zones.of(one) != zones.of(other) for one, other in pairs])
        lines.append(
            f"| {classifier.name} | {kind} {quality} | {other_class:.1%} | {other_zone:.1%} | "
            f"{metrics.auroc(changed, malignant):.3f} | {(changed - score).mean():+.3f} |"
        )
    return lines


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder with HAM10000")
    parser.add_argument("--model", nargs="*", default=["lesion", "binary"])
    parser.add_argument("--images", type=int, default=300, help="number of images")
    given = parser.parse_args()
    table = tables.read_table(given.data, LESION)
    table = table[table["split"] == "validation"].sort_values("image_id")
    places = np.linspace(0, len(table) - 1, given.images).astype(int)
    print("| model | saved as | another class | another zone | AUROC | mean change |")
    print("|---|---|---|---|---|---|")
    for name in given.model:
        print("\n".join(rows(dermhub.load(name), table.iloc[places])), flush=True)


if __name__ == "__main__":
    main()
