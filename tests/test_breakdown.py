"""Intervals over lesions, groups of patients and the worst errors, against counts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermhub import breakdown, metrics
from dermhub.labels import BINARY


def scores(malignancy: list[float]) -> metrics.Floats:
    """(N, 2) probabilities of the binary task."""
    return np.array([[1 - score, score] for score in malignancy])


def many(n: int, seed: int = 0) -> tuple[metrics.Floats, metrics.Ints]:
    """Probabilities and targets that agree for about four images in five."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, n)
    return scores(list(np.clip(0.5 * targets + rng.uniform(0, 0.5, n) + rng.normal(0, 0.2, n), 0, 1))), targets


def test_the_interval_of_an_accuracy_is_that_of_the_binomial() -> None:
    probabilities, targets = many(400)
    found = breakdown.intervals(probabilities, targets, np.arange(400), BINARY, {"p": 0.5})
    accuracy = (probabilities.argmax(axis=1) == targets).mean()
    width = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 400)
    low, high = found["accuracy"]
    assert (low, high) == pytest.approx((accuracy - width, accuracy + width), abs=0.008)
    assert (found["level"], found["resamples"], found["unit"]) == (0.95, 1000, "lesion")


def test_photographs_of_one_lesion_do_not_count_as_independent() -> None:
    probabilities, targets = many(100)
    alone = breakdown.intervals(probabilities, targets, np.arange(100), BINARY, {})
    # The same hundred lesions, each photographed four times alike: no more is known than before.
    again = breakdown.intervals(
        np.tile(probabilities, (4, 1)), np.tile(targets, 4), np.tile(np.arange(100), 4), BINARY, {}
    )
    for name in breakdown.HEADLINES:
        assert again[name] == pytest.approx(alone[name], abs=1e-9), name
    wrong = breakdown.intervals(np.tile(probabilities, (4, 1)), np.tile(targets, 4), np.arange(400), BINARY, {})
    width = np.ptp(alone["accuracy"])
    assert np.ptp(wrong["accuracy"]) == pytest.approx(width / 2, rel=0.15)


def test_intervals_are_the_same_twice_and_hold_the_figure() -> None:
    probabilities, targets = many(150)
    first = breakdown.intervals(probabilities, targets, np.arange(150) // 2, BINARY, {"a": 0.4, "b": 0.6})
    assert first == breakdown.intervals(probabilities, targets, np.arange(150) // 2, BINARY, {"a": 0.4, "b": 0.6})
    figures = metrics.summarize(probabilities, targets, BINARY, {"a": 0.4, "b": 0.6})
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "malignancy_auroc", "brier"):
        assert first[name][0] < figures[name] < first[name][1]
    for name in ("a", "b"):
        for figure in ("sensitivity", "specificity"):
            low, high = first[f"{name}.{figure}"]
            assert low < figures["operating_points"][name][figure] < high


def test_what_is_never_defined_has_no_interval() -> None:
    found = breakdown.intervals(scores([0.1, 0.2, 0.9]), np.zeros(3, np.int64), np.arange(3), BINARY, {"p": 0.5})
    assert (found["malignancy_auroc"], found["p.sensitivity"]) == (None, None)
    assert found["p.specificity"] == [0.0, 1.0]


def test_groups_are_counted_by_hand() -> None:
    n = 40
    table = pd.DataFrame(
        {
            "sex": ["female"] * 20 + ["male"] * 19 + [None],
            "age": [39.9, 40, 59, 60, 85, 0, None, "?"] * 5,
            "image_id": [str(i) for i in range(n)],
        }
    )
    targets = np.array([1] * 5 + [0] * 15 + [1] * 20)
    probabilities = scores([0.9] * 4 + [0.2] * 13 + [0.7] * 3 + [0.5] * 20)
    found = breakdown.subgroups(table, probabilities, targets, BINARY, 0.6)
    assert set(found) == {"sex", "age"}
    # Of the five malignant ones four are found; of the fifteen benign ones three are called malignant.
    assert found["sex"]["female"] == {
        "n": 20,
        "malignant": 5,
        "accuracy": 16 / 20,
        "malignancy_auroc": pytest.approx((4 * 15 + 0.5 * 12) / (5 * 15)),
        "sensitivity": 4 / 5,
        "specificity": 12 / 15,
    }
    assert found["sex"]["male"] == {"n": 19}
    assert found["sex"]["unknown"] == {"n": 1}
    assert {group: row["n"] for group, row in found["age"].items()} == {
        "0 to 39": 10,
        "40 to 59": 10,
        "60 and older": 10,
        "unknown": 10,
    }


def test_a_group_of_one_class_has_no_auroc() -> None:
    table = pd.DataFrame({"localization": ["back"] * 20})
    found = breakdown.subgroups(table, scores([0.3] * 20), np.zeros(20, np.int64), BINARY, 0.5)["localization"]["back"]
    assert (found["malignancy_auroc"], found["sensitivity"], found["specificity"]) == (None, None, 1.0)


def test_the_worst_errors_come_first() -> None:
    table = pd.DataFrame({"image_id": list("abcde")})
    probabilities, targets = scores([0.9, 0.8, 0.4, 0.1, 0.95]), np.array([0, 0, 1, 1, 1])
    found = breakdown.worst_errors(table, probabilities, targets, BINARY, count=3)
    assert [row["image_id"] for row in found] == ["a", "d", "b"]
    assert found[0] == {
        "image_id": "a",
        "true": "benign",
        "predicted": "malignant",
        "p_predicted": pytest.approx(0.9),
        "p_true": pytest.approx(0.1),
    }
    assert breakdown.worst_errors(table, scores([0.1] * 5), np.zeros(5, np.int64), BINARY) == []
