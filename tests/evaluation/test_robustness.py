"""Resolution and skin tone of test images, from columns that were written by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermhub.evaluation.robustness import robustness_figures

SCORE = np.array([0.9, 0.6, 0.4, 0.1])
SICK = np.array([True, False, True, False])
LESIONS = np.array(list("ABCD"))


def table(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"image_id": list("abcd"), **columns})


def test_nothing_is_told_of_columns_that_are_not_there() -> None:
    assert robustness_figures(table(), SCORE, SICK, LESIONS) == {}


def test_by_hand() -> None:
    told = robustness_figures(
        table(
            ita=[60, 60, 30, -40],
            sharpness=[1, 2, 3, 4],
            malignancy_half=[0.9, 0.8, 0.85, 0.1],
            malignancy_double=[0.9, 0.6, 0.4, 0.1],
        ),
        SCORE,
        SICK,
        LESIONS,
    )
    assert told["skin"] == {
        "very light": 2, "light": 0, "intermediate": 1, "tan": 0, "brown": 0, "dark": 1, "unknown": 0
    }  # fmt: skip
    own = told["resolution"]
    # Of four pairs 0.4 < 0.6 alone is the wrong way round, and at half the size none.
    assert (own["auroc"], own["half"]["auroc"], own["double"]["auroc"]) == (0.75, 1.0, 0.75)
    assert own["half"]["mean_benign"] == pytest.approx(0.45)
    assert own["half"]["mean_malignant"] == pytest.approx(0.875)
    # Blurred first: 1 and 3 are ill, 2 and 4 are not.
    assert own["blur_alone_auroc"] == 0.75
    # The same probabilities in every resample: an interval of no width says nothing.
    assert own["double"]["difference_bounds"] is None
    # Benign images move by 0.2 and 0: the mean of a resample by either, or by what lies between.
    assert own["half"]["rise_benign"] == [0.0, 0.2]
    assert own["half"]["rise_malignant"] == [0.0, 0.45]
    assert own["double"]["rise_benign"] is None
