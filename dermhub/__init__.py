"""dermhub: benign / malignant and seven-class classification of dermatoscopic images.

    import dermhub
    classifier = dermhub.load("lesion")
    prediction = classifier.predict("lesion.jpg")
    classifier.explain("lesion.jpg").overlay.save("map.png")

Research software, not a medical device. Names are imported when they are first used, so that
`import dermhub` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dermhub.data.cells import to_cell
    from dermhub.errors import (
        ConfigError,
        DataError,
        DermhubError,
        DownloadError,
        ImageError,
        LeakError,
        ModelError,
    )
    from dermhub.evaluation.metrics import at_prevalence
    from dermhub.hub.pins import Entry
    from dermhub.images.concern import Concern
    from dermhub.images.drawn_lesions import draw
    from dermhub.images.photo import Photo
    from dermhub.images.view import InputSpec
    from dermhub.models.assessment import Assessment, Diagnosis, assess, stability
    from dermhub.models.beside.similar_cases import Case, SimilarCases
    from dermhub.models.catalog import shipped
    from dermhub.models.classifier import Classifier, load
    from dermhub.models.config import ModelConfig
    from dermhub.models.explanation import Explanation
    from dermhub.models.prediction import Prediction, Predictions
    from dermhub.own_folder import OwnFolder
    from dermhub.tasks import BINARY, LESION, TASKS, Task, plain_name
    from dermhub.training.config import TrainConfig
    from dermhub.zones import Threshold, Zone, Zones

__version__ = "0.1.0"

_HOMES = {
    "data.cells": ("to_cell",),
    "errors": (
        "ConfigError",
        "DataError",
        "DermhubError",
        "DownloadError",
        "ImageError",
        "LeakError",
        "ModelError",
    ),
    "evaluation.metrics": ("at_prevalence",),
    "hub.pins": ("Entry",),
    "images.concern": ("Concern",),
    "images.drawn_lesions": ("draw",),
    "images.photo": ("Photo",),
    "images.view": ("InputSpec",),
    "models.assessment": ("Assessment", "Diagnosis", "assess", "stability"),
    "models.beside.similar_cases": ("Case", "SimilarCases"),
    "models.catalog": ("shipped",),
    "models.classifier": ("Classifier", "load"),
    "models.config": ("ModelConfig",),
    "models.explanation": ("Explanation",),
    "models.prediction": ("Prediction", "Predictions"),
    "own_folder": ("OwnFolder",),
    "tasks": ("BINARY", "LESION", "TASKS", "Task", "plain_name"),
    "training.config": ("TrainConfig",),
    "zones": ("Threshold", "Zone", "Zones"),
}

__all__ = [
    "BINARY",
    "LESION",
    "TASKS",
    "Assessment",
    "Case",
    "Classifier",
    "Concern",
    "ConfigError",
    "DataError",
    "DermhubError",
    "Diagnosis",
    "DownloadError",
    "Entry",
    "Explanation",
    "ImageError",
    "InputSpec",
    "LeakError",
    "ModelConfig",
    "ModelError",
    "OwnFolder",
    "Photo",
    "Prediction",
    "Predictions",
    "SimilarCases",
    "Task",
    "Threshold",
    "TrainConfig",
    "Zone",
    "Zones",
    "__version__",
    "assess",
    "at_prevalence",
    "draw",
    "load",
    "plain_name",
    "shipped",
    "stability",
    "to_cell",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"dermhub.{module}"), name)
    raise AttributeError(f"module 'dermhub' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
