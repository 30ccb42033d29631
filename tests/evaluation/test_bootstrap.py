"""Intervals over lesions, subgroups and worst errors: against slow and obvious versions of the
same.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from dermhub.evaluation import metrics
from dermhub.evaluation import subgroups as evaluation_subgroups
from dermhub.evaluation.bootstrap import FEWEST, intervals, resampled, weighted
from dermhub.evaluation.subgroups import subgroups, worst_errors
from dermhub.models import prediction
from dermhub.tasks import BINARY, LESION, Task

Case = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[Any]]


def case(task: Task, images: int = 120, lesions: int = 80, seed: int = 0) -> Case:
    """Probabilities of some skill with many ties, targets that miss no class of `task`, and lesion
    ids.
    """
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.arange(lesions), rng.integers(0, lesions, images - lesions)])
    targets = (ids % len(task.classes)).astype(np.int64)
    logits = rng.normal(size=(images, len(task.classes)))
    logits[np.arange(images), targets] += 1
    return prediction.softmax(np.round(logits, 1)), targets, np.array([f"L{i}" for i in ids])


def headline(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], task: Task
) -> dict[str, Any]:
    """The figures of `weighted` as `metrics.summarize` works them out."""
    summary = metrics.summarize(probabilities, targets, task, {"point": 0.4})
    point = summary["operating_points"]["point"]
    recall = {f"recall {name}": row["recall"] for name, row in summary["per_class"].items()}
    kept = {
        name: summary[name]
        for name in summary
        if isinstance(summary[name], float | None) and name != "nll"
    }
    return {
        **kept,
        "sensitivity": point["sensitivity"],
        "specificity": point["specificity"],
        **recall,
    }


@pytest.mark.parametrize("task", [BINARY, LESION], ids=["binary", "lesion"])
def test_equal_weights_give_the_figures_of_the_card(task: Task) -> None:
    probabilities, targets, _ = case(task)
    values = weighted(np.ones((1, 120)), probabilities, targets, task, 0.4)
    assert {name: value[0] for name, value in values.items()} == pytest.approx(
        headline(probabilities, targets, task)
    )


def test_a_weight_is_a_number_of_copies() -> None:
    probabilities, targets, _ = case(LESION)
    counts = np.random.default_rng(1).integers(0, 4, (5, 120))
    counts[0, targets == 3] = 0  # one resample without a class
    counts[1, np.isin(targets, LESION.positive_indices)] = 0  # and one without any malignant image
    values = weighted(counts.astype(float), probabilities, targets, LESION, 0.4)
    for row, repeats in enumerate(counts):
        expected = headline(
            np.repeat(probabilities, repeats, axis=0), np.repeat(targets, repeats), LESION
        )
        found = {
            name: None if np.isnan(value[row]) else value[row] for name, value in values.items()
        }
        assert found == pytest.approx(expected), row
    assert np.isnan(values["malignancy_auroc"][1])


def test_the_photographs_of_a_lesion_are_drawn_together() -> None:
    probabilities, targets, lesions = case(LESION)
    values = resampled(probabilities, targets, lesions, LESION, 0.4, resamples=3, seed=7)
    names = np.unique(lesions)
    rng = np.random.default_rng(7)
    for row, counts in enumerate(
        rng.multinomial(len(names), np.full(len(names), 1 / len(names)), 3)
    ):
        drawn = np.repeat(names, counts)
        rows = np.concatenate([np.flatnonzero(lesions == name) for name in drawn])
        expected = headline(probabilities[rows], targets[rows], LESION)
        assert {name: value[row] for name, value in values.items()} == pytest.approx(expected)


def test_copies_of_a_photograph_do_not_make_a_figure_surer() -> None:
    probabilities, targets, lesions = case(BINARY, 150, 150)
    wide, many, names = (np.repeat(part, 4, axis=0) for part in (probabilities, targets, lesions))
    once = intervals(probabilities, targets, lesions, BINARY, 0.4)["bounds"]
    assert intervals(wide, many, names, BINARY, 0.4)["bounds"] == once
    careless = intervals(wide, many, np.arange(600), BINARY, 0.4)["bounds"]
    widths = [bounds["accuracy"][1] - bounds["accuracy"][0] for bounds in (careless, once)]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.15)


def test_the_width_is_that_of_the_normal_approximation() -> None:
    probabilities, targets, lesions = case(BINARY, 400, 400)
    rate = float((probabilities.argmax(axis=1) == targets).mean())
    low, high = intervals(probabilities, targets, lesions, BINARY, 0.4)["bounds"]["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * (rate * (1 - rate) / 400) ** 0.5, rel=0.1)


def test_every_interval_holds_its_figure_and_is_the_same_again() -> None:
    probabilities, targets, lesions = case(LESION, 400, 300)
    content = intervals(probabilities, targets, lesions, LESION, 0.4)
    assert (content["level"], content["resamples"], content["lesions"]) == (0.95, 1000, 300)
    figures = headline(probabilities, targets, LESION)
    for name, (low, high) in content["bounds"].items():
        assert 0 <= low < figures[name] < high <= 2, name
    for name, (low, high) in content["recall"].items():
        assert low <= figures[f"recall {name}"] <= high, name
    assert intervals(probabilities, targets, lesions, LESION, 0.4) == content
    assert intervals(probabilities, targets, lesions, LESION, 0.4, seed=1) != content


def test_a_figure_that_is_not_defined_has_no_interval() -> None:
    probabilities, targets, lesions = case(BINARY)
    benign = targets == 0
    content = intervals(probabilities[benign], targets[benign], lesions[benign], BINARY, 0.4)
    assert content["bounds"]["malignancy_auroc"] is content["bounds"]["sensitivity"] is None
    assert content["recall"]["malignant"] is None
    assert content["bounds"]["specificity"] is not None


def test_a_figure_without_spread_has_no_interval() -> None:
    probabilities, targets, lesions = case(BINARY)
    probabilities[targets == 1] = [0.1, 0.9]
    content = intervals(probabilities, targets, lesions, BINARY, 0.4)
    assert content["recall"]["malignant"] is content["bounds"]["sensitivity"] is None
    assert content["recall"]["benign"] is not None


def test_a_thousand_resamples_of_the_test_split_take_seconds() -> None:
    arrays = case(LESION, 1602, 1194)
    start = time.perf_counter()
    intervals(*arrays, LESION, 0.4)
    assert time.perf_counter() - start < 20


def test_subgroups_are_the_figures_of_their_images() -> None:
    probabilities, targets, lesions = case(LESION, 300, 250)
    sex = np.array(["female", "male"])[np.arange(300) % 2].astype(object)
    sex[:4] = None
    table = pd.DataFrame({"lesion_id": lesions, "sex": sex, "age": None})
    content = subgroups(probabilities, targets, table, LESION, 0.4)
    # A column without any entry is left out.
    assert list(content) == ["sex"]
    assert {value: row["n"] for value, row in content["sex"].items()} == {
        "female": 148,
        "male": 148,
        "unknown": 4,
    }
    rows = sex == "female"
    expected = headline(probabilities[rows], targets[rows], LESION)
    found = content["sex"]["female"]
    assert {name: found[name] for name in evaluation_subgroups.BY_GROUP} == pytest.approx(
        {name: expected[name] for name in evaluation_subgroups.BY_GROUP}
    )
    own = intervals(probabilities[rows], targets[rows], lesions[rows], LESION, 0.4)["bounds"]
    assert found["intervals"] == {name: own[name] for name in evaluation_subgroups.BY_GROUP}
    assert found["lesions"] == len(set(lesions[rows]))
    assert found["malignant"] == np.isin(targets[rows], LESION.positive_indices).sum()


def test_ages_are_in_bands() -> None:
    probabilities, targets, lesions = case(BINARY, 8, 8)
    ages = [0, 39, 40, 59, 60, 85, None, "?"]
    content = subgroups(
        probabilities, targets, pd.DataFrame({"lesion_id": lesions, "age": ages}), BINARY, 0.4
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
    probabilities, _, _ = case(BINARY, len(targets), len(targets))
    table = pd.DataFrame({"lesion_id": [f"L{i}" for i in range(len(targets))], "sex": "male"})
    row = subgroups(probabilities, targets, table, BINARY, 0.4)["sex"]["male"]
    assert (row["n"], row["malignant"]) == (malignant + benign, malignant)
    known = {
        "accuracy": malignant + benign >= FEWEST,
        "malignancy_auroc": min(malignant, benign) >= FEWEST,
        "sensitivity": malignant >= FEWEST,
        "specificity": benign >= FEWEST,
    }
    for name, defined in known.items():
        assert (row[name] is not None, row["intervals"][name] is not None) == (defined, defined), (
            name
        )


def test_photographs_of_few_lesions_are_few() -> None:
    targets = np.array([1] * 20 + [0] * 20)
    probabilities, _, _ = case(BINARY, 40, 40)
    # Twenty malignant images of nine lesions, and as many benign ones of ten.
    lesions = [f"M{i % (FEWEST - 1)}" for i in range(20)] + [f"B{i % FEWEST}" for i in range(20)]
    row = subgroups(
        probabilities, targets, pd.DataFrame({"lesion_id": lesions, "sex": "male"}), BINARY, 0.4
    )["sex"]["male"]
    assert [name for name in evaluation_subgroups.BY_GROUP if row[name] is not None] == [
        "accuracy",
        "specificity",
    ]


def test_the_worst_errors_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95], [0.6, 0.4], [0.3, 0.7]])
    targets = np.array([1, 0, 1, 1, 0])
    ids = np.array([f"I{i}" for i in range(5)])
    found = worst_errors(probabilities, targets, ids, BINARY, 3)
    assert [row["image_id"] for row in found] == ["I0", "I1", "I4"]
    assert found[0] == {
        "image_id": "I0",
        "truth": "malignant",
        "predicted": "benign",
        "probability": 0.9,
    }
    assert worst_errors(probabilities, probabilities.argmax(axis=1), ids, BINARY) == []
