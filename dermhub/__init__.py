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
    from dermhub.catalog import Entry, shipped
    from dermhub.classifier import Classifier, load
    from dermhub.concern import Concern
    from dermhub.config import InputSpec, ModelConfig, Threshold
    from dermhub.errors import (
        ConfigError,
        DataError,
        DermhubError,
        DownloadError,
        ImageError,
        LeakError,
        ModelError,
    )
    from dermhub.labels import BINARY, LESION, TASKS, Task, plain_name
    from dermhub.prediction import Explanation, Prediction
    from dermhub.train_config import TrainConfig

__version__ = "0.1.0"

_HOMES = {
    "catalog": ("Entry", "shipped"),
    "classifier": ("Classifier", "load"),
    "concern": ("Concern",),
    "config": ("InputSpec", "ModelConfig", "Threshold"),
    "errors": ("ConfigError", "DataError", "DermhubError", "DownloadError", "ImageError", "LeakError", "ModelError"),
    "labels": ("BINARY", "LESION", "TASKS", "Task", "plain_name"),
    "prediction": ("Explanation", "Prediction"),
    "train_config": ("TrainConfig",),
}

__all__ = [
    "BINARY",
    "LESION",
    "TASKS",
    "Classifier",
    "Concern",
    "ConfigError",
    "DataError",
    "DermhubError",
    "DownloadError",
    "Entry",
    "Explanation",
    "ImageError",
    "InputSpec",
    "LeakError",
    "ModelConfig",
    "ModelError",
    "Prediction",
    "Task",
    "Threshold",
    "TrainConfig",
    "__version__",
    "load",
    "plain_name",
    "shipped",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"dermhub.{module}"), name)
    raise AttributeError(f"module 'dermhub' has no attribute {name!r}")
