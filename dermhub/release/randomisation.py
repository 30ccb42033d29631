"""Cascading randomisation: class maps while the model that they explain is destroyed.

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
from dermhub.models import backbone, prediction
from dermhub.models.engines.base import Engine
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.scoring import inference

IMAGES = 64
"""Most test images, each of another lesion."""

DRAWS = 5
"""Number of times that all weights are drawn.

A single draw of the last layer says little, because one direction in feature space for each class
decides about all images.
"""

SEED = 0
"""Seed of the images, and of the first draw of weights."""


def predicted_maps(
    engine: Engine, batch: Floats32, targets: NDArray[np.int64] | None = None
) -> Floats32:
    """Compute the class map of each image in a batch (N, 3, H, W), for one class each.

    The classes are `targets` (N,), by default the predicted ones. Returns (N, h, w).
    """
    logits, features = engine.forward(batch)
    if targets is None:
        targets = prediction.calibrated(logits, engine.config).argmax(axis=1)
    maps = np.zeros((len(batch), *features.shape[2:]), np.float32)
    for target in np.unique(targets):
        rows = targets == target
        direction = np.eye(logits.shape[1], dtype=np.float32)[[target]]
        maps[rows] = engine.class_maps(features[rows], direction)[:, 0]
    return maps


def cascade(engine: TorchEngine, test: pd.DataFrame, workers: int = 0) -> dict[str, Any]:
    """Compute the block `cascade` of metrics.json, for some of the test rows of a table.

    `engine` is the trained model, and stays as it is. Maps are those of the class that it predicts,
    also after its weights were drawn anew.

    Each stage has `layer`, the first layer that is drawn anew (with all that come after it);
    `correlation`, the mean Spearman correlation of the map's cells (h * w) before and after, over
    images and draws; its `bounds` over images; `lowest` and `highest`, the least and the largest
    mean of a draw; and `blank`, the share of maps that became blank, whose correlation counts as 0.
    `other_image` is the mean correlation with the map of another image.
    """
    rows = sample(test)
    paths = list(rows["path"])
    batches = inference.run(lambda images: images, engine.config.input, paths, workers)
    batch = np.concatenate(batches)
    trained = unfolded(engine)
    targets = prediction.calibrated(trained.forward(batch)[0], engine.config).argmax(axis=1)
    maps = predicted_maps(trained, batch, targets)
    flat = maps.reshape(len(maps), -1)
    drawn = [maps_of_draw(engine, batch, targets, SEED + draw) for draw in range(DRAWS)]
    # The first parameter of a stage names its layer: conv_stem.weight is of conv_stem.
    layers = [
        parameters[0].rpartition(".")[0]
        for parameters in reversed(backbone.stage_names(engine.model))
    ]
    stages = [
        _stage(layer, flat, [draw[number] for draw in drawn]) for number, layer in enumerate(layers)
    ]
    other = rank_correlation(flat, np.roll(flat, len(flat) // 2, axis=0))
    return {
        "images": len(rows),
        "draws": DRAWS,
        "seed": SEED,
        "cells": list(maps.shape[1:]),
        "other_image": _mean(other),
        "stages": stages,
    }


def sample(test: pd.DataFrame) -> pd.DataFrame:
    """Draw at most `IMAGES` lesions with a fixed seed: the first image of each, in order."""
    first = test[~partition.canonical(test["lesion_id"]).duplicated()]
    chosen = np.random.default_rng(SEED).permutation(len(first))[:IMAGES]
    return first.iloc[np.sort(chosen)]


def unfolded(engine: TorchEngine) -> TorchEngine:
    """Copy a model to change it: the copy answers from its torch module, not from a folded one."""
    changed = copy.deepcopy(engine)
    changed.folded = changed.model
    return changed


def maps_of_draw(
    engine: TorchEngine, batch: Floats32, targets: NDArray[np.int64], seed: int
) -> list[Floats32]:
    """Compute the maps (N, h * w) after each stage, the last stage first.

    Weights are drawn as those of a new model with that seed.
    """
    changed = unfolded(engine)
    config = engine.config
    # Drawing must not change what the caller draws next.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = backbone.build(config.architecture, len(config.task.classes))
    maps = []
    for names in reversed(backbone.stage_names(changed.model)):
        backbone.renew(changed.model, fresh, names)
        maps.append(predicted_maps(changed, batch, targets).reshape(len(batch), -1))
    return maps


def _stage(layer: str, trained: Floats32, drawn: list[Floats32]) -> dict[str, Any]:
    """Compare maps (N, h * w) of the trained model with those of each draw after a stage."""
    correlations = np.stack([rank_correlation(trained, maps) for maps in drawn])
    # Not defined, in every draw, for an image whose map was blank from the start.
    defined = correlations[:, np.isfinite(correlations[0])]
    means = defined.mean(axis=1) if defined.size else np.array([])
    return {
        "layer": layer,
        "correlation": _mean(defined),
        "bounds": _bounds(defined.mean(axis=0)) if defined.size else None,
        "lowest": float(means.min()) if defined.size else None,
        "highest": float(means.max()) if defined.size else None,
        "blank": float(np.mean([~maps.any(axis=1) for maps in drawn])),
    }


def _bounds(values: NDArray[np.float64]) -> list[float] | None:
    """The interval of a mean over images."""
    # Each image is of another lesion.
    lesions = np.arange(len(values))
    means = [
        weights @ values / weights.sum(axis=1) for weights in bootstrap.lesion_weights(lesions)
    ]
    return bootstrap.bounds(np.concatenate(means))


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean of the finite values; None where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None
