"""Intervals over resampled lesions, against slow and obvious versions of the same."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.evaluation import bootstrap
from dermhub.evaluation.bootstrap import Resamples, resampled_figures, weighted_figures
from dermhub.tasks import BINARY, LESION, Task
from tests.support.drawn_predictions import THRESHOLD, draw_predictions, figures_with_interval


def intervals(
    probabilities: Floats64, targets: Ints, lesions: NDArray[Any], task: Task, seed: int = 0
) -> dict[str, Any]:
    resamples = Resamples.draw(lesions, seed=seed)
    return bootstrap.intervals(resamples, probabilities, targets, task, THRESHOLD)


@pytest.mark.parametrize("task", [BINARY, LESION], ids=["binary", "lesion"])
def test_equal_weights_give_the_figures_of_the_card(task: Task) -> None:
    probabilities, targets, _ = draw_predictions(task)
    values = weighted_figures(np.ones((1, 120)), probabilities, targets, task, THRESHOLD)
    assert {name: value[0] for name, value in values.items()} == pytest.approx(
        figures_with_interval(probabilities, targets, task)
    )


def test_a_weight_is_a_number_of_copies() -> None:
    probabilities, targets, _ = draw_predictions(LESION)
    counts = np.random.default_rng(1).integers(0, 4, (5, 120))
    counts[0, targets == 3] = 0  # one resample without a class
    counts[1, np.isin(targets, LESION.positive_indices)] = 0  # and one without any malignant image
    values = weighted_figures(counts.astype(float), probabilities, targets, LESION, THRESHOLD)
    for row, repeats in enumerate(counts):
        expected = figures_with_interval(
            np.repeat(probabilities, repeats, axis=0), np.repeat(targets, repeats), LESION
        )
        of_row = {
            name: None if np.isnan(value[row]) else value[row] for name, value in values.items()
        }
        assert of_row == pytest.approx(expected), row
    assert np.isnan(values["malignancy_auroc"][1])


def test_the_photographs_of_a_lesion_are_drawn_together() -> None:
    probabilities, targets, lesions = draw_predictions(LESION)
    resamples = Resamples.draw(lesions, count=3, seed=7)
    values = resampled_figures(resamples, probabilities, targets, LESION, THRESHOLD)
    names = np.unique(lesions)
    rng = np.random.default_rng(7)
    for row, counts in enumerate(
        rng.multinomial(len(names), np.full(len(names), 1 / len(names)), 3)
    ):
        drawn = np.repeat(names, counts)
        rows = np.concatenate([np.flatnonzero(lesions == name) for name in drawn])
        expected = figures_with_interval(probabilities[rows], targets[rows], LESION)
        assert {name: value[row] for name, value in values.items()} == pytest.approx(expected)


def test_copies_of_a_photograph_do_not_make_a_figure_surer() -> None:
    probabilities, targets, lesions = draw_predictions(BINARY, 150, 150)
    wide, many, names = (np.repeat(part, 4, axis=0) for part in (probabilities, targets, lesions))
    once = intervals(probabilities, targets, lesions, BINARY)["bounds"]
    assert intervals(wide, many, names, BINARY)["bounds"] == once
    careless = intervals(wide, many, np.arange(600), BINARY)["bounds"]
    widths = [bounds["accuracy"][1] - bounds["accuracy"][0] for bounds in (careless, once)]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.15)


def test_the_width_is_that_of_the_normal_approximation() -> None:
    probabilities, targets, lesions = draw_predictions(BINARY, 400, 400)
    rate = float((probabilities.argmax(axis=1) == targets).mean())
    low, high = intervals(probabilities, targets, lesions, BINARY)["bounds"]["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * (rate * (1 - rate) / 400) ** 0.5, rel=0.1)


def test_every_interval_holds_its_figure_and_is_the_same_again() -> None:
    probabilities, targets, lesions = draw_predictions(LESION, 400, 300)
    content = intervals(probabilities, targets, lesions, LESION)
    assert (content["level"], content["resamples"], content["lesions"]) == (0.95, 1000, 300)
    figures = figures_with_interval(probabilities, targets, LESION)
    for name, (low, high) in content["bounds"].items():
        assert 0 <= low < figures[name] < high <= 2, name
    for name, (low, high) in content["recall"].items():
        assert low <= figures[f"recall {name}"] <= high, name
    assert intervals(probabilities, targets, lesions, LESION) == content
    assert intervals(probabilities, targets, lesions, LESION, seed=1) != content


def test_a_figure_that_is_not_defined_has_no_interval() -> None:
    probabilities, targets, lesions = draw_predictions(BINARY)
    benign = targets == 0
    content = intervals(probabilities[benign], targets[benign], lesions[benign], BINARY)
    assert content["bounds"]["malignancy_auroc"] is content["bounds"]["sensitivity"] is None
    assert content["recall"]["malignant"] is None
    assert content["bounds"]["specificity"] is not None


def test_a_figure_without_spread_has_no_interval() -> None:
    probabilities, targets, lesions = draw_predictions(BINARY)
    probabilities[targets == 1] = [0.1, 0.9]
    content = intervals(probabilities, targets, lesions, BINARY)
    assert content["recall"]["malignant"] is content["bounds"]["sensitivity"] is None
    assert content["recall"]["benign"] is not None


def test_resamples_are_the_same_each_time() -> None:
    lesions = np.arange(9) // 2
    first = np.concatenate(Resamples.draw(lesions, count=250).chunks)
    second = np.concatenate(Resamples.draw(lesions, count=250).chunks)
    assert first.shape == (250, 9)
    assert (first == second).all()
    assert (first[:, 0] == first[:, 1]).all()
    assert set(first[:, ::2].sum(axis=1)) == {5.0}


def test_values_of_a_figure_come_in_the_order_of_the_resamples() -> None:
    # Two photographs of lesion A and one of B: each of 150 resamples draws two lesions.
    resamples = Resamples.draw(np.array(["A", "A", "B"]), count=150)
    values = resamples.values(lambda weights: weights.sum(axis=1))
    weights = np.concatenate(resamples.chunks)
    assert [len(chunk) for chunk in resamples.chunks] == [100, 50]
    assert values.tolist() == weights.sum(axis=1).tolist()
    # Drawn twice, A counts four images, and B two; one of each is three.
    assert set(values) == {2.0, 3.0, 4.0}
    assert resamples.interval(lambda weights: weights.sum(axis=1)) == [2.0, 4.0]
    assert resamples.lesions == 2


def test_a_thousand_resamples_of_the_test_split_take_seconds() -> None:
    arrays = draw_predictions(LESION, 1602, 1194)
    start = time.perf_counter()
    intervals(*arrays, LESION)
    assert time.perf_counter() - start < 20
