"""The answers that people see, by the rule of today and by the one before it.

    PYTHONPATH=. python benchmarks/answers.py [--binary FOLDER] [--lesion FOLDER]

Prints, as Markdown, what `dermhub.models.assessment` rests on (validation: which number is shown,
and from which gap on two models differ), and what comes of it on test and PH2. All is read from the
predictions in the two model folders, so that it takes seconds and needs no image.

Before, the binary model's probability was shown, and it was replaced by "no confident answer" where
the gate refused an image (at a limit that 5 % of the validation images were above), where the two
models' calls differed, and where one of the prediction sets was no answer. Warnings about the image
itself and about the place of the evidence (42 more of the 1,602 test images) are not in these
tables.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermhub import layout
from dermhub.arrays import Floats64
from dermhub.evaluation import external, metrics, predictions
from dermhub.evaluation.bootstrap import Resamples
from dermhub.models.assessment import GAP
from dermhub.models.model_folder import ModelFolder
from dermhub.models.prediction import Prediction
from dermhub.release.pair import Answers, read
from dermhub.zones import Zone

Bools = NDArray[np.bool_]

EDGES = (0.0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.5, 0.7, 0.85, 1.0)
"""Edges of the bins of the probability of malignancy."""

FORMER_LIMIT = 0.95
"""Share of the validation images that passed the gate before."""


def answered_before(folders: tuple[Path, Path], part: str, answers: Answers) -> Bools:
    """(N,) where the former rule gave a confident answer."""
    silent = np.array(
        [_is_silent(one, two) for one, two in zip(answers.binary, answers.lesion, strict=True)]
    )
    for folder in folders:
        task = ModelFolder(folder).config.task
        rows = predictions.read_predictions(folder / layout.PREDICTIONS, task)
        if predictions.GATE not in rows:
            continue
        limit = rows[predictions.GATE][rows["split"] == "validation"].quantile(FORMER_LIMIT)
        if part == external.PH2:
            rows = external.read_external(folder / layout.EXTERNAL, task)
        score = rows.set_index("image_id")[predictions.GATE].loc[answers.image_ids]
        silent |= score.to_numpy(float) > limit
    return ~silent


def _is_silent(first: Prediction, second: Prediction) -> bool:
    """Tell if the former rule gave no answer for two predictions, but for its gate."""
    plain = [dataclasses.replace(each, concerns=()) for each in (first, second)]
    return first.malignant != second.malignant or any(each.abstention for each in plain)


def scores(answers: Sequence[Prediction]) -> Floats64:
    """(N,) probabilities of malignancy."""
    return np.array([each.malignancy for each in answers])


def numbers(answers: Answers) -> None:
    """Print which number could be shown, on validation."""
    binary, lesion = scores(answers.binary), scores(answers.lesion)
    malignant = answers.malignant
    resamples = Resamples.draw(answers.lesions)
    print("| shown number | AUROC | less that of the sum (95 % interval) | specificity at 95 % |")
    print("|---|---|---|---|")
    candidates = {"sum of the seven": lesion, "binary": binary, "mean": (binary + lesion) / 2}
    for name, values in candidates.items():

        def difference(weights: Floats64, values: Floats64 = values) -> Floats64:
            return metrics.weighted_auroc(weights, values, malignant) - metrics.weighted_auroc(
                weights, lesion, malignant
            )

        interval = resamples.interval(difference)
        span = "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"
        cut = metrics.threshold_for_sensitivity(values, malignant, 0.95)
        point = metrics.operating_point(values, malignant, cut)
        print(
            f"| {name} | {metrics.auroc(values, malignant):.4f} | {span} | "
            f"{point['specificity']:.3f} |"
        )


def gaps(answers: Answers) -> None:
    """Print how many images get the note that the models differ, by the gap."""
    zones = answers.lesion[0].zones
    assert zones is not None
    binary, lesion = scores(answers.binary), scores(answers.lesion)
    apart = np.array(
        [zones.of(one) is not zones.of(two) for one, two in zip(binary, lesion, strict=True)]
    )
    print(
        "\n| different zones, and a gap above | images | of 100 | zone raised |\n|---|---|---|---|"
    )
    for gap in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        noted = apart & (np.abs(binary - lesion) > gap)
        raised = noted & (binary > lesion)
        mark = " (in use)" if gap == GAP else ""
        print(f"| {gap:.2f}{mark} | {noted.sum()} | {100 * noted.mean():.1f} | {raised.sum()} |")


def outcome(name: str, answers: Answers, before: Bools) -> None:
    """Print what malignant and benign images are shown as, before and now."""
    called = np.array([each.malignant for each in answers.binary])
    rows = {
        "shown malignant or suspicious": (before & called, answers.flagged),
        "shown benign or low": (before & ~called, answers.zone(Zone.LOW) & ~answers.refused),
        "no answer": (~before, answers.refused),
    }
    print(f"\n| {name} | malignant, before | malignant, now | benign, before | benign, now |")
    print("|---|---|---|---|---|")
    for label, pair in rows.items():
        cells = [
            _of(values, group)
            for group in (answers.malignant, ~answers.malignant)
            for values in pair
        ]
        print(f"| {label} | {' | '.join(cells)} |")


def _of(values: Bools, group: Bools) -> str:
    """Count the images of a group that have a property, as in "3 of 40 (7.5%)"."""
    count = (values & group).sum()
    return f"{count} of {group.sum()} ({count / group.sum():.1%})"


def zones(name: str, answers: Answers) -> None:
    """Print how many of 100 images in each zone are malignant."""
    resamples = Resamples.draw(answers.lesions)
    heading = "images | malignant | of 100 | 95 % interval | of all malignant | of all benign"
    print(f"\n| {name} | {heading} |")
    print("|---|---|---|---|---|---|---|")
    for zone in Zone:
        rows = answers.zone(zone)
        hits = rows & answers.malignant

        def share(weights: Floats64, hits: Bools = hits, rows: Bools = rows) -> Floats64:
            return metrics.ratio(weights @ hits, weights @ rows)

        interval = resamples.interval(share)
        span = "" if interval is None else f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f}"
        of_hundred = 100 * hits.sum() / max(rows.sum(), 1)
        print(
            f"| {zone} | {rows.sum()} | {hits.sum()} | {of_hundred:.0f} | {span} | "
            f"{hits.sum() / answers.malignant.sum():.1%} | "
            f"{(rows & ~answers.malignant).sum() / (~answers.malignant).sum():.1%} |"
        )


def middle(answers: Answers, before: Bools) -> None:
    """Print, for each range of the shown number, what was said before and what is said now."""
    shown = np.array([each.malignancy for each in answers.assessed])
    former = scores(answers.binary)
    print("\n| P(malignant) | images | malignant | before: answered | now: zones |")
    print("|---|---|---|---|---|")
    for low, high in pairwise(EDGES):
        rows = (shown >= low) & (shown < high if high < 1 else shown <= high)
        was = (former >= low) & (former < high if high < 1 else former <= high)
        words = ", ".join(zone for zone in Zone if (answers.zone(zone) & rows).any())
        malignant = f"{answers.malignant[rows].mean():.0%}" if rows.any() else ""
        answered = f"{before[was].mean():.0%}" if was.any() else ""
        print(f"| {low:.0%}-{high:.0%} | {rows.sum()} | {malignant} | {answered} | {words} |")


def main() -> None:
    """Read the options, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=Path, default=Path("model_cards/binary"))
    parser.add_argument("--lesion", type=Path, default=Path("model_cards/lesion"))
    options = parser.parse_args()
    folders = (options.binary, options.lesion)
    print(f"Chosen on validation ({options.binary} and {options.lesion})\n")
    validation = read(*folders, "validation")
    numbers(validation)
    gaps(validation)
    print("\nMeasured on test and PH2")
    for part in ("test", external.PH2):
        answers = read(*folders, part)
        before = answered_before(folders, part, answers)
        outcome(part, answers, before)
        zones(part, answers)
        if part == "test":
            middle(answers, before)


if __name__ == "__main__":
    main()
