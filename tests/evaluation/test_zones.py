"""Figures of the zones of suspicion, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermhub.evaluation import predictions, subgroups
from dermhub.evaluation.bootstrap import Resamples
from dermhub.evaluation.zones import zone_figures
from dermhub.tasks import BINARY, LESION
from dermhub.zones import Threshold, Zones

ZONES = Zones(Threshold(0.1, ""), Threshold(0.5, ""))


def test_counts_of_each_zone() -> None:
    scores = np.array([0.0, 0.05, 0.099, 0.1, 0.3, 0.49, 0.5, 0.9])
    malignant = np.array([0, 0, 1, 0, 1, 0, 1, 1], bool)
    assert zone_figures(scores, malignant, ZONES) == {
        "low": {
            "n": 3,
            "malignant": 1,
            "share": pytest.approx(1 / 3),
            "of_malignant": 0.25,
            "of_benign": 0.5,
        },
        "suspicious": {
            "n": 3,
            "malignant": 1,
            "share": pytest.approx(1 / 3),
            "of_malignant": 0.25,
            "of_benign": 0.5,
        },
        "highly suspicious": {
            "n": 2,
            "malignant": 2,
            "share": 1.0,
            "of_malignant": 0.5,
            "of_benign": 0.0,
        },
    }


def test_an_empty_zone_has_no_share() -> None:
    figures = zone_figures(np.array([0.2, 0.2]), np.array([True, True]), ZONES)
    assert figures["low"] == {
        "n": 0,
        "malignant": 0,
        "share": None,
        "of_malignant": 0.0,
        "of_benign": None,
    }


def test_intervals_come_from_lesions() -> None:
    # A zone of 40 images of 40 lesions, half of them malignant: the interval is about that of a
    # binomial share, 0.5 +- 1.96 * sqrt(0.25 / 40) = 0.345 to 0.655.
    scores, malignant = np.full(40, 0.2), np.arange(40) % 2 == 0
    resamples = Resamples.draw(np.arange(40).astype(str))
    figures = zone_figures(scores, malignant, ZONES, resamples)
    assert figures["suspicious"]["bounds"] == pytest.approx([0.345, 0.655], abs=0.03)
    assert figures["low"]["bounds"] is None
    # Of two lesions with twenty photographs each, a resample may hold one alone.
    twice = Resamples.draw(np.array(["a", "b"] * 20))
    assert zone_figures(scores, malignant, ZONES, twice)["suspicious"]["bounds"] == [0.0, 1.0]


@pytest.mark.parametrize("task", [BINARY, LESION], ids=lambda task: task.name)
def test_refusals_by_diagnosis(task: object) -> None:
    table = pd.DataFrame(
        {"dx": ["mel", "nv", "nv", "bcc", "vasc"], "gate": [1.2, 1.0, 0.5, 0.1, 3]}
    )
    assert subgroups.refusals(table, task) == {  # type: ignore[arg-type]
        "n": 5,
        "refused": 2,
        "malignant": {"n": 2, "refused": 1},
        "benign": {"n": 3, "refused": 1},
        "diagnoses": {
            "bcc": {"n": 1, "refused": 0},
            "mel": {"n": 1, "refused": 1},
            "nv": {"n": 2, "refused": 0},
            "vasc": {"n": 1, "refused": 1},
        },
    }
    # A score of exactly 1 is not refused, and without scores nothing is.
    assert not predictions.refused(table.drop(columns="gate")).any()
