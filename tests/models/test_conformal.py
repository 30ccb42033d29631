"""Prediction sets: limits by hand, lesions with several photographs, and the promised coverage."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dermhub.evaluation import prediction_sets
from dermhub.models import conformal
from dermhub.models.config import Conformal

TWO = ("benign", "malignant")
SEVEN = tuple("abcdefg")


def one_class(scores: list[float], lesions: list[str] | None = None, level: float = 0.9) -> float:
    """Fit the limit of class 0, whose images have these probabilities."""
    first = np.array(scores)
    names = np.array(lesions or [f"L{i}" for i in range(len(scores))])
    probabilities = np.stack([first, 1 - first], axis=1)
    return conformal.fit(probabilities, np.zeros(len(scores), int), names, TWO, level).least[
        "benign"
    ]


def test_limit_by_hand() -> None:
    # 19 lesions at 0.05, 0.10 ... 0.95: 0.9 * 20 = 18 have to stay, so the second lowest is the
    # limit.
    assert one_class([i / 20 for i in range(1, 20)]) == pytest.approx(0.10)


@pytest.mark.parametrize(
    ("lesions", "limit"), [(1, 0.0), (8, 0.0), (9, 0.05), (18, 0.05), (19, 0.10)]
)
def test_limit_of_few_lesions(lesions: int, limit: float) -> None:
    # ceil(0.9 * (n + 1)) have to stay: more than there are below nine, all of them up to eighteen.
    assert one_class([(i + 1) / 20 for i in range(lesions)]) == pytest.approx(limit)


def test_class_without_images_is_in_every_set() -> None:
    fitted = conformal.fit(
        np.array([[0.9, 0.1]] * 9), np.zeros(9, int), np.arange(9).astype(str), TWO
    )
    assert fitted.least == {"benign": pytest.approx(0.9), "malignant": 0.0}
    assert conformal.prediction_sets(np.array([[1.0, 0.0]]), fitted, TWO).tolist() == [[True, True]]


def test_photographs_of_a_lesion_share_its_weight() -> None:
    # Nine lesions: all their weight has to stay. Twelve photographs of one good lesion do not push
    # a bad one out.
    scores = [0.9] * 12 + [0.2, *[0.8] * 7]
    lesions = ["many"] * 12 + [f"L{i}" for i in range(8)]
    assert one_class(scores, lesions) == pytest.approx(0.2)
    # As twenty independent cases they would: 0.9 * 21 = 18.9, so 19 of 20 have to stay.
    assert one_class(scores) == pytest.approx(0.8)


def test_limit_of_a_lesion_with_thirds() -> None:
    # Four lesions at 60 %: 0.6 * 5 = 3 of the weight 4. Kept are 0.9, 0.8 and the thirds 0.7, 0.6,
    # 0.5 of a third one.
    scores, lesions = [0.9, 0.8, 0.7, 0.6, 0.5, 0.1], ["a", "b", "c", "c", "c", "d"]
    assert one_class(scores, lesions, 0.6) == pytest.approx(0.5)


def test_each_class_has_its_own_limit() -> None:
    probabilities = np.array([[0.9, 0.1]] * 9 + [[0.7, 0.3]] * 9)
    fitted = conformal.fit(probabilities, np.repeat([0, 1], 9), np.arange(18).astype(str), TWO)
    assert fitted.least == {"benign": pytest.approx(0.9), "malignant": pytest.approx(0.3)}
    sets = conformal.prediction_sets(
        np.array([[0.95, 0.05], [0.65, 0.35], [0.8, 0.2]]), fitted, TWO
    )
    assert sets.tolist() == [[True, False], [False, True], [False, False]]


def test_image_that_sets_the_limit_is_inside() -> None:
    # 1/3 has no exact decimal: rounding it up would leave its own image out.
    fitted = conformal.fit(
        np.array([[1 / 3, 2 / 3]] * 9), np.zeros(9, int), np.arange(9).astype(str), TWO
    )
    assert conformal.prediction_sets(np.array([[1 / 3, 2 / 3]]), fitted, TWO)[0, 0]
    assert 1 / 3 - 1e-8 < fitted.least["benign"] <= 1 / 3


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_new_lesions_are_covered_as_promised(level: float) -> None:
    # 400 times: 30 lesions of one to five photographs, which resemble each other, and one
    # photograph of a new one.
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        photographs = rng.integers(1, 6, 31)
        scores = np.repeat(rng.normal(size=31), photographs) + 0.3 * rng.normal(
            size=photographs.sum()
        )
        p = 1 / (1 + np.exp(-scores))
        seen = len(p) - photographs[-1]
        least = one_class(
            list(p[:seen]), list(np.repeat(np.arange(30), photographs[:-1]).astype(str)), level
        )
        covered.append(p[seen] >= least)
    # Promised is at least `level`; exchangeability allows 1/31 more, and chance three standard
    # errors.
    assert level - 0.06 < np.mean(covered) < level + 1 / 31 + 0.06


@pytest.mark.parametrize(
    ("size", "classes", "sentence"),
    [
        (0, 2, "not typical of any class"),
        (1, 2, ""),
        (2, 2, "Neither of the two classes can be ruled out."),
        (0, 7, "not typical of any class"),
        (1, 7, ""),
        (3, 7, ""),
        (4, 7, "4 of the 7 classes remain possible"),
        (7, 7, "can't rule out any class"),
        (2, 4, ""),
        (2, 3, "2 of the 3 classes remain possible"),
    ],
)
def test_why_there_is_no_answer(size: int, classes: int, sentence: str) -> None:
    held = SEVEN[:size]
    said = conformal.abstention_reason(held, classes, "a")
    assert sentence in said
    assert bool(said) == bool(sentence)
    # Where a set is no answer anyway, that is the reason that is given.
    without = conformal.abstention_reason(held, classes, "z")
    assert without == (
        said
        or "The most probable class, z, is less probable here than in most lesions of that class, "
        "and "
        f"{' or '.join(held)} can't be ruled out."
    )


def test_measure_by_hand() -> None:
    fitted = Conformal(0.9, {"benign": 0.6, "malignant": 0.3})
    # The sets: benign; both; malignant; benign; malignant, though benign is more probable.
    probabilities = np.array([[0.9, 0.1], [0.65, 0.35], [0.2, 0.8], [0.8, 0.2], [0.55, 0.45]])
    fitted_strict = Conformal(0.9, {"benign": 0.6, "malignant": 0.46})
    targets, lesions = np.array([0, 0, 1, 1, 1]), np.array(["a", "b", "c", "c", "d"])
    figures = prediction_sets.set_figures(
        probabilities, targets, lesions, TWO, fitted, np.zeros(5, bool)
    )
    assert figures["sizes"] == {"0": 0, "1": 4, "2": 1}
    assert figures["n"] == 5
    assert figures["lesions"] == 4
    assert figures["coverage"] == pytest.approx(4 / 5)
    # The lesion c is half covered: (1 + 1 + 1/2 + 1) / 4.
    assert figures["coverage_of_lesions"] == pytest.approx(3.5 / 4)
    assert figures["mean_size"] == pytest.approx(6 / 5)
    # Answered are all but the second and the last: the first and third are right.
    assert figures["abstention_rate"] == pytest.approx(2 / 5)
    assert figures["accuracy_answered"] == pytest.approx(2 / 3)
    assert figures["per_class"]["malignant"] == {
        "n": 3,
        "lesions": 2,
        "coverage": pytest.approx(2 / 3),
        "coverage_of_lesions": pytest.approx(0.75),
        "mean_size": 1.0,
        "abstention_rate": pytest.approx(1 / 3),
    }
    assert conformal.abstains(probabilities, fitted, TWO).tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]
    strict = prediction_sets.set_figures(
        probabilities, targets, lesions, TWO, fitted_strict, np.zeros(5, bool)
    )
    assert strict["sizes"] == {"0": 1, "1": 4, "2": 0}
    assert strict["abstention_rate"] == pytest.approx(1 / 5)
    json.dumps(figures, allow_nan=False)
    # An image that the gate refuses has no answer either; the first is one that had.
    refused = prediction_sets.set_figures(
        probabilities, targets, lesions, TWO, fitted, np.array([True, False, False, False, False])
    )
    assert refused["abstention_rate"] == pytest.approx(3 / 5)
    assert refused["coverage"] == figures["coverage"]


def test_measure_of_a_class_without_images() -> None:
    fitted = Conformal(0.9, dict.fromkeys(SEVEN, 0.1))
    figures = prediction_sets.set_figures(
        np.full((1, 7), 1 / 7), np.array([2]), np.array(["a"]), SEVEN, fitted, np.zeros(1, bool)
    )
    assert figures["per_class"]["c"]["coverage"] == 1
    assert figures["per_class"]["a"] == dict.fromkeys(figures["per_class"]["a"]) | {
        "n": 0,
        "lesions": 0,
    }
    # All seven are in the set, so nothing is answered.
    assert figures["accuracy_answered"] is None
    assert figures["abstention_rate"] == 1
