"""Do the weights still give the logits that ship with them? From the images, for `verify --images`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dermhub import data, metrics, passes, summary
from dermhub.classifier import Classifier

TOLERANCE = 0.01
"""Largest difference of a probability: another processor adds up in another order, and decodes JPEG its own way."""


def differences(folder: Path, images: Path, workers: int = 0) -> tuple[int, list[str]]:
    """The number of images, and one sentence (without its full stop) for each whose probabilities differ.

    Raises DataError when the images of predictions.csv are not all below `images`.
    """
    classifier = Classifier(folder)
    task = classifier.config.task
    table = data.attach_paths(summary.read_predictions(folder / summary.PREDICTIONS, task), images)
    found = passes.logits(classifier, list(table["path"]), workers)
    stated = metrics.softmax(summary.logits_of(table, task), classifier.config.temperature)
    apart = np.abs(metrics.softmax(found, classifier.config.temperature) - stated).max(axis=1)
    far = np.flatnonzero(~(apart <= TOLERANCE))
    return len(table), [
        f"the weights give {table['image_id'][i]} probabilities that differ by {apart[i]:.4f} from those of "
        f"{summary.PREDICTIONS}, expected at most {TOLERANCE}"
        for i in far
    ]
