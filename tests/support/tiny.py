"""Tiny models, data and runs that the tests share."""

from __future__ import annotations

import base64
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train
from dermhub import layout, tensors
from dermhub.images.drawn_lesions import draw
from dermhub.images.view import InputSpec, to_array
from dermhub.models import backbone, export, weights
from dermhub.models.config import ModelConfig
from dermhub.models.engines import select
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import Task
from dermhub.zones import Threshold

Command = Callable[..., tuple[int, str, str]]

TINY_SPEC = InputSpec(size=64)

DARKNESS = {"akiec": 0.5, "bcc": 0.6, "bkl": 0.3, "df": 0.2, "mel": 1.0, "nv": 0.0, "vasc": 0.8}
"""How each diagnosis is drawn, so that there is something to learn."""

TINY_RUN = (
    *("--model", "test_resnet", "--init", "scratch", "--epochs", 6, "--batch-size", 8),
    *(
        "--size",
        48,
        "--train-size",
        32,
        "--workers",
        0,
        "--lr",
        0.01,
        "--ema",
        0.9,
        "--mixup",
        0,
    ),
)
"""Options of train.py for a run of a second that does learn something."""


def run_training(*options: object) -> None:
    """train.py in this process, which saves the seconds that a new one needs to import torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *map(str, options)])
        train.main()


def make_model(folder: Path, task: Task, architecture: str = "test_efficientnet") -> Path:
    """Save a tiny model with seeded random weights and everything that a model folder tells."""
    torch.manual_seed(len(task.classes))
    model = backbone.build(architecture, len(task.classes))
    images = torch.stack(
        [to_tensor(draw(seed, (72, 64), seed / 7), TINY_SPEC) for seed in range(8)]
    )
    with torch.no_grad():
        # Batch norms see a few images and the classifier is widened, so that outputs differ between
        # images.
        for _ in range(20):
            model(images)
        backbone.classifier(model).weight.normal_(std=1.0)
    weights.save(folder, model, make_config(task, architecture))
    return folder


def add_file(folder: Path, name: str, content: bytes) -> ModelFolder:
    """Write a file beside a model's weights, and state it in config.json."""
    model = ModelFolder(folder)
    return model.write(model.config, {name: content})


def add_graph(folder: Path) -> Path:
    """Give a model folder its graph, as measuring does."""
    graph = export.graph(select.load_torch(ModelFolder(folder)))
    assert graph is not None
    add_file(folder, layout.GRAPH, graph.content)
    return folder


def add_old_graph(folder: Path) -> Path:
    """Give a model folder a graph that holds the weights again, as earlier versions wrote it.

    The exporter merges batch norms into convolutions.
    """
    engine = select.load_torch(ModelFolder(folder))
    size = engine.config.input.size
    inputs = torch.zeros(2, 3, size, size)
    names = ["images", "logits", "features"]
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Both(engine.model).eval(),
            (inputs,),
            stream,  # type: ignore[arg-type]
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    # It is not installed on s390x, where no test writes a graph.
    import onnx

    model = onnx.load_model_from_string(stream.getvalue())
    head = backbone.classifier(engine.model).weight.detach().numpy()
    texts = {"weights": engine.config.weights_sha256}
    texts["head"] = base64.b64encode(tensors.write({"weight": head})).decode()
    for key, value in texts.items():
        model.metadata_props.add(key=f"dermhub.{key}", value=value)
    add_file(folder, layout.GRAPH, model.SerializeToString())
    return folder


class Both(torch.nn.Module):
    """A model with two outputs: logits and feature maps."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = backbone.features(self.model, images)
        return backbone.head(self.model, maps), maps


def make_config(task: Task, architecture: str = "test_efficientnet") -> ModelConfig:
    """A whole and valid configuration, as train.py writes it."""
    return ModelConfig(
        architecture=architecture,
        task=task,
        input=TINY_SPEC,
        temperature=1.5,
        thresholds={
            "sensitivity_95": Threshold(0.25, "at least 95% sensitivity for malignancy"),
            "youden": Threshold(0.5, "largest sensitivity + specificity - 1 (Youden)"),
        },
        highly_suspicious=Threshold(0.6, "at least 70% of the images above it malignant"),
        provenance={
            "data": {
                "source": "drawings",
                "ham10000_lesions": False,
                "images": 49,
                "lesions": 42,
                "table_sha256": "0" * 64,
                "partition_sha256": "0" * 64,
            },
            "code": {"dermhub": "0.1.0", "revision": "0" * 40},
            "options": {"task": task.name, "model": architecture, "epochs": 1},
            "environment": {
                "python": "3",
                "torch": "2",
                "timm": "1",
                "machine": "none",
                "threads": 1,
            },
            "epoch_seconds": 1.0,
            "images_per_second": 1.0,
            "date": "2026-01-01",
        },
        weights_sha256="0" * 64,
    )


def to_tensor(rgb: Image.Image, spec: InputSpec) -> torch.Tensor:
    """An image as a model sees it: (3, size, size)."""
    return torch.from_numpy(to_array(rgb, spec))


def pixels(
    seed: int = 0, height: int = 40, width: int = 48
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Drawn pixels as a uint8 array (height, width, 3)."""
    return np.asarray(draw(seed, (width, height)))
