"""Files beside the weights, made from the weights or from training and validation images alone.

Each is a function of images that a user of the model never has, so it is made once, when the model
is measured. So are prediction sets and zones, which stand in config.json. Nothing here changes an
answer's probabilities, and nothing sees a test image.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats32
from dermhub.data import partition, tables
from dermhub.evaluation import calibration, metrics
from dermhub.images import near_duplicates
from dermhub.images.photo import Photo
from dermhub.layout import GRAPH, OOD_GATE, SEEN
from dermhub.models import conformal, export, ood_gate, prediction
from dermhub.models.config import ModelConfig
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.export import Made
from dermhub.models.model_folder import ModelFolder
from dermhub.scoring.inference import Outputs
from dermhub.tasks import Task

EACH = 200
"""Largest number of training images of a diagnosis that a gate is fitted on.

With all of them, two thirds would be nevi, and carcinomas would look strange to the gate.
"""


def clear(folder: ModelFolder) -> ModelFolder:
    """Remove old sidecars from config.json, so that the folder is whole meanwhile."""
    config = dataclasses.replace(folder.config, conformal=None, highly_suspicious=None, files={})
    return folder if config == folder.config else folder.write(config, {})


def graph(engine: TorchEngine) -> Made | None:
    """Export a model as a graph in memory.

    Returns None without the package onnx, for a model that gains nothing by it, and, with a line on
    stderr, when the export fails.
    """
    if not export.installed():
        return None
    try:
        return export.graph(engine)
    # The exporter raises many kinds of error. A trained model must not be lost for want of a faster
    # engine.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        print(
            f"{engine.folder.path} gets no {GRAPH}, and PyTorch answers instead: {reason}",
            file=sys.stderr,
        )
        return None


def gate_images(train: pd.DataFrame) -> pd.DataFrame:
    """Return the training rows that a gate is fitted on: at most `EACH` of a diagnosis.

    They are spread evenly over the rows of their diagnosis, and stay in the order of the table.
    """
    kept = []
    for _, rows in train.groupby("dx"):
        places = np.linspace(0, len(rows) - 1, min(EACH, len(rows))).round().astype(np.int64)
        kept += list(rows.index[places])
    return train.loc[sorted(kept)]


def fit(
    config: ModelConfig, table: pd.DataFrame, outputs: dict[str, Outputs]
) -> tuple[ModelConfig, dict[str, bytes]]:
    """Fit prediction sets, zones, the list of seen images, and the out-of-distribution gate.

    `table` has the images, and `outputs` the model's outputs for the rows of each split, in their
    order. Those of training are of `gate_images`, varied
    (`dermhub.scoring.inference.varied_outputs`), because other photographs of the same kind must
    not look strange to the gate. Returns the configuration with prediction sets and zones, and the
    content of each file.
    """
    learnt = table[table["split"] != "test"]
    images = (Photo.open(path).working_copy for path in learnt["path"])
    seen = near_duplicates.build(images, list(learnt["image_id"]), list(learnt["split"]))
    validation = table[table["split"] == "validation"]
    malignant = is_malignant(validation, config.task)
    held_out = outputs["validation"]
    gate = ood_gate.fit(outputs["train"].described, held_out.described, malignant)
    contents = {SEEN: seen.to_bytes(), OOD_GATE: gate.to_bytes()}
    return chosen(config, validation, held_out.logits), contents


def calibrate(
    config: ModelConfig, validation: pd.DataFrame, logits: Floats32
) -> tuple[ModelConfig, dict[str, Any]]:
    """Choose temperature, bias and thresholds on the validation rows of a table, for their logits.

    Returns the configuration, and the block `selection` of metrics.json.
    """
    task = config.task
    targets = tables.targets(validation, task)
    lesions = partition.canonical(validation["lesion_id"]).to_numpy(str)
    chosen = calibration.choose(logits, targets, lesions, task)
    bias = {} if chosen.bias is None else dict(zip(task.classes, chosen.bias.tolist(), strict=True))
    config = dataclasses.replace(config, temperature=chosen.temperature, bias=bias)
    score = prediction.malignancy(prediction.calibrated(logits, config), task)
    thresholds = calibration.choose_thresholds(score, is_malignant(validation, task))
    selection = {
        "split": "validation",
        "temperature": chosen.temperature,
        **({"bias": bias} if bias else {}),
        "cross_validation": chosen.scores,
        "ece_before_temperature": metrics.expected_calibration_error(
            prediction.softmax(logits), targets
        ),
    }
    return dataclasses.replace(config, thresholds=thresholds), selection


def chosen(config: ModelConfig, validation: pd.DataFrame, logits: Floats32) -> ModelConfig:
    """Choose prediction sets and zones on the validation rows of a table, for their logits."""
    probabilities = prediction.calibrated(logits, config)
    lesions = partition.canonical(validation["lesion_id"]).to_numpy(str)
    targets = tables.targets(validation, config.task)
    cut = calibration.choose_highly_suspicious(
        prediction.malignancy(probabilities, config.task),
        is_malignant(validation, config.task),
        next(iter(config.thresholds.values())).value,
    )
    sets = conformal.fit(probabilities, targets, lesions, config.task.classes)
    return dataclasses.replace(config, conformal=sets, highly_suspicious=cut)


def is_malignant(table: pd.DataFrame, task: Task) -> NDArray[np.bool_]:
    """(N,) which rows of a table show a malignant class of the task."""
    return np.isin(tables.targets(table, task), task.positive_indices)


def write(
    folder: ModelFolder, config: ModelConfig, contents: dict[str, bytes], made: Made | None
) -> ModelFolder:
    """Write the results of `fit` and the graph; without a new graph, an old one is removed."""
    if made is None:
        (folder.path / GRAPH).unlink(missing_ok=True)
        return folder.write(config, contents)
    return folder.write(config, {GRAPH: made.content, **contents})
