"""Test-time augmentation: the mean probabilities of an image's turned and mirrored views, on
validation.

    PYTHONPATH=. python benchmarks/views.py MODEL [MODEL ...] --data HAM [--extra DIR]

A lesion has no upright position, so each of the eight symmetries of the square shows the same
lesion. What a second view brings, and what it costs, is told beside the single view; no test image
is read.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import dermhub
from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.release import measure
from dermhub.scoring import inference

FIGURES = {"nll": "nll", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy",
           "malignancy_auroc": "AUROC of malignancy"}  # fmt: skip
VIEWS = {
    1: "the image itself",
    2: "and its mirror image",
    4: "and both upside down",
    8: "all eight symmetries",
}


def main() -> None:
    """Read the options, and print a table for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder of HAM10000")
    parser.add_argument(
        "--extra", type=Path, metavar="DIR", help="the further images of those models that had some"
    )
    options = parser.parse_args()
    for model in options.models:
        classifier = dermhub.load(model)
        config = classifier.config
        more = options.extra if "extra" in config.provenance.get("data", {}) else None
        table = measure.read_table(config, options.data, more)
        table = table[table["split"] == "validation"]
        true = tables.targets(table, config.task)
        means: dict[int, list[Any]] = {number: [] for number in VIEWS}
        seconds = 0.0
        for batch in inference.batches(config.input, list(table["path"]), 1):
            images = batch.numpy()
            mirrored = images[..., ::-1]
            # In this order the first n views are those of each row of the table.
            straight = [images, mirrored, images[..., ::-1, :], mirrored[..., ::-1, :]]
            views = straight + [view.swapaxes(2, 3) for view in straight]
            begin = time.perf_counter()
            found = [
                prediction.softmax(
                    classifier.engine.forward(np.ascontiguousarray(view))[0], config.temperature
                )
                for view in views
            ]
            seconds += time.perf_counter() - begin
            for number in VIEWS:
                means[number].append(np.mean(found[:number], axis=0))
        print(
            f"\n| {model}, {len(true)} validation images | ms an image | "
            f"{' | '.join(FIGURES.values())} |"
        )
        print(f"|---|---|{'---|' * len(FIGURES)}")
        for number, name in VIEWS.items():
            told = metrics.summarize(np.concatenate(means[number]), true, config.task)
            cost = seconds / len(true) / 8 * number * 1000
            print(
                f"| {number}: {name} | {cost:.1f} | "
                f"{' | '.join(f'{told[key]:.3f}' for key in FIGURES)} |"
            )


if __name__ == "__main__":
    main()
