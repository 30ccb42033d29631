"""Weights of other programs: taken under their own names, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dermhub.errors import ModelError
from dermhub.models import backbone
from dermhub.training import initial_weights

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def donor() -> Tensors:
    """A test_efficientnet with 1,000 classes, as timm's own files have."""
    torch.manual_seed(1)
    return {
        name: tensor.clone()
        for name, tensor in backbone.build("test_efficientnet", 1000).state_dict().items()
    }


def write(path: Path, tensors: Tensors) -> Path:
    """A weight file for `--init`."""
    safetensors.torch.save_file(tensors, path)
    return path


def test_from_file_takes_the_backbone_and_leaves_the_classifier_fresh(
    tmp_path: Path, donor: Tensors
) -> None:
    model = initial_weights.from_file(
        write(tmp_path / "w.safetensors", donor), "test_efficientnet", 7
    )
    model_tensors = model.state_dict()
    assert model_tensors["classifier.weight"].shape == (7, 256)
    assert float(model_tensors["classifier.weight"].std()) < 0.02
    assert len(model_tensors) == len(donor)
    for name, tensor in model_tensors.items():
        if not name.startswith("classifier."):
            assert torch.equal(tensor, donor[name]), name


def test_classifier_of_the_same_size_stays_fresh_too(tmp_path: Path) -> None:
    # A file with seven other classes must not lend its classifier to these seven.
    weights = backbone.build("test_efficientnet", 7).state_dict()
    weights["classifier.weight"] = torch.full((7, 256), 9.0)
    model = initial_weights.from_file(
        write(tmp_path / "w.safetensors", weights), "test_efficientnet", 7
    )
    assert float(backbone.classifier(model).weight.detach().abs().max()) < 0.1


def test_file_without_a_classifier_is_enough(tmp_path: Path, donor: Tensors) -> None:
    headless = {
        name: tensor for name, tensor in donor.items() if not name.startswith("classifier.")
    }
    model = initial_weights.from_file(
        write(tmp_path / "w.safetensors", headless), "test_efficientnet", 7
    )
    assert torch.equal(model.state_dict()["conv_stem.weight"], donor["conv_stem.weight"])


def drop(tensors: Tensors) -> None:
    """Leave a tensor out."""
    del tensors["bn1.running_mean"]


def add(tensors: Tensors) -> None:
    """Add a tensor that the model does not have."""
    tensors["neck.weight"] = torch.zeros(1)


def reshape(tensors: Tensors) -> None:
    """Give a tensor a shape that would broadcast."""
    tensors["bn1.weight"] = torch.ones(1)


def poison(tensors: Tensors) -> None:
    """Make one weight of thousands NaN."""
    tensors["conv_stem.weight"][0, 0, 0, 0] = torch.nan


def turn(tensors: Tensors) -> None:
    """Make a variance negative, the square root of which is NaN."""
    tensors["bn1.running_var"][3] = -0.5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            turn,
            r"holds negative variances in bn1\.running_var: the file is damaged, save it anew\.",
        ),
        (drop, r"does not fit test_efficientnet: it lacks tensor\(s\) bn1.running_mean\."),
        (add, r"does not fit test_efficientnet: it has the extra tensor\(s\) neck.weight\."),
        (
            reshape,
            r"does not fit test_efficientnet: it has another shape for tensor\(s\) bn1.weight\.",
        ),
        (poison, r"holds NaN or infinite values in conv_stem.weight\."),
    ],
)
def test_file_that_does_not_fit(
    tmp_path: Path, donor: Tensors, spoil: Callable[[Tensors], None], message: str
) -> None:
    tensors = {name: tensor.clone() for name, tensor in donor.items()}
    spoil(tensors)
    path = write(tmp_path / "w.safetensors", tensors)
    with pytest.raises(ModelError, match=message) as raised:
        initial_weights.from_file(path, "test_efficientnet", 7)
    assert str(raised.value).startswith(str(path))


def test_file_of_another_architecture(tmp_path: Path, donor: Tensors) -> None:
    with pytest.raises(
        ModelError, match=r"does not fit test_resnet: it lacks tensor\(s\) conv1.* and \d+ more\.$"
    ):
        initial_weights.from_file(write(tmp_path / "w.safetensors", donor), "test_resnet", 7)


def test_file_that_is_no_safetensors(tmp_path: Path) -> None:
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for path in (tmp_path / "weights.pth", tmp_path / "empty.safetensors", tmp_path):
        with pytest.raises(ModelError, match=r"is not a readable safetensors file") as raised:
            initial_weights.from_file(path, "test_efficientnet", 7)
        assert str(raised.value).startswith(str(path))


def test_missing_file_explains_the_option() -> None:
    expected = (
        "^There is no file pretraned: --init takes 'pretrained', 'scratch', a model or a "
        ".safetensors file.$"
    )
    with pytest.raises(ModelError, match=expected):
        initial_weights.from_file(Path("pretraned"), "test_efficientnet", 7)


WRAPPED = ["module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "model.model."]


@pytest.mark.parametrize("prefix", WRAPPED)
def test_names_with_a_prefix_are_read_without_it(
    tmp_path: Path, donor: Tensors, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "w.safetensors", {prefix + k: t for k, t in donor.items()})
    model = initial_weights.from_file(path, "test_efficientnet", 7)
    assert torch.equal(model.state_dict()["bn1.running_var"], donor["bn1.running_var"])
    assert torch.equal(model.state_dict()["conv_stem.weight"], donor["conv_stem.weight"])
    assert capsys.readouterr().err == (
        f"dermhub: {path}: the names of its tensors begin with {prefix!r}, and are read without "
        f"it.\ndermhub: {path}: its last layer (classifier.bias, classifier.weight) is left out, "
        "and a new one is trained.\n"
    )


def test_a_head_beside_a_wrapped_backbone(
    tmp_path: Path, donor: Tensors, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {f"backbone.{k}": t for k, t in donor.items() if not k.startswith("classifier.")}
    tensors |= {"head.1.weight": torch.ones(9, 256), "fc.bias": torch.ones(9)}
    path = write(tmp_path / "w.safetensors", tensors)
    model = initial_weights.from_file(path, "test_efficientnet", 7)
    assert torch.equal(model.state_dict()["bn1.running_var"], donor["bn1.running_var"])
    assert "its last layer (fc.bias, head.1.weight) is left out" in capsys.readouterr().err


def test_counters_that_are_missing_begin_at_zero(
    tmp_path: Path, donor: Tensors, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name in donor if name.endswith("num_batches_tracked")]
    tensors = {name: tensor for name, tensor in donor.items() if name not in names}
    model = initial_weights.from_file(write(tmp_path / "w.st", tensors), "test_efficientnet", 7)
    assert names
    assert all(int(model.state_dict()[name]) == 0 for name in names)
    assert "it lacks the counters num_batches_tracked of its batch norms, which begin at 0" in (
        capsys.readouterr().err
    )


def wrap_half(tensors: Tensors) -> Tensors:
    """Put a prefix before every other name."""
    return {("module." if i % 2 else "") + k: t for i, (k, t) in enumerate(tensors.items())}


def two_models(tensors: Tensors) -> Tensors:
    """Hold the weights and their moving average, as some programs do."""
    return {f"{p}.{k}": t.clone() for p in ("module", "ema") for k, t in tensors.items()}


def twice(tensors: Tensors) -> Tensors:
    """Hold the weights of two models, one of them without a prefix."""
    return tensors | {f"module.{k}": t + 0 for k, t in tensors.items()}


def unknown(tensors: Tensors) -> Tensors:
    """Put a prefix before all names that no common wrapper writes."""
    return {f"student.{k}": t for k, t in tensors.items()}


def quantised(tensors: Tensors) -> Tensors:
    """Make whole numbers of a layer's weights."""
    return tensors | {"conv_stem.weight": tensors["conv_stem.weight"].to(torch.int8)}


def eight_bits(tensors: Tensors) -> Tensors:
    """Keep a layer's weights in 8 bits each."""
    kind = torch.float8_e4m3fn
    return tensors | {"conv_stem.weight": tensors["conv_stem.weight"].to(kind)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrap_half, r"has names with 'module\.' before them \(.*\) and names without it \("),
        (two_models, r"has names with 'module\.' before them \(.*\) and names without it \(ema"),
        (
            twice,
            r"has \d+ tensor\(s\) under two names \((blocks.*) and "
            r"module\.\1\), and so two models: save the state_dict\(\) of one of",
        ),
        (unknown, r"has names that begin with 'student\.', a wrapper that is not known here: save"),
        (
            quantised,
            r"has numbers of the kind torch\.int8 in conv_stem\.weight, expected floating p",
        ),
        (eight_bits, r"has numbers of the kind torch\.float8_e4m3fn in conv_stem\.weight, expect"),
    ],
)
def test_names_that_are_not_guessed(
    tmp_path: Path, donor: Tensors, change: Callable[[Tensors], Tensors], message: str
) -> None:
    path = write(tmp_path / "w.safetensors", change(donor))
    with pytest.raises(ModelError, match=message) as raised:
        initial_weights.from_file(path, "test_efficientnet", 7)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "it is a pointer of git-lfs, not the file itself: run git lfs pull in its folder).",
        ),
        (
            b"PK\x03\x04\x14\0\0\0\0\0",
            "it is a pickle, which is never loaded because it can run code): convert it first, as "
            "docs/training.md shows under 'Weights from elsewhere'.",
        ),
        (b"<!DOCTYPE html><html>", "it is a web page or XML, perhaps that of a login: download "),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras saves it)."),
        (b"\x08\x08\x12\x07pytorch", "it is an ONNX graph)."),
        (b"\x1f\x8b\x08\0\0\0\0\0\0", "it is packed by gzip: unpack it)."),
    ],
)
def test_another_format_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        initial_weights.from_file(path, "test_efficientnet", 7)
    assert str(raised.value).startswith(f"{path} is not a readable safetensors file ({reason}")


def test_a_named_pipe_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    os.mkfifo(path)
    with pytest.raises(ModelError, match=r"\(it is a named pipe, expected a file\)\.$"):
        initial_weights.from_file(path, "test_efficientnet", 7)
