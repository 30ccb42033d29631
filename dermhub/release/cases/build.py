"""An index of similar cases, made from the training images that may be shown to others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermhub.arrays import Floats32
from dermhub.data import batches, image_files, partition
from dermhub.errors import DataError, some
from dermhub.images.photo import Photo
from dermhub.models.beside import case_index, thumbnails
from dermhub.models.beside.case_index import CaseIndex, Entry
from dermhub.models.beside.similar_cases import HAM10000
from dermhub.models.beside.thumbnails import Thumbnails
from dermhub.models.config import ModelConfig
from dermhub.release.cases import choice

DIMENSIONS = 64
"""Principal axes of an index.

On validation they find cases as well as all features do (docs/experiments.md).
"""

LARGEST_INDEX, LARGEST_THUMBNAILS = 2_000_000, 4_000_000
"""Bytes of cases.safetensors and of thumbnails.safetensors at most."""

HEADER = 2_000
"""Bytes that are left for the header of either file."""


def shareable(train: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the training rows whose image lies below a folder too, with its path as `shown`.

    Raises DataError where there is none.
    """
    places = image_files.Places(folder).match(list(train["image_id"]))
    shown = pd.Series(places, index=train.index, dtype=object)
    kept = train.assign(shown=shown)[shown.notna()]
    if kept.empty:
        raise DataError(
            f"{folder} holds none of the {len(train)} training images "
            f"({some(train['image_id'], 3)}): expected images that are called by their ids, those "
            "that may be shown to others."
        )
    return kept.reset_index(drop=True)


def build(
    config: ModelConfig,
    train: pd.DataFrame,
    rows: pd.DataFrame,
    features: Floats32,
    workers: int = 0,
) -> tuple[CaseIndex, Thumbnails]:
    """Make the index of training photographs and its pictures.

    `train` has all training images, `rows` (N) are those of `shareable`, and `features` (N, K) the
    model's of the latter. The index holds one photograph of each lesion, of as many lesions as the
    files may hold, in the order of the rows.
    """
    lesions = partition.canonical(rows["lesion_id"])
    mean, axes = _principal_axes(features)
    first = choice.photographs(lesions, features)
    points = case_index.unit(features[first], mean, axes)
    scale = 127 / float(np.abs(points).max())
    pictures = _pictures(rows["shown"].iloc[first], workers)
    entries = _entries(train, rows, lesions, first)
    room = LARGEST_INDEX - HEADER - mean.nbytes - axes.nbytes
    kept = []
    left = LARGEST_THUMBNAILS - HEADER
    for place in choice.order(rows.iloc[first], points):
        room -= points.shape[1] + len(json.dumps(entries[place].__dict__))
        left -= len(pictures[place]) + 8
        if min(room, left) < 0:
            break
        kept.append(place)
    kept.sort()
    index = CaseIndex(
        mean,
        axes,
        scale,
        case_index.rounded(points[kept], scale),
        [entries[place] for place in kept],
        HAM10000 if config.provenance.get("data", {}).get("ham10000_lesions") else "",
    )
    return index, Thumbnails.of([pictures[place] for place in kept])


def _principal_axes(features: Floats32) -> tuple[Floats32, Floats32]:
    """Return the mean (K,) and the first principal axes (D, K) of features (N, K)."""
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    dimensions = min(DIMENSIONS, features.shape[1], len(features))
    axes = vectors[:, ::-1][:, :dimensions].T
    return mean.astype(np.float32), np.ascontiguousarray(axes, np.float32)


def _pictures(paths: Sequence[Path], workers: int) -> list[bytes]:
    """Draw the thumbnails of images; raises ImageError for one that can't be read."""

    def draw(path: Path) -> bytes:
        return thumbnails.make(Photo.open(path).rgb)

    with batches.without_warnings():
        return list(batches.in_order(draw, paths, workers))


def _entries(
    train: pd.DataFrame, rows: pd.DataFrame, lesions: pd.Series, first: Sequence[int]
) -> list[Entry]:
    """Return the entries of the lesions whose photographs stand at these places of the rows.

    Photographs that may not be shown are among the others: the model has seen them, too.
    """
    others = train["image_id"].groupby(partition.canonical(train["lesion_id"])).agg(list).to_dict()
    kinds = rows["dx_type"] if "dx_type" in rows else pd.Series("", index=rows.index)
    proofs = kinds.fillna("").astype(str)
    return [
        Entry(
            image,
            lesion,
            rows["dx"].iloc[place],
            proofs.iloc[place],
            tuple(name for name in others[lesion] if name != image),
        )
        for place in first
        for image, lesion in ((rows["image_id"].iloc[place], lesions.iloc[place]),)
    ]
