"""Test-time augmentation on validation: the mean over an image's turned and mirrored views.

    PYTHONPATH=. python benchmarks/views.py MODEL [MODEL ...] --data HAM [--extra DIR]

A lesion has no upright position, so each of the eight symmetries of the square shows the same
lesion. Prints, as Markdown, figures and cost of one, two, four and eight views; no test image is
read.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dermhub
from dermhub.arrays import Floats32
from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.release import measure
from dermhub.scoring import inference

FIGURES = {
    "nll": "nll",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "malignancy_auroc": "AUROC of malignancy",
}
"""Key of a figure -> its heading."""

VIEWS = {
    1: "the image itself",
    2: "and its mirror image",
    4: "and both upside down",
    8: "all eight symmetries",
}
"""Number of views -> their name."""


def main() -> None:
    """Read the options, and print a table for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder of HAM10000")
    parser.add_argument(
        "--extra",
        default="",
        metavar="DIR",
        help="the further images of those models that had some",
    )
    options = parser.parse_args()
    for model in options.models:
        classifier = dermhub.load(model)
        config = classifier.config
        more = options.extra if "extra" in config.provenance.get("data", {}) else ""
        table = measure.read_table(config, options.data, more)
        table = table[table["split"] == "validation"]
        true = tables.targets(table, config.task)
        answers = inference.run(
            partial(answer_views, classifier), config.input, list(table["path"]), 1
        )
        seconds = sum(spent for _, spent in answers)
        probabilities = np.concatenate([of_batch for of_batch, _ in answers], axis=1)
        print(
            f"\n| {model}, {len(true)} validation images | ms an image | "
            f"{' | '.join(FIGURES.values())} |"
        )
        print(f"|---|---|{'---|' * len(FIGURES)}")
        for number, name in VIEWS.items():
            figures = metrics.summarize(probabilities[:number].mean(axis=0), true, config.task)
            cost = seconds / len(true) / 8 * number * 1000
            cells = " | ".join(f"{figures[key]:.3f}" for key in FIGURES)
            print(f"| {number}: {name} | {cost:.1f} | {cells} |")


def answer_views(classifier: Classifier, images: Floats32) -> tuple[NDArray[np.float64], float]:
    """Probabilities (8, N, C) of images (N, 3, H, W) in all views, and the seconds they took."""
    mirrored = images[..., ::-1]
    # In this order the first n views are those of each row of the table.
    straight = [images, mirrored, images[..., ::-1, :], mirrored[..., ::-1, :]]
    views = straight + [view.swapaxes(2, 3) for view in straight]
    begin = time.perf_counter()
    logits = [classifier.engine.forward(np.ascontiguousarray(view))[0] for view in views]
    seconds = time.perf_counter() - begin
    config = classifier.config
    return np.stack([prediction.calibrated(view, config) for view in logits]), seconds


if __name__ == "__main__":
    main()
