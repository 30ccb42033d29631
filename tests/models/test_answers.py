"""Answers as plain values and tables, embeddings, devices and operating points."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import dermhub
from dermhub.errors import ConfigError
from dermhub.images.concern import Concern
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.images.view import to_array
from dermhub.models import backbone
from dermhub.models.classifier import Classifier
from dermhub.models.engines import onnx_runtime
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.models.prediction import (
    Prediction,
    Predictions,
    balanced,
    calibrated,
    csv_columns,
    of_logits,
)
from dermhub.zones import Threshold, Zones
from tests.support.tiny import Command, add_graph, make_config, make_model


@pytest.fixture(scope="module")
def lesion(tiny_lesion_model: Path) -> Classifier:
    """Load the seven-class model. Read only."""
    return Classifier(tiny_lesion_model)


@pytest.fixture(scope="module")
def with_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the seven-class task with its graph. Read only."""
    return add_graph(make_model(tmp_path_factory.mktemp("graph") / "lesion", dermhub.LESION))


ANSWER = Prediction(
    label="mel",
    probabilities={"mel": 0.75, "nv": 0.25},
    malignancy=0.75,
    threshold=0.5,
    operating_point="youden",
    conformal=("mel",),
    concerns=(Concern("blurred", "It is blurred."), Concern("too-dark", "It is dark.")),
    conformal_level=0.9,
    zones=Zones(Threshold(0.5, "aim"), Threshold(0.8, "aim")),
    image="a.jpg",
    balanced_label="nv",
)


def test_an_answer_as_plain_values() -> None:
    expected = {
        "label": "mel",
        "balanced_label": "nv",
        "probabilities": {"mel": 0.75, "nv": 0.25},
        "malignancy": 0.75,
        "malignant": True,
        "threshold": 0.5,
        "operating_point": "youden",
        "zone": "suspicious",
        "conformal": ["mel"],
        "conformal_level": 0.9,
        "concerns": [
            {"code": "blurred", "sentence": "It is blurred."},
            {"code": "too-dark", "sentence": "It is dark."},
        ],
        "abstention": "",
    }
    assert ANSWER.to_dict() == expected
    assert json.loads(json.dumps(ANSWER.to_dict())) == expected
    assert type(ANSWER.to_dict()["zone"]) is str
    # A copy: a change of it does not change the answer.
    ANSWER.to_dict()["probabilities"]["mel"] = 0
    assert ANSWER.probabilities["mel"] == 0.75
    assert Prediction("nv", {"nv": 1.0}, 0.0, 0.5, "youden").to_dict()["zone"] == ""


def test_probabilities_with_a_bias_by_hand() -> None:
    # Logits divided by 2, and log(3) added to those of benign: 3 e^(1/2) to e^(3/2).
    config = dataclasses.replace(
        make_config(dermhub.BINARY), temperature=2.0, bias={"benign": math.log(3), "malignant": 0.0}
    )
    (row,) = calibrated(np.array([[1.0, 3.0]], np.float32), config)
    share = 3 / (3 + math.e)
    assert row.tolist() == pytest.approx([share, 1 - share])
    (answer,) = of_logits(np.array([[1.0, 3.0]], np.float32), config, [()])
    assert answer.malignancy == pytest.approx(1 - share)
    assert (answer.label, answer.balanced_label) == ("benign", "")


def test_the_balanced_label_by_hand() -> None:
    # A malignant image of 0.4 where one in five is: 0.4 / 0.2 against 0.6 / 0.8.
    prior = {"benign": 0.8, "malignant": 0.2}
    config = dataclasses.replace(make_config(dermhub.BINARY), temperature=1.0, prior=prior)
    logits = np.log(np.array([[0.6, 0.4], [0.9, 0.1]]))
    first, second = of_logits(logits, config, [(), ()])
    assert (first.label, first.balanced_label) == ("benign", "malignant")
    assert (second.label, second.balanced_label) == ("benign", "benign")
    odds = balanced(np.array([[0.6, 0.4]]), config)
    assert odds[0].tolist() == pytest.approx([0.75 / 2.75, 2 / 2.75])


def test_answers_as_a_table() -> None:
    frame = Predictions([ANSWER, ANSWER]).to_frame()
    assert list(frame.columns) == csv_columns(["mel", "nv"])
    assert len(frame) == 2
    assert frame.iloc[1].to_dict() == {
        "image": "a.jpg",
        "label": "mel",
        "balanced_label": "nv",
        "malignancy": 0.75,
        "malignant": True,
        "threshold": 0.5,
        "zone": "suspicious",
        "p_mel": 0.75,
        "p_nv": 0.25,
        "conformal": "mel",
        "concerns": "blurred too-dark",
        "abstention": "",
    }
    pd.testing.assert_frame_equal(ANSWER.to_frame(), frame.iloc[:1])
    assert Predictions().to_frame().empty


def test_the_table_of_a_model_names_the_files(lesion: Classifier, photo: Path) -> None:
    answers = lesion.predict([photo, str(photo), photo.read_bytes(), Photo.open(photo)])
    frame = answers.to_frame()
    assert list(frame["image"]) == [str(photo), str(photo), "", ""]
    assert frame["p_mel"].nunique() == 1
    assert list(frame["malignancy"]) == [answer.malignancy for answer in answers]
    # The name is no part of the answer.
    assert answers[0] == answers[2]
    assert lesion.predict(photo).image == lesion.explain(photo).prediction.image == str(photo)


def test_a_table_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ConfigError,
        match=r"^to_frame needs pandas, which is not installed: pip install pandas, or use the "
        r"to_dict of each answer\.$",
    ):
        ANSWER.to_frame()


def test_embeddings_are_what_timm_calls_the_features_before_the_classifier(
    lesion: Classifier,
) -> None:
    images: Any = [draw(seed, (80, 70), seed / 3) for seed in range(3)]
    embedded = lesion.embed(images)
    batch = torch.from_numpy(np.stack([to_array(image, lesion.config.input) for image in images]))
    with torch.inference_mode():
        maps = backbone.features(lesion.model, batch)
        expected = lesion.model.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    assert embedded.shape == tuple(expected.shape)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected.numpy(), atol=1e-5)
    # The last layer makes the logits of them.
    last = backbone.classifier(lesion.model)
    logits = embedded @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(logits, lesion.logits(images), atol=1e-4)


def test_embeddings_of_one_image_of_none_and_in_batches(lesion: Classifier, photo: Path) -> None:
    one = lesion.embed(photo)
    assert one.shape[0] == 1
    np.testing.assert_allclose(lesion.embed(iter([photo] * 3), batch=2), [one[0]] * 3, atol=1e-5)
    assert lesion.embed([]).shape == (0, one.shape[1])
    with pytest.raises(ConfigError, match=r"^The batch is 0, expected at least 1\.$"):
        lesion.embed(photo, batch=0)


def test_the_heat_map_is_an_array_over_the_image(lesion: Classifier, photo: Path) -> None:
    heatmap = lesion.explain(photo).heatmap
    assert isinstance(heatmap, np.ndarray)
    assert heatmap.shape == (150, 200)
    assert heatmap.dtype == np.float32
    assert 0 <= heatmap.min() <= heatmap.max() <= 1


def test_an_operating_point_decides_what_is_malignant(tiny_lesion_model: Path) -> None:
    images = [draw(seed, (80, 70), seed / 3) for seed in range(3)]
    usual, youden = (
        dermhub.load(tiny_lesion_model, operating_point=name) for name in ("", "youden")
    )
    assert (usual.operating_point, youden.operating_point) == ("sensitivity_95", "youden")
    for image in images:
        before, after = usual.predict(image), youden.predict(image)
        assert (before.threshold, after.threshold) == (0.25, 0.5)
        assert after.malignant == (after.malignancy >= 0.5)
        assert before.malignant == (before.malignancy >= 0.25)
        assert after.operating_point == "youden"
        # Probabilities and zones are those of the card.
        assert (after.malignancy, after.zone) == (before.malignancy, before.zone)
    assert pickle.loads(pickle.dumps(youden)).operating_point == "youden"


def test_an_unknown_operating_point(tiny_lesion_model: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        dermhub.load(tiny_lesion_model, operating_point="yuden")
    assert str(caught.value) == (
        f"{tiny_lesion_model} has no operating point 'yuden', expected one of sensitivity_95, "
        "youden. Did you mean 'youden'?"
    )


@pytest.mark.parametrize("given", [0.5, None, ["youden"]])
def test_an_operating_point_of_another_kind(tiny_lesion_model: Path, given: Any) -> None:
    with pytest.raises(ConfigError, match=r"has no operating point .* expected one of"):
        dermhub.load(tiny_lesion_model, operating_point=given)


def test_every_shipped_model_has_the_operating_point_youden() -> None:
    for name, folder in dermhub.shipped().items():
        points = ModelFolder(folder).config.thresholds
        assert points["youden"].split == "validation", name


@pytest.mark.slow
def test_auto_is_the_processor_where_there_is_no_gpu(with_graph: Path, photo: Path) -> None:
    for runtime in ("torch", "onnx", "auto"):
        classifier = dermhub.load(with_graph, runtime, device="auto")
        usual = dermhub.load(with_graph, runtime)
        if not torch.cuda.is_available():
            assert classifier.device == "cpu"
        assert usual.device == "cpu"
        assert classifier.predict(photo).malignancy == pytest.approx(
            usual.predict(photo).malignancy, abs=1e-5
        )


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("runtime", ["torch", "onnx", "auto"])
def test_a_gpu_that_is_not_there(with_graph: Path, runtime: str) -> None:
    if onnx_runtime.has_cuda():
        pytest.skip("ONNX Runtime is a build for CUDA")
    with pytest.raises(ConfigError) as caught:
        dermhub.load(with_graph, runtime, device="cuda")  # type: ignore[arg-type]
    name, build = {
        "onnx": ("ONNX Runtime", "the package onnxruntime-gpu in place of onnxruntime"),
    }.get(runtime, ("PyTorch", "a build of PyTorch for CUDA"))
    assert str(caught.value) == (
        f"The device is 'cuda', but {name} finds no GPU here that it can use: expected an NVIDIA "
        f"GPU, its driver and {build}. Without device='cuda' the model computes on the processor."
    )


def test_a_device_that_there_is_none(tiny_lesion_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"^The device is 'gpu', expected cpu, cuda, auto\.$"):
        dermhub.load(tiny_lesion_model, device="gpu")  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_command_on_a_gpu_that_is_not_there(
    command: Command, tiny_lesion_model: Path, photo: Path
) -> None:
    code, out, err = command("predict", photo, "--model", tiny_lesion_model, "--device", "cuda")
    assert (code, out) == (2, "")
    assert err.startswith("dermhub: The device is 'cuda', but PyTorch finds no GPU here")
    assert err.count("\n") == 1


def test_copies_of_an_engine_compute_on_the_same_device(tiny_lesion_model: Path) -> None:
    engine = TorchEngine(ModelFolder(tiny_lesion_model))
    assert copy.deepcopy(engine).device == engine.device == "cpu"


def test_the_page_counts_what_the_predictions_of_the_shipped_model_give() -> None:
    folder = dermhub.shipped().get("lesion")
    if folder is None:
        pytest.skip("model_cards/ holds no model")
    config = ModelFolder(folder).config
    rows = pd.read_csv(folder / "predictions.csv").query("split == 'test'")
    logits = rows[[f"logit_{name}" for name in config.task.classes]].to_numpy()
    counts: dict[str, list[int]] = {}
    answers = of_logits(logits, config, [()] * len(rows))
    for answer, dx in zip(answers, rows["dx"], strict=True):
        label = "malignant" if answer.label in config.task.positive else "benign"
        key = f"| {label} | {str(answer.malignant).lower()} | {answer.zone} |"
        count = counts.setdefault(key, [0, 0, 0])
        count[0] += 1
        count[1] += dx in config.task.positive
        count[2] += bool(answer.abstention)
    page = (Path(dermhub.__file__).parents[1] / "docs/answers.md").read_text(encoding="utf-8")
    stated = re.findall(r"^(\| \w+ \| (?:true|false) \| [\w ]+ \|) ([\d |]+)\|$", page, re.M)
    table = {key: [int(number) for number in numbers.split("|")] for key, numbers in stated}
    assert table == counts
    benign = sum(numbers[1] for key, numbers in counts.items() if key.startswith("| benign"))
    missed = sum(numbers[1] for key, numbers in counts.items() if "| false |" in key)
    malignant = sum(numbers[1] for numbers in counts.values())
    counted = f"Of {malignant} malignant images, {benign} have a benign `label`; `malignant` is "
    assert f"{counted}false for {missed} of them." in page
    assert f"see the {benign - missed} images above" in page


def test_the_snippet_with_timm_alone_gives_the_same_answer(
    tiny_lesion_model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(dermhub.__file__).parents[1] / "docs/programs.md").read_text(encoding="utf-8")
    (snippet,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "create_model" in block
    )
    (tmp_path / "model_cards").mkdir()
    (tmp_path / "model_cards" / "lesion").symlink_to(tiny_lesion_model)
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(snippet, "programs.md", "exec"), names)
    expected = Classifier(tiny_lesion_model).predict(photo)
    assert names["answer"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert names["malignancy"] == pytest.approx(expected.malignancy, abs=1e-5)
    assert names["threshold"] == expected.threshold
