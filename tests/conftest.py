"""Shared by all tests: two tiny models with random weights, a tiny data folder, and one drawn photo.

Everything is drawn or seeded here; no test needs data, weights or a network.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hub_environment
import numpy as np
import pandas as pd
import pytest
import torch
from hub_server import Hub
from PIL import Image

import train
from dermhub import backbone, checkpoint
from dermhub.__main__ import main as dermhub_main
from dermhub.config import InputSpec, ModelConfig, Threshold
from dermhub.drawings import draw
from dermhub.labels import BINARY, LESION, LESION_NAMES, Task
from dermhub.preprocess import to_array

pytest_plugins = ["serving", "browsing"]

Command = Callable[..., tuple[int, str, str]]
TINY_SPEC = InputSpec(size=64)
DARKNESS = {"akiec": 0.5, "bcc": 0.6, "bkl": 0.3, "df": 0.2, "mel": 1.0, "nv": 0.0, "vasc": 0.8}
"""How each diagnosis is drawn, so that there is something to learn."""

TINY_RUN = (
    *("--model", "test_resnet", "--init", "scratch", "--epochs", 6, "--batch-size", 8),
    *("--size", 48, "--train-size", 32, "--workers", 0, "--lr", 0.01, "--ema", 0.9, "--warmup", 0.5),
)
"""Options of train.py for a run of a second that does learn something."""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny tensors are slower with more threads, and the tests should not take a whole machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_lesion_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model folder of the seven-class task; its outputs differ from image to image. Read only."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny-lesion", LESION)


@pytest.fixture(scope="session")
def tiny_binary_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model folder of the benign / malignant task. Read only."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny-binary", BINARY)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like HAM10000: a metadata table and 49 drawn JPEGs of 42 lesions, six a class. Read only."""
    folder = tmp_path_factory.mktemp("tiny-data")
    (folder / "images").mkdir()
    rows = []
    for number, (dx, lesion) in enumerate((dx, lesion) for dx in LESION_NAMES for lesion in range(6)):
        for photo in range(2 if lesion == 0 else 1):
            image_id = f"TEST_{number:03d}{photo}"
            draw(10 * number + photo, (48, 40), DARKNESS[dx]).save(folder / "images" / f"{image_id}.jpg")
            rows.append(
                {
                    "lesion_id": f"LESION_{number:03d}",
                    "image_id": image_id,
                    "dx": dx,
                    "dx_type": "histo" if number % 2 else "follow_up",
                    "age": 20 + number if number % 7 else None,
                    "sex": ("female", "male", "unknown")[number % 3],
                    "localization": ("back", "face")[number % 2],
                }
            )
    pd.DataFrame(rows).to_csv(folder / "tiny_metadata.csv", index=False)
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub on a loopback port, which the real client speaks to, and an empty cache."""
    shutil.rmtree(hub_environment.HOME / "hub", ignore_errors=True)
    server = Hub()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def model(tiny_lesion_model: Path) -> dict[str, bytes]:
    """The files of a published model, and two that must never be fetched."""
    own = {path.name: path.read_bytes() for path in tiny_lesion_model.iterdir()}
    others = {"README.md": b"---\nlicense: mit\n---\n", "metrics.json": b"{}", "figures/roc.png": b"png"}
    return {**own, **others, "pytorch_model.bin": b"pickle", "modeling.py": b"code"}


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drawn lesion as a JPEG of 200 x 150 pixels. Read only."""
    path = tmp_path_factory.mktemp("photo") / "lesion.jpg"
    draw(3, (200, 150), 0.8).save(path, quality=95)
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `python -m dermhub` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = dermhub_main([str(one) for one in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def finished_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real training run on the tiny data, seven classes, six epochs. Read only."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    run_training("--data", tiny_data, "--out", out, *TINY_RUN)
    return out


def run_training(*options: object) -> None:
    """train.py in this process, which saves the seconds that a new one needs to import torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *map(str, options)])
        train.main()


def make_model(folder: Path, task: Task, architecture: str = "test_efficientnet") -> Path:
    """Save a tiny model with seeded random weights and everything that a model folder tells."""
    torch.manual_seed(len(task.classes))
    model = backbone.build(architecture, len(task.classes))
    images = torch.stack([to_tensor(draw(seed, (72, 64), seed / 7), TINY_SPEC) for seed in range(8)])
    with torch.no_grad():
        # Batch norms see a few images and the classifier is widened, so that outputs differ between images.
        for _ in range(20):
            model(images)
        backbone.classifier(model).weight.normal_(std=1.0)
    checkpoint.save(folder, model, make_config(task, architecture))
    return folder


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
            "environment": {"python": "3", "torch": "2", "timm": "1", "machine": "none", "threads": 1},
            "epoch_seconds": 1.0,
            "images_per_second": 1.0,
            "date": "2026-01-01",
        },
        weights_sha256="0" * 64,
    )


def to_tensor(rgb: Image.Image, spec: InputSpec) -> torch.Tensor:
    """An image as a model sees it: (3, size, size)."""
    return torch.from_numpy(to_array(rgb, spec))


def pixels(seed: int = 0, height: int = 40, width: int = 48) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Drawn pixels as a uint8 array (height, width, 3)."""
    return np.asarray(draw(seed, (width, height)))
