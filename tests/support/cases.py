"""Indexes of similar cases for the tests, made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dermhub import layout
from dermhub.images.drawn_lesions import draw
from dermhub.models.beside import case_index, thumbnails
from dermhub.models.beside.case_index import CaseIndex, Entry
from dermhub.models.beside.similar_cases import HAM10000
from dermhub.models.beside.thumbnails import Thumbnails
from dermhub.models.classifier import Classifier
from dermhub.models.model_folder import ModelFolder

ENTRIES = (
    Entry("ISIC_0000001", "HAM_1", "mel", "histo"),
    Entry("ISIC_0000002", "HAM_2", "nv", "follow_up", ("ISIC_0000009",)),
    Entry("ISIC_0000003", "HAM_3", "nv", "consensus"),
    Entry("ISIC_0000004", "HAM_4", "bkl", "confocal"),
    Entry("mine", "HAM_5", "mel", "histo"),
    Entry("other", "HAM_6", "df", ""),
    Entry("ISIC_0000007", "HAM_7", "vasc", "histo"),
)
"""Cases of `add_index`, whose images are drawn with the seeds 0, 1, ..."""


def flat_index(points: list[list[int]], entries: tuple[Entry, ...] = ENTRIES) -> CaseIndex:
    """An index whose features are the codes themselves, but for their length."""
    codes = np.array(points, np.int8)
    size = codes.shape[1]
    mean, axes = np.zeros(size, np.float32), np.eye(size, dtype=np.float32)
    return CaseIndex(mean, axes, 127.0, codes, entries[: len(codes)])


def add_index(folder: Path) -> CaseIndex:
    """Give a model folder an index of drawn images, and return it."""
    images = [draw(seed, (72, 64), seed / 7) for seed in range(len(ENTRIES))]
    features = Classifier(folder).embed(iter(images))
    mean = features.mean(axis=0)
    axes = np.linalg.svd(features - mean, full_matrices=False)[2][:5].astype(np.float32)
    points = case_index.unit(features, mean, axes)
    codes = case_index.rounded(points, 127.0)
    index = CaseIndex(mean, np.ascontiguousarray(axes), 127.0, codes, ENTRIES, HAM10000)
    pictures = Thumbnails.of([thumbnails.make(image) for image in images])
    model = ModelFolder(folder)
    contents = {layout.CASES: index.to_bytes(), layout.THUMBNAILS: pictures.to_bytes()}
    model.write(model.config, contents)
    return index
