"""Draws of training images: shares of the classes, and of the sources within each class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermhub.data import draws


@pytest.mark.parametrize(
    ("sampling", "expected"),
    # 90 and 10 images; square roots 9.49 and 3.16: three quarters and one quarter.
    [(1.0, [90, 10]), (0.5, [75, 25]), (0.0, [50, 50])],
)
def test_epoch_order_draws_the_shares_that_are_asked_for(
    sampling: float, expected: list[int]
) -> None:
    groups = np.repeat([0, 1], [90, 10])
    order = draws.epoch_order(groups, sampling, (0, 0))
    assert np.bincount(groups[order]).tolist() == expected


def test_epoch_order_uses_every_image_before_one_is_repeated() -> None:
    groups = np.repeat([0, 1, 2], [70, 20, 10])
    times = np.bincount(draws.epoch_order(groups, 0.0, (0, 0)), minlength=100)
    assert times.sum() == 100
    # 33 of 70, 34 of 20 and 33 of 10.
    for first, last, low, high in ((0, 70, 0, 1), (70, 90, 1, 2), (90, 100, 3, 4)):
        assert (times[first:last].min(), times[first:last].max()) == (low, high)


def test_epoch_order_with_the_datas_own_shares_is_a_permutation() -> None:
    groups = np.repeat([0, 1, 2], [70, 20, 10])
    assert sorted(draws.epoch_order(groups, 1.0, (3, 4))) == list(range(100))


def test_epoch_order_depends_on_seed_and_epoch_alone() -> None:
    groups = np.repeat([0, 1], [30, 10])
    orders = {key: draws.epoch_order(groups, 0.5, key).tolist() for key in ((0, 0), (0, 1), (1, 0))}
    assert orders[0, 0] == draws.epoch_order(groups, 0.5, (0, 0)).tolist()
    assert len({tuple(order) for order in orders.values()}) == 3


def test_sources_are_drawn_in_the_same_proportions_in_every_class() -> None:
    # 60 images of the first source and 40 of the second, but 3 in 4 of class 0 are of the first,
    # and 3 in 8 of class 1. Of each class, 60 % are drawn from the first.
    groups = np.repeat([0, 1], [60, 40])
    sources = np.repeat([0, 1, 0, 1], [45, 15, 15, 25])
    order = draws.epoch_order(groups, 1.0, (0, 0), sources)
    assert len(order) == 100
    counts = [
        np.bincount(sources[order][groups[order] == group], minlength=2).tolist()
        for group in (0, 1)
    ]
    assert counts == [[36, 24], [24, 16]]


def test_one_source_is_drawn_as_without_sources() -> None:
    groups = np.repeat([0, 1], [30, 10])
    alone = draws.epoch_order(groups, 0.5, (3, 1))
    assert np.array_equal(draws.epoch_order(groups, 0.5, (3, 1), np.zeros(40, np.int64)), alone)


@pytest.mark.parametrize(
    ("images", "number", "expected"),
    [
        # As the weights 60 and 40 say.
        ([50, 50], 20, [12, 8]),
        # A class that one source lacks is drawn from the other.
        ([0, 50], 20, [0, 20]),
        # One image is shown four times at most, not eight.
        ([50, 1], 20, [16, 4]),
        # Where all would be shown more often, they are drawn as they are.
        ([3, 1], 40, [30, 10]),
        ([3, 1], 0, [0, 0]),
    ],
)
def test_draws_of_sources_by_hand(images: list[int], number: int, expected: list[int]) -> None:
    drawn = draws.of_sources(np.array(images), np.array([60.0, 40.0]), number)
    assert drawn.tolist() == expected


def test_labels_without_a_diagnosis_are_drawn_with_the_most_frequent_one() -> None:
    rows = pd.DataFrame({"dx": ["nv", "bkl", "nv", "mel", "benign", "bcc", "mel", "malignant"]})
    groups = draws.diagnosis_groups(rows)
    assert groups[4] == groups[0] == groups[2]
    assert groups[7] == groups[3] == groups[6]
    assert len(set(groups.tolist())) == 4
    # Where nothing else is given, the words are groups of their own.
    assert draws.diagnosis_groups(pd.DataFrame({"dx": ["benign", "malignant"]})).tolist() == [0, 1]


def test_images_without_a_column_of_sources_are_of_one() -> None:
    rows = pd.DataFrame({"dx": ["nv", "mel"], "source": ["", "more 2020"]})
    assert draws.source_numbers(rows).tolist() == [0, 1]
    assert draws.source_numbers(rows[["dx"]]).tolist() == [0, 0]
