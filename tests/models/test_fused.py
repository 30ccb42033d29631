"""Layer fusion: the same feature maps in fewer steps, and the model itself stays as it is."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dermhub.models import backbone, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.engines import fused
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.model_folder import ModelFolder


def shaken(architecture: str) -> nn.Module:
    """Make a tiny model in evaluation mode whose batch norms do something, as after training."""
    torch.manual_seed(1)
    model = backbone.build(architecture, 7).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_()
    return model.to(memory_format=torch.channels_last)


def number(module: nn.Module, kind: type[nn.Module]) -> int:
    """Count the layers of a kind."""
    return sum(isinstance(layer, kind) for layer in module.modules())


def test_a_convolution_and_its_batch_norm_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0).eval()
    conv.weight.data.fill_(3.0)
    conv.bias.data.fill_(5.0)  # type: ignore[union-attr]
    norm.running_mean, norm.running_var = torch.tensor([1.0]), torch.tensor([4.0])
    norm.weight.data.fill_(10.0)
    norm.bias.data.fill_(7.0)
    merged = fused.merge(conv, norm)
    # ((3 x + 5) - 1) / 2 * 10 + 7 = 15 x + 27
    assert (merged.weight.item(), merged.bias.item()) == (15.0, 27.0)  # type: ignore[union-attr]
    assert (conv.weight.item(), conv.bias.item()) == (3.0, 5.0)  # type: ignore[union-attr]


def test_batch_norm_without_weights_and_convolution_without_bias() -> None:
    conv, norm = nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2, eps=1.0, affine=False).eval()
    conv.weight.data.copy_(torch.tensor([2.0, 8.0]).reshape(2, 1, 1, 1))
    norm.running_mean, norm.running_var = torch.tensor([1.0, -6.0]), torch.tensor([3.0, 0.0])
    merged = fused.merge(conv, norm)
    # (2 x - 1) / 2 and (8 x + 6) / 1
    assert merged.weight.flatten().tolist() == [1.0, 8.0]
    assert merged.bias.tolist() == [-0.5, 6.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(
    "architecture", ["test_resnet", "test_efficientnet", "test_convnext", "test_efficientnet_gn"]
)
def test_same_maps_of_one_image_and_of_several(architecture: str, pack: bool) -> None:
    model = shaken(architecture)
    folded = fused.fold(model, 64, pack=pack)
    assert number(folded, nn.BatchNorm2d) == 0
    assert number(folded, fused.Packed) == (
        number(model, nn.Conv2d) if pack and fused.can_pack() else 0
    )
    for images in (torch.randn(1, 3, 64, 64), torch.randn(3, 3, 64, 64), torch.randn(2, 3, 48, 80)):
        with torch.inference_mode():
            expected, actual = backbone.features(model, images), backbone.features(folded, images)
            torch.testing.assert_close(
                actual, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())
            )
            torch.testing.assert_close(
                backbone.head(folded, actual), backbone.head(model, expected), rtol=1e-4, atol=1e-4
            )


def test_padding_of_its_own_and_other_activations_stay() -> None:
    model = shaken("tf_efficientnet_b0")  # convolutions that pad by themselves, and SiLU
    folded = fused.fold(model, 64)
    assert number(folded, nn.BatchNorm2d) == 0
    assert folded.get_submodule("conv_stem") is not model.get_submodule("conv_stem")
    assert type(folded.get_submodule("conv_stem")) is type(model.get_submodule("conv_stem"))
    assert isinstance(folded.get_submodule("bn1"), nn.SiLU)
    images = torch.randn(2, 3, 65, 65)
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    """A model that needs a convolution's output before and after its batch norm.

    So the two can't become one layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.norm.running_mean = torch.ones(4)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature maps."""
        maps = self.conv(images)
        return torch.as_tensor(maps + self.norm(maps))


def test_a_model_that_can_not_be_folded_is_used_as_it_is() -> None:
    model = Twice().eval()
    assert fused.fold(model, 8) is model


def test_the_model_is_left_alone() -> None:
    model = shaken("test_efficientnet")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fused.fold(model, 64)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert number(model, fused.Packed) == 0
    # Training one does not change half of the other.
    assert not {t.data_ptr() for t in model.parameters()} & {
        t.data_ptr() for t in folded.parameters()
    }


def test_the_engine_answers_from_the_folded_model_and_keeps_the_other(
    tiny_lesion_model: Path,
) -> None:
    engine = TorchEngine(ModelFolder(tiny_lesion_model))
    size = engine.config.input.size
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    with torch.inference_mode():
        expected = prediction.softmax(
            engine.model(torch.from_numpy(images)).numpy(), engine.config.temperature
        )
    probabilities = prediction.softmax(engine.forward(images)[0], engine.config.temperature)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    assert number(engine.model, nn.BatchNorm2d) > 0
    again = TorchEngine(ModelFolder(tiny_lesion_model)).forward(images)[0]
    np.testing.assert_array_equal(engine.forward(images)[0], again)


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))],
    ids=["copy", "pickle"],
)
def test_a_copy_answers_the_same(
    tiny_lesion_model: Path, photo: Path, again: Callable[[Classifier], Classifier]
) -> None:
    classifier = Classifier(tiny_lesion_model)
    other = again(classifier)
    assert other.predict(photo) == classifier.predict(photo)
    assert np.array_equal(other.explain(photo).heatmap, classifier.explain(photo).heatmap)


def test_neither_answers_nor_maps_follow_changes_of_the_model(
    tiny_lesion_model: Path, photo: Path
) -> None:
    classifier = Classifier(tiny_lesion_model)
    before = classifier.explain(photo)
    with torch.no_grad():
        backbone.classifier(classifier.model).weight.neg_()
    after = classifier.explain(photo)
    assert after.prediction == before.prediction
    assert np.array_equal(after.heatmap, before.heatmap)
    classifier.model.half()
    assert np.array_equal(classifier.explain(photo).heatmap, before.heatmap)


def test_the_model_can_be_trained_after_an_answer(tiny_lesion_model: Path) -> None:
    classifier = Classifier(tiny_lesion_model)
    size = classifier.config.input.size
    classifier.engine.forward(np.zeros((1, 3, size, size), np.float32))
    model = classifier.model.train()
    model(torch.randn(2, 3, size, size)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
