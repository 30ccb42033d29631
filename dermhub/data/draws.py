"""Draws of training images: how often each class and each source is shown in an epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.data import additions
from dermhub.tasks import COARSE, LESION_NAMES, MALIGNANT

MOST_REPEATS = 4
"""Times that an image is shown in an epoch at most, to balance the sources of its class."""


def diagnosis_groups(rows: pd.DataFrame) -> Ints:
    """Number the diagnoses of training rows: (N,).

    Images that are only called benign or malignant, beside others whose diagnosis is given, are
    drawn with the most frequent benign or malignant diagnosis.
    """
    diagnoses = rows["dx"].astype(str)
    given = diagnoses[~diagnoses.isin(COARSE)]
    for word in COARSE:
        same = given[given.isin(LESION_NAMES) & (given.isin(MALIGNANT) == (word == "malignant"))]
        if len(same):
            diagnoses = diagnoses.replace(word, str(same.value_counts().idxmax()))
    _, numbers = np.unique(diagnoses.to_numpy(str), return_inverse=True)
    return numbers.astype(np.int64)


def source_numbers(rows: pd.DataFrame) -> Ints:
    """Number the sources of training rows: (N,); see `additions.SOURCE`."""
    names = rows.get(additions.SOURCE, pd.Series("", index=rows.index))
    _, numbers = np.unique(names.to_numpy(str), return_inverse=True)
    return numbers.astype(np.int64)


def epoch_order(
    groups: NDArray[np.int64],
    sampling: float,
    key: tuple[int, int],
    sources: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Draw the indices of one epoch, as many as there are images, in random order.

    `groups` (N,) is the group, a diagnosis, of each image, `sources` (N,) its source, and `key` is
    (seed, epoch). A group is drawn in proportion to share**sampling: 1 keeps the data's own shares,
    0 draws all groups equally often. Within each group the sources are drawn in the same
    proportions, those of all images, as far as `of_sources` lets them: a source then says nothing
    of the diagnosis. Within group and source every image is used before any is repeated.
    """
    if sources is None:
        sources = np.zeros(len(groups), np.int64)
    # The last number sets these draws apart from those of the augmentation.
    rng = np.random.default_rng([*key, 0x0DE2])
    names, counts = np.unique(groups, return_counts=True)
    weights = np.bincount(sources).astype(float)
    drawn = []
    numbers = _whole(counts.astype(float) ** sampling, len(groups))
    for name, number in zip(names, numbers, strict=True):
        members = np.flatnonzero(groups == name)
        images = np.bincount(sources[members], minlength=len(weights))
        for source, part in enumerate(of_sources(images, weights, int(number))):
            chosen = members[sources[members] == source]
            if not len(chosen):
                continue
            # Rounded up, and at least one round.
            rounds = max(-(-int(part) // len(chosen)), 1)
            permutations = [rng.permutation(chosen) for _ in range(rounds)]
            drawn.append(np.concatenate(permutations)[:part])
    return rng.permutation(np.concatenate(drawn))


def of_sources(images: Ints, weights: Floats64, number: int) -> Ints:
    """Divide `number` draws of a group among its sources: (S,).

    `images` (S,) counts the group's images of each source. Sources that have any are drawn in
    proportion to `weights` (S,), but none more often than `MOST_REPEATS` times its images, unless
    that leaves draws over.
    """
    if number == 0:
        return np.zeros(len(images), np.int64)
    limit = MOST_REPEATS * images.astype(float)
    if limit.sum() <= number:
        return _whole(images.astype(float), number)
    draws = np.zeros(len(images))
    unlimited = images > 0
    while True:
        left = number - draws[~unlimited].sum()
        wanted = left * weights / weights[unlimited].sum()
        over = unlimited & (wanted > limit)
        if not over.any():
            draws[unlimited] = wanted[unlimited]
            return _whole(draws, number)
        draws[over] = limit[over]
        unlimited &= ~over


def _whole(shares: Floats64, number: int) -> Ints:
    """Divide a number in proportion to shares (S,) into whole numbers (S,) that add up to it."""
    # Rounding the running sum, and not each part, makes the parts add up.
    ends = np.floor(np.cumsum(shares / shares.sum()) * number + 0.5).astype(np.int64)
    return np.diff(ends, prepend=0)
