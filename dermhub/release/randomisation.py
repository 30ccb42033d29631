"""Cascading randomisation: what becomes of a class map when the model that it explains is
destroyed.

Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3.1: weights are drawn anew
from the last layer down, stage by stage, until nothing is left of what was learnt. A map that stays
as it was explains no model.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dermhub.arrays import Floats32
from dermhub.data import partition
from dermhub.evaluation import bootstrap
from dermhub.evaluation.class_maps import rank_correlation
from dermhub.models import backbone
from dermhub.models.engines.base import Engine
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.scoring import inference

IMAGES, DRAWS, SEED = 64, 5, 0
"""Test images, each of another lesion, and how often all weights are drawn: of the last layer alone
a single draw says little, because one direction in feature space for each class decides about all
images.
"""


def predicted_maps(
    engine: Engine, batch: Floats32, targets: NDArray[np.int64] | None = None
) -> Floats32:
    """Class maps (N, h, w) of images (N, 3, H, W), each for its class in `targets` (N,) or for the
    predicted one.
    """
    logits, features = engine.forward(batch)
    called = logits.argmax(axis=1) if targets is None else targets
    maps = np.zeros((len(batch), *features.shape[2:]), np.float32)
    for target in np.unique(called):
        rows = called == target
        maps[rows] = engine.class_maps(
            features[rows], np.eye(logits.shape[1], dtype=np.float32)[[target]]
        )[:, 0]
    return maps


def cascade(engine: TorchEngine, test: pd.DataFrame, workers: int = 0) -> dict[str, Any]:
    """The block `cascade` of metrics.json, for some of the test rows of a table.

    `engine` is the trained model, and stays as it is.

    Of each stage: `layer`, the first layer that is drawn anew (it and all that come after it), the
    mean Spearman correlation of the cells (h * w) of the map before and after, over images and
    draws, its bounds over images, the least and the largest mean of a draw, and the share of maps
    that became blank, whose correlation counts as 0. The map stays that of the class that the
    trained model predicts. `other_image` is the mean correlation with the map of another image.
    """
    rows = sample(test)
    batch = np.concatenate(
        inference.run(lambda images: images, engine.config.input, list(rows["path"]), workers)
    )
    trained = unfolded(engine)
    targets = trained.forward(batch)[0].argmax(axis=1)
    own = predicted_maps(trained, batch, targets)
    flat = own.reshape(len(own), -1)
    drawn = [maps_of_draw(engine, batch, targets, SEED + draw) for draw in range(DRAWS)]
    names = [names[0].rpartition(".")[0] for names in reversed(backbone.stage_names(engine.model))]
    stages = [
        _stage(name, flat, [draw[number] for draw in drawn]) for number, name in enumerate(names)
    ]
    other = rank_correlation(flat, np.roll(flat, len(flat) // 2, axis=0))
    return {
        "images": len(rows),
        "draws": DRAWS,
        "seed": SEED,
        "cells": list(own.shape[1:]),
        "other_image": _mean(other),
        "stages": stages,
    }


def sample(test: pd.DataFrame) -> pd.DataFrame:
    """The first image of at most `IMAGES` lesions that are drawn with a fixed seed, in the table's
    order.
    """
    first = test[~partition.canonical(test["lesion_id"]).duplicated()]
    chosen = np.random.default_rng(SEED).permutation(len(first))[:IMAGES]
    return first.iloc[np.sort(chosen)]


def unfolded(engine: TorchEngine) -> TorchEngine:
    """A copy of a model, to be changed: it answers from its torch module itself instead of a folded
    copy.
    """
    changed = copy.deepcopy(engine)
    changed.folded = changed.model
    return changed


def maps_of_draw(
    engine: TorchEngine, batch: Floats32, targets: NDArray[np.int64], seed: int
) -> list[Floats32]:
    """Maps (N, h * w) after each stage, the last stage first, with weights as a new model of that
    seed has them.
    """
    changed, config = unfolded(engine), engine.config
    # Drawing must not change what the caller draws next.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = backbone.build(config.architecture, len(config.task.classes))
    maps = []
    for names in reversed(backbone.stage_names(changed.model)):
        backbone.renew(changed.model, fresh, names)
        maps.append(predicted_maps(changed, batch, targets).reshape(len(batch), -1))
    return maps


def _stage(layer: str, own: Floats32, drawn: list[Floats32]) -> dict[str, Any]:
    found = np.stack([rank_correlation(own, maps) for maps in drawn])
    known = found[:, np.isfinite(found[0])]
    means = known.mean(axis=1) if known.size else np.array([])
    return {
        "layer": layer,
        "correlation": _mean(known),
        "bounds": _bounds(known.mean(axis=0)) if known.size else None,
        "lowest": float(means.min()) if known.size else None,
        "highest": float(means.max()) if known.size else None,
        "blank": float(np.mean([~maps.any(axis=1) for maps in drawn])),
    }


def _bounds(values: NDArray[np.float64]) -> list[float] | None:
    # Each image is of another lesion.
    weights = bootstrap.lesion_weights(np.arange(len(values)))
    return bootstrap.bounds(np.concatenate([one @ values / one.sum(axis=1) for one in weights]))


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None
