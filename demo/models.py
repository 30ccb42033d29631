"""The models behind the page: loaded, and held against what the page shows of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dermhub import Classifier

PICTURES = {
    "figures/confusion_matrix.png": "confusion matrix",
    "figures/roc.png": "ROC curves",
    "figures/reliability.png": "reliability diagram",
}
"""Figures of a model that the page shows: file in its folder -> title."""


def load_model(option: str, name: str) -> Classifier:
    """The model for an option; raises ModelError where it is of another task or lacks what the page shows."""
    from dermhub import TASKS, ModelError, load

    model = load(name)
    if model.config.task != TASKS[option]:
        raise ModelError(f"--{option} {name} is a model of the task {model.config.task.name!r}, expected {option!r}.")
    lacking = [file for file in ("metrics.json", "README.md", *PICTURES) if not (model.folder / file).is_file()]
    if lacking:
        raise ModelError(f"{model.folder} lacks {', '.join(lacking)}, which the page shows: give a whole model folder.")
    try:
        card_text(model), figures(model)["test"]["operating_points"][next(iter(model.config.thresholds))]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{model.folder} has a damaged metrics.json or README.md: fetch the model again.") from error
    return model


def figures(model: Classifier) -> dict[str, Any]:
    """The content of the model's metrics.json."""
    content: dict[str, Any] = json.loads((model.folder / "metrics.json").read_text(encoding="utf-8"))
    return content


def card_text(model: Classifier) -> str:
    """The model card without its front matter and pictures."""
    text = (model.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    return re.sub(r"^!\[.*\)$", "", text, flags=re.MULTILINE)


def identity(model: Classifier) -> dict[str, str]:
    """What tells a model from any other: its architecture and the sha256 of its weights."""
    return {"architecture": model.config.architecture, "weights_sha256": model.config.weights_sha256}
