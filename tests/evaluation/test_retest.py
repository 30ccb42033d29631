"""Same lesion, another photograph: counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dermhub.evaluation.subgroups import retest_figures
from dermhub.tasks import BINARY


def rows(*malignant: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([[1 - p, p] for p in malignant])


def test_by_hand() -> None:
    # A: three photographs, of which one is called malignant; B: two that agree; C: one photograph.
    told = retest_figures(
        rows(0.1, 0.2, 0.7, 0.8, 0.9, 0.3), np.array(list("AAABBC")), BINARY, 0.15
    )
    assert (told["lesions"], told["images"], told["pairs"]) == (2, 5, 4)
    # Two of A's three pairs differ in class, and none of B's one: the mean over both lesions.
    assert told["class_differs"] == pytest.approx((2 / 3 + 0) / 2)
    # At 0.15 it is the first of A that stands apart.
    assert told["decision_differs"] == pytest.approx((2 / 3 + 0) / 2)
    assert told["malignancy_difference"] == pytest.approx(((0.1 + 0.6 + 0.5) / 3 + 0.1) / 2)
    assert (told["lesions_class"], told["lesions_decision"]) == (1, 1)


def test_where_no_lesion_has_two_photographs() -> None:
    told = retest_figures(rows(0.1, 0.9), np.array(["A", "B"]), BINARY, 0.5)
    assert told == {
        "lesions": 0,
        "images": 0,
        "pairs": 0,
        "class_differs": None,
        "decision_differs": None,
        "malignancy_difference": None,
        "lesions_class": 0,
        "lesions_decision": 0,
    }
