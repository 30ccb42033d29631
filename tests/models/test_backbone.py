"""timm's CNNs in two parts, and architectures that are refused by name."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from dermhub.errors import ConfigError, DownloadError, ModelError
from dermhub.hub import timeouts
from dermhub.models import backbone
from tests.support.hub_server import Hub


@pytest.fixture
def donor() -> dict[str, torch.Tensor]:
    """A test_efficientnet with 1,000 classes, as timm's own files have."""
    torch.manual_seed(1)
    return backbone.build("test_efficientnet", 1000).state_dict()


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet"])
def test_features_and_head_are_the_forward_pass(architecture: str) -> None:
    torch.manual_seed(0)
    model = backbone.build(architecture, 7).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = backbone.features(model, images)
        logits = backbone.head(model, maps)
        assert torch.equal(logits, model(images))
    assert maps.ndim == 4
    assert maps.shape[:2] == (2, backbone.classifier(model).in_features)
    assert logits.shape == (2, 7)
    # Two images are not one: otherwise equality above says little.
    assert not torch.allclose(logits[0], logits[1])


def test_new_model_trains_and_starts_undecided() -> None:
    torch.manual_seed(0)
    model = backbone.build("test_efficientnet", 7, dropout=0.2)
    last = backbone.classifier(model)
    assert model.training
    assert model.drop_rate == 0.2
    assert last.out_features == 7
    assert torch.equal(last.bias, torch.zeros(7))
    assert 0.005 < float(last.weight.detach().std()) < 0.02


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            "test_efficentnet",
            "^timm has no model 'test_efficentnet'. Did you mean 'test_efficientnet'.$",
        ),
        ("mobilnetv2_100", "^timm has no model 'mobilnetv2_100'. Did you mean 'mobilenetv2_100'.$"),
        ("", "^timm has no model ''.$"),
        ("../resnet18", "^timm has no model '../resnet18'"),
        ("test_vit", "^test_vit is not a CNN with feature maps"),
        # Its maps have four dimensions too, but in another order.
        (
            "swin_tiny_patch4_window7_224",
            "^swin_tiny_patch4_window7_224 is not a CNN with feature maps",
        ),
    ],
)
def test_architecture_that_can_not_be_used(architecture: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backbone.build(architecture, 2)


def test_an_architecture_of_gigabytes_is_never_built(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError) as raised:
        backbone.build("regnety_2560", 2)
    assert str(raised.value) == (
        "regnety_2560 has 1272 million parameters, expected at most 250 million: choose a smaller "
        "model, or set DERMHUB_LARGEST_MB to 5089 or more."
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    monkeypatch.setenv("DERMHUB_LARGEST_MB", "6000")
    assert backbone.skeleton("regnety_2560", 2).num_classes == 2


# Also name look-ups fail at once: the hub's client would wait and try them again.
@pytest.mark.disable_socket
def test_pretrained_without_a_network_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # An empty cache: otherwise weights that this machine once fetched would be found.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DownloadError) as raised:
        backbone.pretrained("test_efficientnet", 2)
    text = str(raised.value)
    assert text.startswith("The pretrained weights of 'test_efficientnet' could not be fetched (")
    assert text.endswith("or give a file with --init FILE.safetensors, or use --init scratch.")
    assert "\n" not in text
    assert isinstance(raised.value, OSError)
    assert capfd.readouterr() == ("", "")


def test_pretrained_takes_weights_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, donor: dict[str, torch.Tensor]
) -> None:
    # Laid out as the hub's client leaves it, so that timm's real download path runs without a
    # network.
    folder = tmp_path / "models--timm--test_efficientnet.r160_in1k"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(donor, snapshot / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = backbone.pretrained("test_efficientnet", 2)
    assert torch.equal(model.state_dict()["conv_stem.weight"], donor["conv_stem.weight"])
    assert backbone.classifier(model).out_features == 2


def test_architecture_without_pretrained_weights() -> None:
    with pytest.raises(
        ConfigError, match=r"^timm has no pretrained weights for 'mobilenetv2_035': use --init"
    ):
        backbone.pretrained("mobilenetv2_035", 2)


def test_channels_last_except_where_it_breaks() -> None:
    assert backbone.memory_format("mobilenetv2_100") is torch.channels_last
    assert backbone.memory_format("mobileone_s1") is torch.contiguous_format


def test_model_that_ends_in_something_else() -> None:
    model = backbone.build("test_efficientnet", 2)
    model.classifier = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"^The model ends in Identity, expected a linear layer.$"):
        backbone.classifier(model)


def test_pretrained_comes_from_the_hub_and_no_pickle_does(
    hub: Hub, donor: dict[str, torch.Tensor]
) -> None:
    content = safetensors.torch.save(donor)
    hub.put(
        "timm/test_efficientnet.r160_in1k",
        {"model.safetensors": content, "pytorch_model.bin": b"pickle"},
    )
    model = backbone.pretrained("test_efficientnet", 2)
    assert torch.equal(model.state_dict()["conv_stem.weight"], donor["conv_stem.weight"])
    assert not [asked for asked in hub.requests if "pytorch_model" in asked]


@pytest.mark.parametrize("cached", [False, True])
def test_a_hub_that_does_not_answer_is_given_up(
    hub: Hub, donor: dict[str, torch.Tensor], cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(
        "timm/test_efficientnet.r160_in1k", {"model.safetensors": safetensors.torch.save(donor)}
    )
    if cached:
        backbone.pretrained("test_efficientnet", 2)
    hub.spoil = "hang"
    monkeypatch.setattr(timeouts, "ANSWER", 0.3)
    monkeypatch.setattr(timeouts, "GIVE_UP", 0.3)
    started = time.monotonic()
    if cached:
        model = backbone.pretrained("test_efficientnet", 2)
        assert torch.equal(model.state_dict()["conv_stem.weight"], donor["conv_stem.weight"])
    else:
        with pytest.raises(DownloadError, match=r"fetched \(.* does not answer, or breaks off"):
            backbone.pretrained("test_efficientnet", 2)
    assert time.monotonic() - started < 10


def test_of_old_models_there_are_only_pickles() -> None:
    with pytest.raises(ConfigError, match=r"^timm has no pretrained weights for 'legacy_seresn"):
        backbone.pretrained("legacy_seresnet18", 2)
