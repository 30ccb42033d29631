"""The last step of a training run: choose on validation, read test once, write the folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dermhub.data import additions, partition
from dermhub.errors import ConfigError
from dermhub.evaluation import calibration
from dermhub.models import weights
from dermhub.models.config import ModelConfig
from dermhub.release import measure, sidecars
from dermhub.release.previous import Previous
from dermhub.training.fit import Fit, predict_all


def finish(fit: Fit, folder: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """Turn a finished fit into a model folder with its card.

    Returns the content of metrics.json. Everything that is chosen here is chosen on validation.
    Raises LeakError when a lesion stands in two splits: there is no card for such figures.
    """
    partition.check(fit.table)
    model, config, chosen = choose(fit, provenance)
    saved = weights.save(folder, model, config, half=True)
    before = Previous.after_training(saved, fit.config.name or fit.task.name, chosen)
    return measure.measure(saved, fit.table, before, fit.history, workers=fit.config.workers)


def choose(fit: Fit, provenance: dict[str, Any]) -> tuple[nn.Module, ModelConfig, dict[str, Any]]:
    """Choose temperature, bias and thresholds on validation.

    Returns the model to release, its configuration, and the block `selection` of metrics.json.
    """
    # Everything is chosen for the weights that are released.
    model = copy.deepcopy(fit.average)
    weights.round_half(model)
    logits = predict_all(model, list(fit.held_out["path"]), fit.spec, fit.config.workers)
    if not np.isfinite(logits).all():
        raise ConfigError("The trained weights give no finite numbers: lower --lr.")
    counts = additions.own_rows(fit.train)["dx"].value_counts()
    config = ModelConfig(
        architecture=fit.config.model,
        task=fit.task,
        input=fit.spec,
        prior=calibration.class_shares(counts.to_dict(), fit.task),
        provenance=provenance,
    )
    config, selection = sidecars.calibrate(config, fit.held_out, logits)
    return model, config, selection
