"""The cost of a model: its parameters, the size of its weights, and the time of an answer."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dermhub.images.drawn_lesions import draw
from dermhub.layout import WEIGHTS
from dermhub.models import backbone
from dermhub.models.classifier import Classifier
from dermhub.models.model_folder import ModelFolder

LATENCY_SIZE = (600, 450)
"""Width and height of the image for `latency`: those of HAM10000's photographs."""


def weights(folder: ModelFolder, model: nn.Module) -> dict[str, Any]:
    """The size of a model: the block `weights` of metrics.json.

    Parameters and memory layout of the model, megabytes (10**6 bytes) and sha256 of its file.
    """
    return {
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "megabytes": round((folder.path / WEIGHTS).stat().st_size / 1e6, 1),
        "sha256": folder.config.weights_sha256,
        "memory_format": str(backbone.memory_format(folder.config.architecture)),
    }


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Measure the median time of a call, in milliseconds."""
    # The first call also picks its kernels.
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def latency(classifier: Classifier, repeats: int = 20) -> dict[str, Any]:
    """Measure the time of an answer: the block `latency` of metrics.json.

    It is the median over calls of `predict` for one drawn image in memory, so that decoding does
    not count. The block names the machine, too.
    """
    image = draw(0, LATENCY_SIZE)
    return {
        "median_ms": round(median_ms(lambda: classifier.predict(image), repeats), 1),
        "n": repeats,
        "runtime": classifier.engine.runtime,
        "image": list(LATENCY_SIZE),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown processor"
