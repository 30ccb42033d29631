"""Every figure against scikit-learn on random arrays, and against small cases by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as reference

from dermhub.arrays import Floats64, Ints
from dermhub.errors import ConfigError
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.tasks import BINARY, LESION, Task

THREE = Task("three", ("a", "b", "c"), frozenset({"b", "c"}))


def some_scores(
    seed: int, ties: bool
) -> tuple[Floats64, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """200 scores in [0, 1], rounded to a tenth where ties are wanted, and their truth."""
    rng = np.random.default_rng(seed)
    positive = rng.random(200) < 0.3
    scores = np.clip(rng.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    return (scores.round(1) if ties else scores), positive


def some_predictions(seed: int, classes: int = 7) -> tuple[Floats64, Ints]:
    """Probabilities of 300 images, right more often than not, and their classes."""
    rng = np.random.default_rng(seed)
    targets = np.append(np.arange(classes), rng.integers(0, classes, 300 - classes))
    logits = rng.normal(size=(300, classes)) + 1.5 * np.eye(classes)[targets]
    return prediction.softmax(logits), targets


def test_softmax_by_hand() -> None:
    logits = np.log([[1.0, 3.0], [4.0, 4.0]])
    assert prediction.softmax(logits) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    # A temperature of 0.5 squares the odds: 1 to 9.
    assert prediction.softmax(logits, 0.5)[0] == pytest.approx([0.1, 0.9])


def test_softmax_of_huge_float32_logits_is_finite_and_float64() -> None:
    out = prediction.softmax(np.array([[1e5, -1e5, 0.0]], np.float32))
    assert out.dtype == np.float64
    assert out.tolist() == [[1.0, 0.0, 0.0]]


def test_confusion_matrix_rows_are_the_truth() -> None:
    matrix = metrics.confusion_matrix(np.array([0, 0, 0, 2]), np.array([0, 1, 1, 2]), 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_scikit_learns(seed: int, ties: bool) -> None:
    scores, positive = some_scores(seed, ties)
    assert metrics.auroc(scores, positive) == pytest.approx(
        reference.roc_auc_score(positive, scores), abs=1e-12
    )


def test_auroc_by_hand() -> None:
    # Four pairs: 0.8 > 0.5, 0.8 > 0.2, 0.5 = 0.5 counts half, 0.5 > 0.2.
    scores, positive = np.array([0.8, 0.5, 0.5, 0.2]), np.array([True, True, False, False])
    assert metrics.auroc(scores, positive) == 3.5 / 4


@pytest.mark.parametrize("positive", [True, False])
def test_auroc_of_one_class_is_undefined(positive: bool) -> None:
    assert metrics.auroc(np.array([0.1, 0.9]), np.array([positive, positive])) is None


@pytest.mark.parametrize("ties", [False, True])
def test_roc_curve_is_scikit_learns(ties: bool) -> None:
    scores, positive = some_scores(11, ties)
    ours = metrics.roc_curve(scores, positive)
    theirs = reference.roc_curve(positive, scores, drop_intermediate=False)
    for our_values, their_values in zip(ours, theirs, strict=True):
        assert our_values == pytest.approx(their_values)


@pytest.mark.parametrize("seed", range(3))
def test_summary_is_scikit_learns(seed: int) -> None:
    probabilities, targets = some_predictions(seed)
    called = probabilities.argmax(axis=1)
    truth = np.eye(7)[targets]
    ours = metrics.summarize(probabilities, targets, LESION)
    assert ours["n"] == 300
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(targets, called))
    assert ours["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(targets, called)
    )
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(targets, called, average="macro"))
    assert ours["macro_auroc"] == pytest.approx(
        reference.roc_auc_score(targets, probabilities, multi_class="ovr")
    )
    assert ours["nll"] == pytest.approx(reference.log_loss(targets, probabilities))
    assert ours["confusion_matrix"] == reference.confusion_matrix(targets, called).tolist()
    assert ours["brier"] == pytest.approx(((probabilities - truth) ** 2).sum() / 300)
    precision, recall, f1, n = reference.precision_recall_fscore_support(targets, called)
    for index, row in enumerate(ours["per_class"].values()):
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (precision[index], recall[index], f1[index])
        )
        assert row["n"] == n[index]
        assert row["auroc"] == pytest.approx(
            reference.roc_auc_score(targets == index, probabilities[:, index])
        )


@pytest.mark.parametrize("seed", range(3))
def test_binary_brier_is_twice_scikit_learns(seed: int) -> None:
    # Theirs looks at the positive class alone; the sum over both classes (Brier 1950) is twice
    # that.
    probabilities, targets = some_predictions(seed, 2)
    theirs = reference.brier_score_loss(targets, probabilities[:, 1])
    assert metrics.brier_score(probabilities, targets) == pytest.approx(2 * theirs)


def test_malignancy_is_the_sum_over_the_malignant_classes() -> None:
    row = np.array([[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.37]])
    # akiec, bcc and mel stand at 0, 1 and 4.
    assert prediction.malignancy(row, LESION) == pytest.approx([0.19])
    assert prediction.malignancy(np.array([[0.3, 0.7]]), BINARY) == pytest.approx([0.7])


def test_expected_calibration_error_by_hand() -> None:
    # Two bins: 0.9 and 0.7 (mean 0.8, one of two right: 0.3 off), 0.4 (three classes, right: 0.6
    # off).
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])
    error = metrics.expected_calibration_error(probabilities, np.array([0, 0, 2]), bins=2)
    assert error == pytest.approx((2 * 0.3 + 1 * 0.6) / 3)


def test_a_probability_of_one_is_in_the_last_bin() -> None:
    rows = metrics.reliability(np.array([1.0, 0.9375]), np.array([True, False]), bins=10)
    assert rows == [(0.96875, 0.5, 2)]


def test_negative_log_likelihood_by_hand() -> None:
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]])
    nll = metrics.negative_log_likelihood(probabilities, np.array([0, 1]))
    assert nll == pytest.approx((math.log(4) + math.log(2)) / 2)
    # A certain and wrong answer costs much, but never infinity: JSON could not hold it.
    assert math.isfinite(metrics.negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])))


def test_brier_score_by_hand() -> None:
    # (0.25 - 0)^2 + (0.75 - 1)^2 = 0.125 and, certain and wrong, 2.
    assert metrics.brier_score(
        np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1, 1])
    ) == pytest.approx(1.0625)


def test_operating_point_by_hand() -> None:
    scores = np.array([0.9, 0.5, 0.4, 0.6, 0.3, 0.2, 0.1])
    positive = np.array([True, True, True, False, False, False, False])
    assert metrics.operating_point(scores, positive, 0.5) == {
        "threshold": 0.5,
        # Five of seven calls are right.
        "accuracy": 5 / 7,
        "sensitivity": 2 / 3,
        "specificity": 3 / 4,
        "ppv": 2 / 3,
        "npv": 3 / 4,
        "tp": 2,
        "fn": 1,
        "fp": 1,
        "tn": 3,
    }


def test_operating_point_that_calls_nothing_has_no_ppv() -> None:
    point = metrics.operating_point(np.array([0.1, 0.2]), np.array([True, False]), 0.9)
    assert (point["sensitivity"], point["specificity"], point["ppv"], point["npv"]) == (
        0,
        1,
        None,
        0.5,
    )


def test_operating_point_without_positives_has_no_sensitivity() -> None:
    point = metrics.operating_point(np.array([0.1, 0.95]), np.array([False, False]), 0.9)
    assert (point["sensitivity"], point["specificity"], point["ppv"], point["npv"]) == (
        None,
        0.5,
        0,
        1,
    )


def test_no_image_has_no_figure() -> None:
    nothing = np.zeros(0)
    assert metrics.auroc(nothing, nothing.astype(bool)) is None
    point = metrics.operating_point(nothing, nothing.astype(bool), 0.5)
    assert (point["sensitivity"], point["specificity"], point["tp"]) == (None, None, 0)


def test_each_row_of_weights_is_a_set_of_images_by_hand() -> None:
    # The first row takes images 0 and 1, the second takes image 2 twice, the third takes none.
    weights = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    targets = np.array([0, 0, 1])
    figures = metrics.weighted_summary(weights, probabilities, targets, BINARY)
    assert figures["accuracy"] == pytest.approx([0.5, 1.0, np.nan], nan_ok=True)
    # (0.1^2 + 0.6^2) is 0.37 for one class of two and the mean over two images; then 2 * 0.2^2.
    assert figures["brier"] == pytest.approx([0.37, 0.08, np.nan], nan_ok=True)
    assert figures["ece"] == pytest.approx([(0.1 + 0.6) / 2, 0.2, np.nan], nan_ok=True)
    assert figures["confusion_matrix"].tolist() == [
        [[1, 1], [0, 0]],
        [[0, 0], [0, 2]],
        [[0, 0], [0, 0]],
    ]
    assert np.isnan(figures["malignancy_auroc"]).all()
    point = metrics.weighted_operating_point(weights, probabilities[:, 1], targets == 1, 0.5)
    assert point["specificity"] == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
    assert point["tp"].tolist() == [0, 2, 0]


def test_a_class_that_never_occurs_has_no_figures() -> None:
    # Truth a, b; called a, c. Class c is called but never true.
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.3, 0.6]])
    ours = metrics.summarize(probabilities, np.array([0, 1]), THREE)
    assert ours["per_class"]["c"] == {
        "n": 0,
        "recall": None,
        "precision": 0.0,
        "f1": None,
        "auroc": None,
    }
    # Class b is never called: that is a precision of 0, not an unknown one.
    assert ours["per_class"]["b"] == {
        "n": 1,
        "recall": 0.0,
        "precision": 0.0,
        "f1": 0.0,
        "auroc": 1.0,
    }
    # The means are over the two classes that occur.
    assert (ours["balanced_accuracy"], ours["macro_f1"], ours["macro_auroc"]) == (0.5, 0.5, 1.0)
    assert ours["malignancy_auroc"] == 1.0


def test_one_true_class_leaves_every_auroc_undefined() -> None:
    ours = metrics.summarize(
        np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 0]), BINARY, {"half": 0.5}
    )
    assert (ours["malignancy_auroc"], ours["macro_auroc"], ours["balanced_accuracy"]) == (
        None,
        None,
        1.0,
    )
    assert ours["per_class"]["malignant"] == {
        "n": 0,
        "recall": None,
        "precision": None,
        "f1": None,
        "auroc": None,
    }
    assert ours["operating_points"]["half"]["tn"] == 2


def test_what_an_operating_point_means_at_a_prevalence_by_hand() -> None:
    # Of 1,000 people 20 are ill: 18 are called and 2 missed; of the 980 others 196 are
    # called and 784 left alone.
    at_two_percent = metrics.at_prevalence(0.9, 0.8, 0.02)
    assert at_two_percent == pytest.approx(
        {"ppv": 18 / 214, "npv": 784 / 786, "missed": 2.0, "false_alarms": 196.0}
    )


def test_at_the_prevalence_of_the_test_itself_the_predictive_values_are_its_own() -> None:
    scores, positive = some_scores(0, ties=False)
    point = metrics.operating_point(scores, positive, 0.45)
    share = float(positive.mean())
    there = metrics.at_prevalence(point["sensitivity"], point["specificity"], share)
    assert (there["ppv"], there["npv"]) == pytest.approx((point["ppv"], point["npv"]))


def test_where_nobody_or_everybody_is_ill() -> None:
    assert metrics.at_prevalence(0.9, 1.0, 0.0) == {
        "ppv": None,
        "npv": 1.0,
        "missed": 0.0,
        "false_alarms": 0.0,
    }
    assert metrics.at_prevalence(1.0, 0.8, 1.0) == {
        "ppv": 1.0,
        "npv": None,
        "missed": 0.0,
        "false_alarms": 0.0,
    }


@pytest.mark.parametrize("wrong", [-0.1, 1.1, 20.0, math.nan, math.inf])
@pytest.mark.parametrize("place", range(3))
def test_a_number_that_is_no_share(place: int, wrong: float) -> None:
    given = [0.5, 0.5, 0.5]
    given[place] = wrong
    name = ("sensitivity", "specificity", "prevalence")[place]
    with pytest.raises(
        ConfigError, match=rf"^The {name} is {wrong}, expected a share from 0 to 1\.$"
    ):
        metrics.at_prevalence(*given)
