"""Files beside the weights, made from the weights or from training and validation images alone.

Each is a function of images that a user of the model never has, so it is made once, when the model
is measured. Nothing here changes an answer's probabilities, and nothing sees a test image.
"""

from __future__ import annotations

import dataclasses
import sys

import pandas as pd

from dermhub.data import partition, tables
from dermhub.images import near_duplicates
from dermhub.images.decode import to_rgb
from dermhub.layout import GRAPH, OOD_GATE, SEEN
from dermhub.models import conformal, export, ood_gate, prediction
from dermhub.models.config import Conformal, ModelConfig
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.scoring.inference import Outputs


def clear(folder: ModelFolder) -> ModelFolder:
    """Remove old sidecars from config.json, so that the folder is whole meanwhile."""
    config = dataclasses.replace(folder.config, conformal=None, files={})
    return folder if config == folder.config else folder.write(config, {})


def graph(engine: TorchEngine) -> OnnxEngine | None:
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


def fit(
    config: ModelConfig, table: pd.DataFrame, outputs: dict[str, Outputs]
) -> tuple[ModelConfig, dict[str, bytes]]:
    """Fit prediction sets, the list of seen images, and the out-of-distribution gate.

    `table` has the images, and `outputs` the model's outputs for the rows of each split, in their
    order. Those of training images are of varied images
    (`dermhub.scoring.inference.varied_outputs`), because other photographs of the same kind must
    not look strange to the gate. Returns the configuration with prediction sets, and the content of
    each file.
    """
    learnt = table[table["split"] != "test"]
    images = (to_rgb(path) for path in learnt["path"])
    seen = near_duplicates.build(images, list(learnt["image_id"]), list(learnt["split"]))
    gate = ood_gate.fit(outputs["train"].described, outputs["validation"].described)
    sets = _conformal(config, learnt, outputs["validation"])
    contents = {SEEN: seen.to_bytes(), OOD_GATE: gate.to_bytes()}
    return dataclasses.replace(config, conformal=sets), contents


def write(
    folder: ModelFolder, config: ModelConfig, contents: dict[str, bytes], made: OnnxEngine | None
) -> ModelFolder:
    """Write the results of `fit` and the graph; without a new graph, an old one is removed."""
    if made is None:
        (folder.path / GRAPH).unlink(missing_ok=True)
        return folder.write(config, contents)
    return folder.write(config, {GRAPH: made.content, **contents})


def _conformal(config: ModelConfig, table: pd.DataFrame, outputs: Outputs) -> Conformal:
    """Fit prediction sets on the validation rows of a table."""
    part = table[table["split"] == "validation"]
    lesions = partition.canonical(part["lesion_id"]).to_numpy(str)
    probabilities = prediction.softmax(outputs.logits, config.temperature)
    return conformal.fit(
        probabilities, tables.targets(part, config.task), lesions, config.task.classes
    )
