"""Weights: the same bits are read back, here and in timm, and damaged folders are refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from dermhub import files, layout
from dermhub.errors import ConfigError, ModelError
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.models import backbone
from dermhub.models import weights as models_weights
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from dermhub.training import state as training_state
from tests.support.tiny import make_config, make_model, pixels, to_tensor

Tensors = dict[str, torch.Tensor]
Progress = dict[str, int]


@pytest.fixture
def folder(tiny_lesion_model: Path, tmp_path: Path) -> Path:
    """Copy a whole model folder, to be spoilt."""
    return Path(shutil.copytree(tiny_lesion_model, tmp_path / "model"))


def refusal(folder: Path) -> str:
    """Return the sentence with which a folder is refused."""
    with pytest.raises(ModelError) as raised:
        models_weights.load(folder)
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert text.startswith((str(folder), f"There is no {folder}"))
    return text.replace(f"{folder}/", "")


def rewrite(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the tensors of a model folder."""
    tensors = safetensors.torch.load_file(folder / layout.WEIGHTS)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / layout.WEIGHTS, metadata={"format": "pt"})


def images(size: int) -> torch.Tensor:
    """Return four drawings as a model sees them."""
    spec = make_config(LESION).input
    assert spec.size == size
    return torch.stack([to_tensor(to_rgb(pixels(seed)), spec) for seed in range(4)])


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet"])
def test_saved_and_loaded_weights_are_the_same_bits(tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(3)
    model = backbone.build(architecture, 7).to(memory_format=torch.channels_last)
    model(images(64))
    model.eval()
    models_weights.save(tmp_path, model, make_config(LESION, architecture))
    again, config = models_weights.load(tmp_path)
    assert dataclasses.replace(config, weights_sha256="0" * 64) == make_config(LESION, architecture)
    assert config.weights_sha256 == files.sha256(tmp_path / layout.WEIGHTS)
    assert not again.training
    expected, actual = model.state_dict(), again.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_half_precision_is_read_as_what_was_rounded(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = backbone.build("test_efficientnet", 7)
    with torch.no_grad():
        backbone.classifier(model).weight[0, 0] = (
            1 + 2**-12
        )  # half precision keeps 10 bits behind the point
        backbone.classifier(model).bias[0] = 1 + 2**-12
    exact = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    models_weights.round_half(model)
    models_weights.save(tmp_path, model, make_config(LESION), half=True)
    again, _ = models_weights.load(tmp_path)
    stored = safetensors.torch.load_file(tmp_path / layout.WEIGHTS)
    for name, tensor in again.state_dict().items():
        matrix = tensor.is_floating_point() and tensor.ndim > 1
        assert stored[name].dtype == (torch.float16 if matrix else exact[name].dtype)
        assert tensor.dtype == exact[name].dtype
        assert torch.equal(tensor, exact[name].half().float() if matrix else exact[name])
    assert backbone.classifier(again).weight[0, 0].item() == 1
    assert backbone.classifier(again).bias[0].item() == 1 + 2**-12
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(theirs(images(64)), again(images(64)))


def test_weights_above_the_range_of_half_precision_are_refused(tmp_path: Path) -> None:
    model = backbone.build("test_efficientnet", 7)
    with torch.no_grad():
        backbone.classifier(model).weight[0, 0] = 70_000
    with pytest.raises(
        ConfigError,
        match=r"^classifier.weight has weights above 65504, which half precision does not",
    ):
        models_weights.round_half(model)
    with pytest.raises(
        ModelError,
        match=r"The model holds NaN or infinite values in tensor\(s\) classifier.weight\.",
    ):
        models_weights.save(tmp_path, model, make_config(LESION), half=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet"])
def test_timm_reads_the_folder_and_gives_the_same_bits(tmp_path: Path, architecture: str) -> None:
    folder = make_model(tmp_path / "model", LESION, architecture)
    ours, _ = models_weights.load(folder)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        logits = ours(images(64))
        assert torch.equal(theirs(images(64)), logits)
    assert logits.shape == (4, 7)
    assert float(logits.std()) > 0.01


def test_timm_prepares_a_square_image_as_we_do(tiny_lesion_model: Path) -> None:
    theirs = timm.create_model(f"local-dir:{tiny_lesion_model}", pretrained=True)
    prepare: Any = create_transform(**resolve_model_data_config(theirs))  # type: ignore[no-untyped-call]
    image = draw(3, (150, 150), 0.8)
    # The same resampled bytes; only float32 arithmetic is ordered otherwise.
    torch.testing.assert_close(
        prepare(image), to_tensor(image, make_config(LESION).input), rtol=0, atol=1e-6
    )


def test_missing_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("bn1.running_var"))
    assert (
        refusal(folder) == "model.safetensors lacks tensor(s) bn1.running_var of test_efficientnet."
    )


def test_missing_classifier(folder: Path) -> None:
    # Left out, the classes would be drawn at random.
    rewrite(
        folder, lambda tensors: [tensors.pop(f"classifier.{part}") for part in ("weight", "bias")]
    )
    expected = (
        "model.safetensors lacks tensor(s) classifier.weight, classifier.bias of test_efficientnet."
    )
    assert refusal(folder) == expected


def test_extra_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"module.x": torch.zeros(1)}))
    assert (
        refusal(folder)
        == "model.safetensors has the unexpected tensor(s) module.x of test_efficientnet."
    )


def test_tensor_of_another_shape(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"bn1.weight": torch.ones(1)}))
    assert (
        refusal(folder)
        == "model.safetensors has the wrong shape for tensor(s) bn1.weight of test_efficientnet."
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["conv_stem.weight", "classifier.bias", "bn1.running_mean"])
def test_one_value_that_is_no_number(folder: Path, name: str, value: float) -> None:
    rewrite(folder, lambda tensors: tensors[name].flatten()[0].fill_(value))
    assert refusal(folder) == f"model.safetensors holds NaN or infinite values in tensor(s) {name}."


def test_weights_with_other_classes_than_the_configuration(
    folder: Path, tiny_binary_model: Path
) -> None:
    shutil.copy(tiny_binary_model / layout.WEIGHTS, folder)
    expected = (
        "model.safetensors has 2 classes but config.json names 7: the two files do not belong "
        "together."
    )
    assert refusal(folder) == expected


def test_weights_of_another_architecture(folder: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", LESION, "test_resnet")
    shutil.copy(other / layout.WEIGHTS, folder)
    assert re.match(
        r"model.safetensors lacks tensor\(s\) .* and \d+ more of test_efficientnet", refusal(folder)
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
def test_pickle_named_safetensors_is_never_loaded(folder: Path, zipped: bool) -> None:
    torch.save(
        {"x": torch.zeros(1)}, folder / layout.WEIGHTS, _use_new_zipfile_serialization=zipped
    )
    expected = (
        "a pickle, which is never loaded because it can run code: fetch or export the model again."
    )
    assert refusal(folder) == f"model.safetensors is {expected}"


def test_pickle_beside_is_never_loaded(folder: Path) -> None:
    (folder / layout.WEIGHTS).rename(folder / "pytorch_model.bin")
    expected = "pytorch_model.bin is a pickle, which is never loaded because it can run code."
    assert refusal(folder) == f"There is no model.safetensors; {expected}"


@pytest.mark.parametrize("position", [-1, -5000], ids=["last byte", "middle"])
def test_one_flipped_bit(folder: Path, position: int) -> None:
    weights = folder / layout.WEIGHTS
    stated = files.sha256(weights)
    content = bytearray(weights.read_bytes())
    # The lowest bit of a value: finite, in place and close to what it was, so that only the hash
    # can tell.
    content[position & ~3] ^= 1
    weights.write_bytes(content)
    actual = files.sha256(weights)
    expected = (
        f"model.safetensors has the sha256 {actual}, but config.json states {stated}: the file was "
        "changed or "
    )
    assert refusal(folder) == f"{expected}damaged; fetch or copy the model again."


def test_weights_of_another_training_run(folder: Path) -> None:
    # They fit in every respect, so labels and temperature of one model would be used with the
    # weights of another.
    rewrite(folder, lambda tensors: tensors["classifier.bias"].add_(1))
    assert "but config.json states" in refusal(folder)


def test_no_weights(folder: Path) -> None:
    (folder / layout.WEIGHTS).unlink()
    assert refusal(folder) == "There is no model.safetensors."


@pytest.mark.parametrize("length", [0, 5, 100, 50_000, -1])
def test_weights_cut_short(folder: Path, length: int) -> None:
    content = (folder / layout.WEIGHTS).read_bytes()
    (folder / layout.WEIGHTS).write_bytes(content[:length])
    text = refusal(folder)
    assert text.startswith("model.safetensors is no complete safetensors file (")
    assert text.endswith("): fetch or export the model again.")


def test_weights_that_were_not_fetched(folder: Path) -> None:
    (folder / layout.WEIGHTS).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    assert refusal(folder).startswith("model.safetensors is no complete safetensors file (")


def test_folder_in_the_place_of_the_weights(folder: Path) -> None:
    (folder / layout.WEIGHTS).unlink()
    (folder / layout.WEIGHTS).mkdir()
    assert refusal(folder).startswith("model.safetensors is no complete safetensors file (")


def test_no_configuration(folder: Path, tmp_path: Path) -> None:
    (folder / layout.CONFIG).unlink()
    assert refusal(folder) == f"{folder} is not a model folder: it has no config.json."
    assert refusal(tmp_path / "nowhere").endswith(
        "nowhere is not a model folder: it has no config.json."
    )


@pytest.mark.parametrize("content", ["", "{", "nonsense"])
def test_configuration_that_is_no_json(folder: Path, content: str) -> None:
    (folder / layout.CONFIG).write_text(content)
    assert refusal(folder).startswith("config.json is not valid JSON (")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "test_efficentnet",
            "config.json: timm has no model 'test_efficentnet'. Did you mean 'test_efficientnet'",
        ),
        ("test_vit", "config.json: test_vit is not a CNN"),
    ],
)
def test_configuration_with_an_unusable_architecture(
    folder: Path, name: str, expected: str
) -> None:
    content = json.loads((folder / layout.CONFIG).read_text())
    content["architecture"] = name
    (folder / layout.CONFIG).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=re.escape(expected)):
        models_weights.load(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_save_refuses_weights_that_are_no_numbers_and_keeps_the_old(
    folder: Path, value: float
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model, config = models_weights.load(folder)
    model.get_parameter("bn1.bias").data[0] = value
    with pytest.raises(
        ModelError, match=r"^The model holds NaN or infinite values in tensor\(s\) bn1.bias\.$"
    ):
        models_weights.save(folder, model, config)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class Run:
    """State of an interrupted training run."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: nn.Module = backbone.build("test_efficientnet", 2)
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)

    def step(self, seed: int) -> None:
        """Take a step on random images, and a step of the average."""
        generator = torch.Generator().manual_seed(seed)
        loss = self.model(torch.randn(4, 3, 64, 64, generator=generator)).square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(new, 0.1)

    def tensors(self) -> Tensors:
        """Return every number of the run, by name."""
        tensors = {f"m.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"a.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"o.{index}.{name}": torch.as_tensor(value) for name, value in state.items()
            }
        return tensors


def test_resumed_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    run, other = Run(0), Run(1)
    run.step(1)
    training_state.save_state(
        tmp_path / "state", run.model, run.average, run.optimizer, {"epoch": 1, "step": 7}
    )
    progress: Progress = training_state.load_state(
        tmp_path / "state", other.model, other.average, other.optimizer
    )
    assert progress == {"epoch": 1, "step": 7}
    for each in (run, other):
        each.step(2)
    expected, actual = run.tensors(), other.tensors()
    assert actual.keys() == expected.keys()
    assert any(name.endswith("exp_avg_sq") for name in actual)
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


def test_state_that_does_not_fit(tmp_path: Path, tiny_binary_model: Path) -> None:
    run = Run(0)
    weights = tiny_binary_model / layout.WEIGHTS
    with pytest.raises(
        ModelError, match=r"model.safetensors is not the state of a training run\.$"
    ):
        training_state.load_state(weights, run.model, run.average, run.optimizer)
    training_state.save_state(
        tmp_path / "state", run.model, run.average, run.optimizer, {"epoch": 1}
    )
    other = backbone.build("test_efficientnet", len(LESION.classes))
    with pytest.raises(
        ModelError, match=r"does not fit the model of this run: start a new run instead\.$"
    ):
        training_state.load_state(
            tmp_path / "state", other, copy.deepcopy(other), torch.optim.AdamW(other.parameters())
        )
    with pytest.raises(
        ModelError,
        match=r"^There is no file .*/none: restore it from a backup, or start a new run\.$",
    ):
        training_state.load_state(tmp_path / "none", run.model, run.average, run.optimizer)


@pytest.mark.parametrize(
    "damage", ["no moments", "a moment of another shape", "a foreign tensor", "no progress"]
)
def test_damaged_state(tmp_path: Path, damage: str) -> None:
    run, progress = Run(0), '{"epochs": 1}'
    run.step(1)
    training_state.save_state(
        tmp_path / "state", run.model, run.average, run.optimizer, {"epochs": 1}
    )
    tensors = safetensors.torch.load_file(tmp_path / "state")
    moment = next(name for name in tensors if name.endswith("exp_avg"))
    if damage == "no moments":
        tensors = {
            name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")
        }
    elif damage == "a moment of another shape":
        tensors[moment] = torch.zeros(3)
    elif damage == "a foreign tensor":
        tensors["foo.bar"] = torch.zeros(3)
    else:
        progress = "[]"
    safetensors.torch.save_file(tensors, tmp_path / "state", metadata={"progress": progress})
    with pytest.raises(
        ModelError, match=r"does not fit the model of this run: start a new run instead\.$"
    ):
        training_state.load_state(tmp_path / "state", run.model, run.average, run.optimizer)


def test_binary_and_lesion_folders_differ(tiny_binary_model: Path, tiny_lesion_model: Path) -> None:
    assert ModelFolder(tiny_binary_model).config.task is BINARY
    assert ModelFolder(tiny_lesion_model).config.task is LESION
