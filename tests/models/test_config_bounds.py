"""Bounds of a model's configuration: sizes, names and numbers that no honest model has."""

from __future__ import annotations

from typing import Any

import pytest

from dermhub.errors import ModelError
from dermhub.models.config import ModelConfig
from dermhub.tasks import LESION
from tests.models.test_config import changed, check_refused

WRONG = [
    ("dermhub/temperature", "1", "garbled .temperature is '1', no number"),
    (
        "dermhub/class_names",
        dict.fromkeys(LESION.classes),
        "garbled .class_names or label_names is",
    ),
    ("dermhub/class_names", ["", *LESION.classes[1:]], "class_names has '', expected a text"),
    ("dermhub/task", "", "task has '', expected a text of 1 to 200 letters"),
    ("dermhub/provenance", {"data": [1]}, "garbled .provenance.data is no object"),
    ("pretrained_cfg/mean", [1e29] * 3, "three means and three stds above 0, of sensible size"),
    ("pretrained_cfg/std", [1e-29] * 3, "three means and three stds above 0, of sensible size"),
    ("architecture", "../resnet18", "architecture is '../resnet18', expected the name of a timm"),
    ("dermhub/temperature", 1e-300, "temperature is 1e-300, expected one from 0.001 to 1000"),
    ("dermhub/temperature", 1001, "temperature is 1001.0, expected one from 0.001 to 1000"),
    ("dermhub/task", "a\x1b[2J", r"task has 'a\\x1b\[2J', expected a text of 1 to 200 letters"),
    ("dermhub/thresholds/youden/aim", 5, "thresholds has 5, expected a text"),
    ("dermhub/thresholds/youden/aim", "x" * 201, "thresholds has 'xxx"),
    ("architecture", ["resnet18"], r"architecture is \['resnet18'\], expected the name of a timm"),
    ("architecture", "a" * 101, "architecture is 'aaa.*, expected the name of a timm model"),
    ("architecture", "resnet18\n", r"architecture is 'resnet18\\n', expected the name"),
    ("pretrained_cfg/input_size", [3, 1025, 1025], "1025 x 1025 pixels, expected at most 1024 x"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"), WRONG, ids=[f"{key}={value!r:.12}" for key, value, _ in WRONG]
)
def test_what_no_honest_model_has_is_refused(key: str, value: Any, message: str) -> None:
    check_refused(key, value, message)


def test_classes_and_thresholds_are_few() -> None:
    names = [f"c{number}" for number in range(1001)]
    content = changed("dermhub/class_names", names)
    content |= {"num_classes": 1001, "label_names": names}
    content["dermhub"]["positive_classes"] = ["c0"]
    with pytest.raises(ModelError, match=r"has 1001 classes and \d thresholds, expected at most"):
        ModelConfig.from_json(content)
    many = {f"t{number}": {"value": 0.5, "aim": ""} for number in range(51)}
    with pytest.raises(ModelError, match="has 7 classes and 51 thresholds, expected at most 1000"):
        ModelConfig.from_json(changed("dermhub/thresholds", many))
