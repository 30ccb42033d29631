"""Normalisation of a run's input: that of the weights it begins with, on every way."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dermhub import files
from dermhub.errors import ConfigError
from dermhub.images.drawn_lesions import draw
from dermhub.images.view import IMAGENET_MEAN, IMAGENET_STD, InputSpec, to_array
from dermhub.models import backbone, weights
from dermhub.models.model_folder import ModelFolder
from dermhub.training import run, transfer
from dermhub.training.config import RUN_CONFIG, TrainConfig
from tests.support.tiny import TINY_RUN, run_training

HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and std of timm's test_resnet."""

OTHERS = ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))


def normalised(folder: Path) -> tuple[object, object]:
    """Mean and std in a model's config.json."""
    spec = ModelFolder(folder).config.input
    return spec.mean, spec.std


@pytest.fixture
def lender(finished_run: Path, tmp_path: Path) -> Path:
    """A model whose input is normalised as no model of timm is."""
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "lender"))
    content = files.read_json(folder / "config.json")
    mean, std = OTHERS
    content["pretrained_cfg"] |= {"mean": list(mean), "std": list(std)}
    files.write_json(folder / "config.json", content)
    return folder


def inputs(data: Path, init: object) -> run.Inputs:
    """The inputs of a tiny run with --init."""
    return run.read_inputs(
        TrainConfig(data=str(data), init=str(init), model="test_resnet", size=48, train_size=32)
    )


def test_it_is_that_of_the_pretrained_weights(finished_run: Path) -> None:
    assert backbone.normalisation("mobilenetv2_100") == (IMAGENET_MEAN, IMAGENET_STD)
    assert backbone.normalisation("tf_efficientnet_lite0") == HALVES
    assert normalised(finished_run / "model") == HALVES


@pytest.mark.parametrize("place", ["", "model.safetensors"])
def test_it_is_that_of_the_model_that_lends_its_weights(
    tiny_data: Path, lender: Path, tmp_path: Path, place: str
) -> None:
    spec = run.build(inputs(tiny_data, lender / place), tmp_path / "run", False).spec
    assert (spec.mean, spec.std, spec.size) == (*OTHERS, 48)


def test_a_resumed_run_has_that_of_its_beginning(
    tiny_data: Path, lender: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = [*TINY_RUN, "--epochs", 1, "--data", tiny_data, "--init", lender, "--out", out]
    run_training(*options)
    # A run with a saved state needs the lender no more.
    shutil.rmtree(lender)
    shutil.rmtree(out / "model")
    run_training("--resume", out)
    assert normalised(out / "model") == OTHERS


def test_a_run_of_an_earlier_version_goes_on_as_it_was(tiny_data: Path, tmp_path: Path) -> None:
    given = inputs(tiny_data, "scratch")
    run.begin(given, InputSpec(48, mean=OTHERS[0], std=OTHERS[1]), tmp_path, "unknown")
    assert run.build(given, tmp_path, True).spec.mean == OTHERS[0]
    content = files.read_json(tmp_path / RUN_CONFIG)
    files.write_json(tmp_path / RUN_CONFIG, {**content, "input": {"mean": [1, 2]}})
    with pytest.raises(ConfigError, match=r"config\.json is damaged \(.*: start a new run with"):
        run.build(given, tmp_path, True)
    del content["input"]
    files.write_json(tmp_path / RUN_CONFIG, content)
    assert run.build(given, tmp_path, True).spec == InputSpec(48)


def test_a_teacher_sees_what_it_learned_from() -> None:
    given, own = InputSpec(32), InputSpec(32, mean=OTHERS[0], std=OTHERS[1])
    picture = draw(3, (32, 32), 0.5)
    batch = torch.from_numpy(to_array(picture, given))[None]
    seen = transfer.Renormalised(nn.Identity(), given, own)(batch)[0]
    assert np.allclose(seen.numpy(), to_array(picture, own), atol=1e-5)


def test_teachers_of_a_run_are_given_their_own(
    tiny_data: Path, finished_run: Path, lender: Path
) -> None:
    config = dataclasses.replace(inputs(tiny_data, "scratch").config, teacher=str(lender))
    given = run.read_inputs(config)
    model, saved = weights.load(lender)
    picture = draw(3, (48, 48), 0.5)
    own = torch.from_numpy(to_array(picture, saved.input))[None]
    with torch.no_grad():
        expected = model.eval()(own)
        for mean, std in (HALVES, OTHERS):
            spec = InputSpec(48, mean=mean, std=std)
            teacher = transfer.load_teachers(given.teachers, config, spec, given.tables)
            assert teacher is not None
            batch = torch.from_numpy(to_array(picture, spec))[None]
            assert torch.allclose(teacher.eval()(batch), expected, atol=1e-4)
    assert normalised(finished_run / "model") == HALVES
