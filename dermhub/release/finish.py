"""The last step of a training run: choose on validation, read test once, write the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dermhub.data import partition, tables
from dermhub.errors import ConfigError
from dermhub.evaluation import calibration, metrics
from dermhub.models import backbone, prediction, weights
from dermhub.models.config import ModelConfig
from dermhub.release import measure
from dermhub.release.previous import Previous
from dermhub.training import transfer
from dermhub.training.fit import Fit, predict_all


def finish(fit: Fit, folder: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """Turn a finished fit into a model folder with its card.

    Returns the content of metrics.json. Everything that is chosen here is chosen on validation.
    Raises LeakError when a lesion stands in two splits: there is no card for such figures.
    """
    partition.check(fit.table)
    model, config, chosen = choose(fit, provenance)
    saved = weights.save(folder, model, config, half=fit.config.weights == "fp16")
    before = Previous.after_training(saved, fit.config.name or fit.task.name, chosen)
    return measure.measure(saved, fit.table, before, fit.history, workers=fit.config.workers)


def choose(fit: Fit, provenance: dict[str, Any]) -> tuple[nn.Module, ModelConfig, dict[str, Any]]:
    """Choose prior correction, temperature and thresholds on validation.

    The prior correction is added to the classifier's bias; the rest is chosen with it. Returns the
    model to release, its configuration, and the block `selection` of metrics.json.
    """
    task = fit.task
    paths = list(fit.held_out["path"])
    workers = fit.config.workers
    true = tables.targets(fit.held_out, task)
    offset = calibration.directions(fit.targets, task)
    model = transfer.average_weights(fit.average, fit.soup)
    if fit.config.weights == "fp16":
        # Everything is chosen for the weights that are released.
        weights.round_half(model)
    raw = predict_all(model, paths, fit.spec, workers)
    if not np.isfinite(raw).all():
        raise ConfigError(
            "The trained weights give no finite numbers: lower --lr, or use --bf16 off."
        )
    exponent = calibration.choose_exponent(raw, true, offset, task)
    with torch.no_grad():
        bias = backbone.classifier(model).bias
        bias.add_(torch.as_tensor(exponent * offset, dtype=bias.dtype, device=bias.device))
    logits = predict_all(model, paths, fit.spec, workers)
    temperature = calibration.fit_temperature(logits, true)
    score = prediction.malignancy(prediction.softmax(logits, temperature), task)
    malignant = np.isin(true, task.positive_indices)
    config = ModelConfig(
        architecture=fit.config.model,
        task=task,
        input=fit.spec,
        temperature=temperature,
        thresholds=calibration.choose_thresholds(score, malignant),
        provenance=provenance,
    )
    rounded = [round(float(value), 6) for value in offset]
    uncalibrated = prediction.softmax(logits)
    selection = {
        "split": "validation",
        "prior_exponent": exponent,
        "prior_offset": dict(zip(task.classes, rounded, strict=True)),
        "temperature": temperature,
        "ece_before_temperature": metrics.expected_calibration_error(uncalibrated, true),
    }
    return model, config, selection
