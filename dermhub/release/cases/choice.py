"""The choice of the lesions that an index of similar cases holds, and of a photograph of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd

from dermhub.arrays import Floats32, Ints

PROVEN = ("histo", "confocal", "consensus")
"""Kinds of proof in the order in which lesions are taken; all others come after them."""


def photographs(lesions: pd.Series, features: Floats32) -> list[int]:
    """Choose a photograph of each lesion: the one nearest to the mean of its features.

    `lesions` has the ids of N photographs, and `features` is (N, K). Returns places in the order of
    the photographs; of two at the same distance the first is taken.
    """
    chosen = []
    for _, rows in lesions.reset_index(drop=True).groupby(lesions.to_numpy(), sort=False):
        places = rows.index.to_numpy()
        centre = features[places].mean(axis=0, dtype=np.float64)
        far = ((features[places] - centre) ** 2).sum(axis=1)
        # Two photographs are equally far from their mean, but for rounding.
        chosen.append(int(places[far.round(4).argmin()]))
    return sorted(chosen)


def order(table: pd.DataFrame, points: Floats32) -> list[int]:
    """Order N lesions, a row each, so that the first ones of any number make a good index.

    Diagnoses take turns, so that rare ones are whole before a frequent one is. In each, lesions
    proven by histology come before others, and among those proven alike each is the one that is
    farthest from all that were taken before it (Gonzalez, "Clustering to minimize the maximum
    intercluster distance", Theoretical Computer Science 38, 1985). `points` is (N, D).
    """
    by_diagnosis = []
    for _, rows in table.reset_index(drop=True).groupby("dx"):
        kinds = rows["dx_type"] if "dx_type" in rows else pd.Series("", index=rows.index)
        ranks = kinds.map(lambda kind: PROVEN.index(kind) if kind in PROVEN else len(PROVEN))
        groups = [rows.index[ranks == rank].to_numpy(np.int64) for rank in sorted(set(ranks))]
        by_diagnosis.append(_spread(points, groups))
    turns = zip_longest(*by_diagnosis)
    return [place for turn in turns for place in turn if place is not None]


def _spread(points: Floats32, groups: Sequence[Ints]) -> Iterator[int]:
    """Yield the places of each group, the farthest from all before it first."""
    taken: Floats32 | None = None
    for group in groups:
        own = points[group]
        start = own.mean(axis=0) if taken is None else taken
        far = _squares(own, np.atleast_2d(start)).min(axis=1)
        # The first of all lies nearest to the middle.
        place = int(far.argmin() if taken is None else far.argmax())
        if taken is None:
            far = np.full(len(group), np.inf, np.float32)
        for _ in group:
            yield int(group[place])
            far = np.minimum(far, _squares(own, own[place : place + 1])[:, 0])
            far[place] = -1
            place = int(far.argmax())
        taken = own if taken is None else np.concatenate([taken, own])


def _squares(first: Floats32, second: Floats32) -> Floats32:
    """Return the squared distances between points (M, D) and (N, D): (M, N), at least 0."""
    lengths = (first * first).sum(axis=1)[:, None] + (second * second).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * (first @ second.T), 0), np.float32)
