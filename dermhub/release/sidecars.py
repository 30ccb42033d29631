"""What ships beside the weights and is fitted on training and validation images alone.

Each is a function of images that a user of the model never has, so it is fitted once, when the
model is measured. Nothing here changes an answer's probabilities, and nothing sees a test image.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dermhub import files, layout
from dermhub.data import partition, tables
from dermhub.images import near_duplicates
from dermhub.images.decode import to_rgb
from dermhub.models import conformal, export, ood_gate, prediction
from dermhub.models import folder as models_folder
from dermhub.models.config import Conformal, ModelConfig
from dermhub.models.folder import read_config
from dermhub.scoring.inference import Outputs

Maker = Callable[[ModelConfig, pd.DataFrame, dict[str, Outputs]], bytes]


def _seen(_: ModelConfig, table: pd.DataFrame, __: dict[str, Outputs]) -> bytes:
    images = (to_rgb(path) for path in table["path"])
    return near_duplicates.build(images, list(table["image_id"]), list(table["split"])).to_bytes()


def _gate(_: ModelConfig, __: pd.DataFrame, outputs: dict[str, Outputs]) -> bytes:
    return ood_gate.fit(outputs["train"].described, outputs["validation"].described).to_bytes()


SIDECARS: dict[str, Maker] = {layout.SEEN: _seen, layout.OOD_GATE: _gate}
"""Name of a file beside the weights -> its content from configuration, table and the outputs of
each split.
"""


def clear(folder: Path) -> None:
    """Take what was made out of config.json, so that the folder is whole at any time, and make the
    graph anew.

    Without the package onnx, or for a model that gains nothing by it, the folder has no graph.
    """
    content = _graph(folder)
    config = dataclasses.replace(read_config(folder), conformal=None, files={})
    files.write_json(folder / layout.CONFIG, config.to_json())
    (folder / layout.GRAPH).unlink(missing_ok=True)
    if content is not None:
        models_folder.add_file(folder, layout.GRAPH, content)


def _graph(folder: Path) -> bytes | None:
    if not export.installed():
        return None
    try:
        return export.graph(folder)
    # The exporter raises many kinds of error. A trained model must not be lost for want of a faster
    # engine.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        print(
            f"{folder} gets no {layout.GRAPH}, and PyTorch answers instead: {reason}",
            file=sys.stderr,
        )
        return None


def fit(folder: Path, table: pd.DataFrame, outputs: dict[str, Outputs]) -> ModelConfig:
    """Fit everything anew and state it in config.json; returns its content.

    `table` has the images, and `outputs` those of the rows of each split, in their order: of
    training images varied ones (`dermhub.scoring.inference.varied_outputs`), because other
    photographs of the same kind must not look strange to the gate.
    """
    learnt = table[table["split"] != "test"]
    known = {split: own for split, own in outputs.items() if split != "test"}
    config = read_config(folder)
    config = dataclasses.replace(config, conformal=_conformal(config, learnt, known["validation"]))
    files.write_json(folder / layout.CONFIG, config.to_json())
    for name, make in SIDECARS.items():
        models_folder.add_file(folder, name, make(config, learnt, known))
    return read_config(folder)


def _conformal(config: ModelConfig, table: pd.DataFrame, outputs: Outputs) -> Conformal:
    part = table[table["split"] == "validation"]
    lesions = partition.canonical(part["lesion_id"]).to_numpy(str)
    probabilities = prediction.softmax(outputs.logits, config.temperature)
    return conformal.fit(
        probabilities, tables.targets(part, config.task), lesions, config.task.classes
    )
