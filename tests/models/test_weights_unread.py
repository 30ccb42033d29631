"""Weights that are refused before their values are read, and values that no file holds."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch

from dermhub import layout
from dermhub.models import backbone
from dermhub.models import weights as models_weights
from dermhub.tasks import LESION
from tests.models.test_weights import refusal, rewrite
from tests.support.tiny import make_config


@pytest.fixture
def folder(tiny_lesion_model: Path, tmp_path: Path) -> Path:
    """Copy a whole model folder, to be spoilt."""
    return Path(shutil.copytree(tiny_lesion_model, tmp_path / "model"))


@pytest.mark.slow
def test_tensors_that_no_file_holds_are_worked_out(tmp_path: Path) -> None:
    # Its filters against aliasing are buffers that are not saved.
    torch.manual_seed(0)
    model = backbone.build("efficientnet_blur_b0", 7).eval()
    models_weights.save(tmp_path, model, make_config(LESION, "efficientnet_blur_b0"))
    read, _ = models_weights.load(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(read(images), model(images))


def test_no_value_is_read_of_a_file_that_does_not_fit(folder: Path) -> None:
    # Sparse: 800 MB that take no room.
    weights = folder / layout.WEIGHTS
    header = {"x": {"dtype": "F32", "shape": [200_000_000], "data_offsets": [0, 800_000_000]}}
    text = json.dumps(header).encode()
    weights.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(weights, 8 + len(text) + 800_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "lacks tensor(s) conv_stem.weight" in refusal(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    os.truncate(weights, 1_100_000_000)
    assert "it has 1,100 MB, expected at most 1,000 MB" in refusal(folder)


def test_whole_numbers_in_the_place_of_weights(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"bn1.bias": tensors["bn1.bias"].int()}))
    assert refusal(folder) == (
        "model.safetensors has the wrong kind of numbers for tensor(s) bn1.bias of "
        "test_efficientnet."
    )


def test_a_pipe_in_the_place_of_the_weights(folder: Path) -> None:
    (folder / layout.WEIGHTS).unlink()
    os.mkfifo(folder / layout.WEIGHTS)
    assert "it is a named pipe, expected a file" in refusal(folder)
