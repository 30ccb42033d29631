"""Subgroups, worst errors, and photographs of one lesion: by hand and by slow versions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermhub.arrays import Floats64
from dermhub.evaluation.bootstrap import FEWEST, Resamples, intervals
from dermhub.evaluation.subgroups import BY_GROUP, retest_figures, subgroups, worst_errors
from dermhub.tasks import BINARY, LESION
from tests.support.drawn_predictions import THRESHOLD, draw_predictions, figures_with_interval


def test_subgroups_are_the_figures_of_their_images() -> None:
    probabilities, targets, lesions = draw_predictions(LESION, 300, 250)
    sex = np.array(["female", "male"])[np.arange(300) % 2].astype(object)
    sex[:4] = None
    table = pd.DataFrame({"lesion_id": lesions, "sex": sex, "age": None})
    content = subgroups(probabilities, targets, table, LESION, THRESHOLD)
    # A column without any entry is left out.
    assert list(content) == ["sex"]
    assert {value: row["n"] for value, row in content["sex"].items()} == {
        "female": 148,
        "male": 148,
        "unknown": 4,
    }
    rows = sex == "female"
    expected = figures_with_interval(probabilities[rows], targets[rows], LESION)
    female = content["sex"]["female"]
    assert {name: female[name] for name in BY_GROUP} == pytest.approx(
        {name: expected[name] for name in BY_GROUP}
    )
    resamples = Resamples.draw(lesions[rows])
    content = intervals(resamples, probabilities[rows], targets[rows], LESION, THRESHOLD)
    assert female["intervals"] == {name: content["bounds"][name] for name in BY_GROUP}
    assert female["lesions"] == len(set(lesions[rows]))
    assert female["malignant"] == np.isin(targets[rows], LESION.positive_indices).sum()


def test_ages_are_in_bands() -> None:
    probabilities, targets, lesions = draw_predictions(BINARY, 8, 8)
    ages = [0, 39, 40, 59, 60, 85, None, "?"]
    content = subgroups(
        probabilities, targets, pd.DataFrame({"lesion_id": lesions, "age": ages}), BINARY, THRESHOLD
    )
    assert {band: row["n"] for band, row in content["age"].items()} == {
        "0-39": 2,
        "40-59": 2,
        "60+": 2,
        "unknown": 2,
    }


@pytest.mark.parametrize(
    ("malignant", "benign"), [(FEWEST - 1, 30), (30, FEWEST - 1), (0, 30), (3, 4)]
)
def test_a_figure_of_too_few_images_is_not_reported(malignant: int, benign: int) -> None:
    targets = np.array([1] * malignant + [0] * benign)
    probabilities, _, _ = draw_predictions(BINARY, len(targets), len(targets))
    table = pd.DataFrame({"lesion_id": [f"L{i}" for i in range(len(targets))], "sex": "male"})
    row = subgroups(probabilities, targets, table, BINARY, THRESHOLD)["sex"]["male"]
    assert (row["n"], row["malignant"]) == (malignant + benign, malignant)
    reported = {
        "accuracy": malignant + benign >= FEWEST,
        "malignancy_auroc": min(malignant, benign) >= FEWEST,
        "sensitivity": malignant >= FEWEST,
        "specificity": benign >= FEWEST,
    }
    for name, defined in reported.items():
        assert (row[name] is not None, row["intervals"][name] is not None) == (defined, defined), (
            name
        )


def test_photographs_of_few_lesions_are_few() -> None:
    targets = np.array([1] * 20 + [0] * 20)
    probabilities, _, _ = draw_predictions(BINARY, 40, 40)
    # Twenty malignant images of nine lesions, and as many benign ones of ten.
    lesions = [f"M{i % (FEWEST - 1)}" for i in range(20)] + [f"B{i % FEWEST}" for i in range(20)]
    table = pd.DataFrame({"lesion_id": lesions, "sex": "male"})
    row = subgroups(probabilities, targets, table, BINARY, THRESHOLD)["sex"]["male"]
    assert [name for name in BY_GROUP if row[name] is not None] == [
        "accuracy",
        "specificity",
    ]


def test_the_worst_errors_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95], [0.6, 0.4], [0.3, 0.7]])
    targets = np.array([1, 0, 1, 1, 0])
    ids = np.array([f"I{i}" for i in range(5)])
    errors = worst_errors(probabilities, targets, ids, BINARY, 3)
    assert [row["image_id"] for row in errors] == ["I0", "I1", "I4"]
    assert errors[0] == {
        "image_id": "I0",
        "truth": "malignant",
        "predicted": "benign",
        "probability": 0.9,
    }
    assert worst_errors(probabilities, probabilities.argmax(axis=1), ids, BINARY) == []


def of_malignancy(*malignant: float) -> Floats64:
    """Probabilities (N, 2) of images with these probabilities of malignancy."""
    return np.array([[1 - p, p] for p in malignant])


def test_retest_by_hand() -> None:
    # A: three photographs, of which one is called malignant; B: two that agree; C: one photograph.
    figures = retest_figures(
        of_malignancy(0.1, 0.2, 0.7, 0.8, 0.9, 0.3), np.array(list("AAABBC")), BINARY, 0.15
    )
    assert (figures["lesions"], figures["images"], figures["pairs"]) == (2, 5, 4)
    # Two of A's three pairs differ in class, and none of B's one: the mean over both lesions.
    assert figures["class_differs"] == pytest.approx((2 / 3 + 0) / 2)
    # At 0.15 it is the first of A that stands apart.
    assert figures["decision_differs"] == pytest.approx((2 / 3 + 0) / 2)
    assert figures["malignancy_difference"] == pytest.approx(((0.1 + 0.6 + 0.5) / 3 + 0.1) / 2)
    assert (figures["lesions_class"], figures["lesions_decision"]) == (1, 1)


def test_retest_where_no_lesion_has_two_photographs() -> None:
    figures = retest_figures(of_malignancy(0.1, 0.9), np.array(["A", "B"]), BINARY, 0.5)
    assert figures == {
        "lesions": 0,
        "images": 0,
        "pairs": 0,
        "class_differs": None,
        "decision_differs": None,
        "malignancy_difference": None,
        "lesions_class": 0,
        "lesions_decision": 0,
    }
