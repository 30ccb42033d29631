"""Answers that are NaN or infinite are an error everywhere: no comparison with NaN is true."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

from dermhub.cli import main
from dermhub.errors import ModelError
from dermhub.layout import WEIGHTS
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.models.model_folder import ModelFolder
from dermhub.models.ood_gate import LOOKS, OodGate
from dermhub.scoring import inference
from tests.support.tiny import add_graph

SENTENCE = (
    " answered NaN or infinity, expected finite numbers: the model is damaged or was never "
    "measured; fetch it again, or use another."
)


@pytest.fixture(scope="module")
def folder(tiny_lesion_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are finite and whose answers are not. Read only."""
    path = tmp_path_factory.mktemp("overflow") / "model"
    shutil.copytree(tiny_lesion_model, path)
    tensors = safetensors.torch.load_file(path / WEIGHTS)
    tensors["conv_head.weight"].fill_(3e38)
    content = safetensors.torch.save(tensors, {"format": "pt"})
    opened = ModelFolder(path)
    opened.write(opened.config, {WEIGHTS: content})
    return path


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    """The model in PyTorch. Read only."""
    return Classifier(folder, runtime="torch")


USES: dict[str, Callable[[Classifier, Path], Any]] = {
    "predict": lambda model, photo: model.predict(photo),
    "several": lambda model, photo: model.predict([photo, photo]),
    "explain": lambda model, photo: model.explain(photo),
    "all maps": lambda model, photo: model.explain_all(photo),
    "measure": lambda model, photo: inference.logits(model, [str(photo)], 0),
}


@pytest.mark.parametrize("use", USES)
def test_no_use_of_a_model_takes_nan_for_an_answer(
    use: str, classifier: Classifier, folder: Path, photo: Path
) -> None:
    with pytest.raises(ModelError) as raised:
        USES[use](classifier, photo)
    assert str(raised.value) == f"{folder}{SENTENCE}"


def test_the_commands_end_with_the_sentence(
    folder: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photo, tmp_path / "a.jpg")
    commands = (
        ["predict", photo, "--model", folder],
        ["predict", "--images", tmp_path, "--out", tmp_path / "out.csv", "--model", folder],
    )
    for command in commands:
        assert main.main([str(option) for option in command]) == 2
        output = capsys.readouterr()
        assert output.err.endswith(SENTENCE + "\n")
        assert "benign" not in output.out
        assert "nan" not in output.out


def test_a_graph_that_answers_infinity(
    tiny_lesion_model: Path, tmp_path: Path, photo: Path
) -> None:
    path = Path(shutil.copytree(tiny_lesion_model, tmp_path / "model"))
    add_graph(path)
    classifier = Classifier(path, runtime="onnx")
    size = classifier.config.input.size
    for value in (np.inf, np.nan):
        with pytest.raises(ModelError, match="answered NaN or infinity, expected finite numbers"):
            classifier.engine.forward(np.full((1, 3, size, size), value, np.float32))
    assert classifier.predict(photo).malignancy > 0


def test_probabilities_that_are_no_numbers() -> None:
    assert prediction.softmax(np.array([[1e308, -1e308]]), 1.0).tolist() == [[1.0, 0.0]]
    for logits, temperature in ([[np.nan, 0.0]], 1.0), ([[np.inf, 0.0]], 1.0), ([[1.0, 2]], 1e-320):
        with pytest.raises(ModelError, match=r"^The model's logits, divided by the temperature "):
            prediction.softmax(np.array(logits), temperature)


def test_the_gate_lets_nothing_pass_that_is_no_number() -> None:
    gate = OodGate(
        np.zeros(2, np.float32),
        np.zeros((0, 2), np.float32),
        np.zeros(LOOKS, np.float32),
        np.zeros((LOOKS, LOOKS), np.float32),
        np.ones(2, np.float32),
    )
    described = np.zeros((1, 2 + LOOKS), np.float32)
    assert gate.score(described).tolist() == [0.0]
    described[0, 0] = np.nan
    with pytest.raises(ModelError, match=r"^The gate's score of an image is NaN or infinite"):
        gate.score(described)
