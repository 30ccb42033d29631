"""Calibration slope and intercept: of data made to have them, against scikit-learn, and where there
are none.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dermhub.arrays import Floats64
from dermhub.evaluation import bootstrap, calibration

Bools = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def some(
    seed: int = 0, slope: float = 1.0, intercept: float = 0.0, count: int = 400
) -> tuple[Floats64, Bools]:
    """Scores, and outcomes that are drawn with the logit intercept + slope * logit(score)."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, count)
    truth = rng.random(count) < 1 / (1 + np.exp(-(intercept + slope * logit)))
    return 1 / (1 + np.exp(-logit)), truth


def one(scores: Floats64, positive: Bools) -> tuple[float, float]:
    slopes, intercepts = calibration.slope_and_intercept(
        scores, positive, np.ones((1, len(scores)))
    )
    return float(slopes[0]), float(intercepts[0])


def test_one_score_for_all_by_hand() -> None:
    # 30 of 100 are ill where the model says 20 %: the odds are 3/7 where it says 1/4.
    scores, positive = np.full(100, 0.2), np.arange(100) < 30
    slope, intercept = one(scores, positive)
    assert intercept == pytest.approx(math.log(3 / 7) - math.log(1 / 4))
    assert math.isnan(slope)


def test_two_scores_by_hand() -> None:
    # Half and 9 of 10 where the model says 1/2 and 3/4: logits 0 and log 9, of scores with the
    # logits 0 and log 3.
    scores = np.repeat([0.5, 0.75], 10)
    positive = np.array([True] * 5 + [False] * 5 + [True] * 9 + [False])
    assert one(scores, positive)[0] == pytest.approx(2.0)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_slope_is_scikit_learns(slope: float) -> None:
    scores, positive = some(1, slope, -0.5)
    logit = np.log(scores / (1 - scores))[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit, positive)
    assert one(scores, positive)[0] == pytest.approx(reference.coef_[0, 0], abs=1e-5)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, 0.0), (1.0, -0.8)])
def test_what_was_put_in_comes_out(slope: float, intercept: float) -> None:
    scores, positive = some(3, slope, intercept, 20_000)
    found = one(scores, positive)
    assert found[0] == pytest.approx(slope, abs=0.05)
    if slope == 1:
        assert found[1] == pytest.approx(intercept, abs=0.05)


def test_weights_are_repeats() -> None:
    scores, positive = some(4, count=60)
    counts = np.random.default_rng(0).integers(0, 3, 60)
    repeated = np.repeat(np.arange(60), counts)
    by_weight = calibration.slope_and_intercept(scores, positive, counts[None].astype(float))
    by_repeat = one(scores[repeated], positive[repeated])
    assert (by_weight[0][0], by_weight[1][0]) == pytest.approx(by_repeat)


@pytest.mark.parametrize("positive", [np.zeros(20, bool), np.ones(20, bool), np.arange(20) >= 10])
def test_where_there_is_no_slope(positive: Bools) -> None:
    told = calibration.recalibration(np.linspace(0.05, 0.95, 20), positive, np.arange(20))
    assert told["slope"] is None
    assert told["bounds"]["slope"] is None


def test_scores_of_0_and_1_are_taken_as_one_in_a_billion() -> None:
    # 1 of 5 is ill where the model is sure of the opposite, and 4 of 5 where it is sure of it.
    scores, positive = (
        np.repeat([0.0, 1.0], 5),
        np.array([True, False, False, False, False] + [True] * 4 + [False]),
    )
    assert one(scores, positive)[0] == pytest.approx(math.log(4) / math.log(1e9), rel=1e-4)


def test_the_interval_holds_the_figure_and_lesions_widen_it() -> None:
    scores, positive = some(5, count=200)
    alone = calibration.recalibration(scores, positive, np.arange(200))
    low, high = alone["bounds"]["slope"]
    assert low < alone["slope"] < high
    # Four copies of each image as one lesion say no more than the image itself.
    fourfold = calibration.recalibration(
        np.tile(scores, 4), np.tile(positive, 4), np.tile(np.arange(200), 4)
    )
    assert fourfold["slope"] == pytest.approx(alone["slope"])
    assert fourfold["bounds"]["slope"] == pytest.approx(alone["bounds"]["slope"], abs=2e-6)


def test_the_curve_counts_every_image() -> None:
    scores, positive = some(6)
    curve = calibration.recalibration(scores, positive, np.arange(400))["curve"]
    assert sum(row[2] for row in curve) == 400
    assert sum(row[1] * row[2] for row in curve) == pytest.approx(positive.sum(), abs=1e-3)


def test_resamples_are_the_same_each_time() -> None:
    first, second = (
        np.concatenate(list(bootstrap.lesion_weights(np.arange(9) // 2, 250))) for _ in range(2)
    )
    assert first.shape == (250, 9)
    assert (first == second).all()
    assert (first[:, 0] == first[:, 1]).all()
    assert set(first[:, ::2].sum(axis=1)) == {5.0}
