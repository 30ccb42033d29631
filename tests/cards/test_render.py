"""Model cards: every number comes from the two JSON files, and the hub's own client understands
them.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from dermhub import files
from dermhub.cards import render
from dermhub.cards.figures import HEADLINES
from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.images.decode import to_rgb
from dermhub.models import catalog, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder
from tests.support.tiny import to_tensor

MODELS = [pytest.param(path, id=name) for name, path in catalog.shipped().items()] or [
    pytest.param(None, id="none", marks=pytest.mark.skip("no model is shipped in model_cards"))
]
NUMBER = r"\d+\.?\d*"
SHIPPED = pytest.mark.parametrize("folder", MODELS)


@pytest.fixture
def config(finished_run: Path) -> ModelConfig:
    return ModelFolder(finished_run / "model").config


@pytest.fixture
def content(finished_run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((finished_run / "model" / "metrics.json").read_text())
    return read


def as_ham(config: ModelConfig) -> ModelConfig:
    """The configuration of a model of HAM10000's own lesions."""
    blocks = copy.deepcopy(config.to_json())
    blocks["dermhub"]["provenance"]["data"]["ham10000_lesions"] = True
    return ModelConfig.from_json(blocks)


def front(text: str) -> dict[str, Any]:
    """The front matter of a card."""
    read: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return read


def values(tree: Any) -> Iterator[float | str]:
    """Every number of a JSON tree, also in its texts, and the two sums that a card makes of a
    point's counts.
    """
    if isinstance(tree, dict):
        if "tp" in tree:
            yield from (tree["tp"] + tree["fn"], tree["fp"] + tree["tn"])
        # The ideal calibration.
        yield from (0, 1)
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from values(part)
    elif isinstance(tree, int | float):
        yield tree
    elif isinstance(tree, str):
        yield from re.findall(NUMBER, tree)


def shown(value: float | str) -> tuple[str, ...]:
    """A number as a card may write it: whole, and with three, four or no digits."""
    digits = (".0f", ".1f", ".3f", ".4f")
    return (
        (value,)
        if isinstance(value, str)
        else (str(value), *(format(abs(value), form) for form in digits))
    )


def table_cells(text: str) -> list[str]:
    """Every cell of a card's tables but those of the headings and the first column."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and " n = " not in line]
    return [cell.strip() for row in rows for cell in row.strip("|").split("|")[1:]]


def test_a_card_is_what_its_two_files_say(
    finished_run: Path, config: ModelConfig, content: dict[str, Any]
) -> None:
    text = render.render(config, content)
    assert text == render.render(config, content)
    assert text == (finished_run / "model" / "README.md").read_text()


def test_every_number_of_the_tables_is_in_the_files(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    names = {
        number
        for name in content["test"]["subgroups"]["age"]
        for number in re.findall(NUMBER, name)
    }
    known = names | {text for value in values([content, config.to_json()]) for text in shown(value)}
    cells = table_cells(render.render(config, content))
    found = [number for cell in cells for number in re.findall(NUMBER, cell.replace("sha256", ""))]
    assert len(found) > 100
    assert not [number for number in found if number not in known]


@pytest.mark.parametrize("key", HEADLINES)
def test_each_headline_comes_from_its_own_key(
    config: ModelConfig, content: dict[str, Any], key: str
) -> None:
    before = render.render(config, content).splitlines()
    content["test"][key] = 0.98761
    changed = [line for line in render.render(config, content).splitlines() if line not in before]
    # Once in the front matter, once in the table; the error of calibration has a sentence as well.
    assert len(changed) == (3 if key == "ece" else 2)
    assert changed[0].strip() == "value: 0.9876"
    assert changed[1].startswith(f"| {HEADLINES[key][1]} | 0.988 (")


def test_a_figure_that_is_not_defined_is_a_dash_and_not_in_the_front_matter(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    content["test"]["macro_auroc"] = None
    content["test"]["per_class"]["df"].update(recall=None, f1=None)
    text = render.render(config, content)
    assert re.search(r"^\| Macro AUROC, one against the rest \| - \| \d", text, re.MULTILINE)
    assert re.search(r"^\| `df` \| \d+ \| - \| .* \| - \| ", text, re.MULTILINE)
    assert "Macro AUROC, one against the rest" not in str(front(text))


def test_what_is_not_known_of_the_data_has_no_row(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    del content["test"]["histology_only"]
    del content["data"]["validation"]["age"]
    for part in content["data"].values():
        del part["sex"]
    del content["test"]["subgroups"]["sex"], content["test"]["subgroups"]["age"]
    text = render.render(config, content)
    assert "histology only" not in text
    assert not re.search(r"^\| (age|sex)", text, re.MULTILINE)


def test_the_front_matter_is_what_the_hub_reads(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    block = front(render.render(as_ham(config), content))
    assert (block["license"], block["library_name"]) == ("cc-by-nc-4.0", "timm")
    assert block["pipeline_tag"] == "image-classification"
    assert block["datasets"] == ["kmader/skin-cancer-mnist-ham10000"]
    assert block["model-index"][0]["results"][0]["dataset"]["type"] == "ham10000"


def test_the_hubs_client_reads_the_figures_back(
    finished_run: Path, content: dict[str, Any], tmp_path: Path
) -> None:
    card = ModelCard.load(finished_run / "model" / "README.md")
    results = {result.metric_name: result for result in card.data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        text: round(content["test"][key], 4) for key, (_, text) in HEADLINES.items()
    }
    assert {result.dataset_split for result in results.values()} == {"test"}
    assert card.data.model_name == "dermhub-lesion"
    card.save(tmp_path / "README.md")
    again = ModelCard.load(tmp_path / "README.md")
    assert again.data.to_dict() == card.data.to_dict()
    assert again.text == card.text


def test_a_card_of_other_data_does_not_speak_of_ham10000(
    tiny_data: Path, config: ModelConfig, content: dict[str, Any]
) -> None:
    own, ham = (render.render(one, content) for one in (config, as_ham(config)))
    # What remains is the licence of the weights.
    assert own.count("HAM10000") == 1
    assert "ham10000" not in own
    assert f"{tiny_data.name}: 49 images of 42 lesions" in own
    assert "HAM10000, lesion-disjoint dermhub partition: 49 images" in ham
    assert "python -m dermhub evaluate --model lesion --images HAM" in ham
    # Neither the shipped model of that name, nor its data and licence.
    assert ('dermhub.load("FOLDER")' in own, 'dermhub.load("lesion")' in ham) == (True, True)
    assert ("local-dir:FOLDER" in own, "local-dir:model_cards/lesion" in ham) == (True, True)
    assert (" --data DIR\n" in own, " --data " in ham) == (True, False)
    assert (front(own)["license"], front(ham)["license"]) == ("other", "cc-by-nc-4.0")
    assert "under the terms of the data named above" in own


def test_an_interval_stands_beside_its_figure(config: ModelConfig, content: dict[str, Any]) -> None:
    content["test"]["accuracy"] = 0.8123
    bounds = {"accuracy": [0.7901, 0.8329], "call_accuracy": [0.3101, 0.5], "sensitivity": None}
    content["test"]["intervals"]["bounds"] |= bounds
    text = render.render(config, content)
    assert "| Accuracy | 0.812 (0.790-0.833) | " in text
    assert re.search(
        r"^\| `sensitivity_95`: [^|]+\| 0\.\d+ \| validation \| \d\.\d{3} \(0\.310-0\.500\) \| "
        r"\d\.\d{3} \| \d of \d \| ",
        text,
        re.MULTILINE,
    )
    assert (
        "Parentheses hold 95% intervals from 1000 resamples of the 7 lesions, not of their" in text
    )


@pytest.mark.parametrize(
    ("benign", "said"),
    [
        (
            [0.01, 0.02],
            "This model does so: the mean probability changes\nby 0.010 to 0.020 for benign images",
        ),
        (
            [-0.01, 0.02],
            "This model does not do so for both kinds of images: the mean probability changes\n"
            "by -0.010 to 0.020 for benign images",
        ),
        (None, "This model does"),
    ],
)
def test_whether_blur_passes_for_malignancy(
    config: ModelConfig, content: dict[str, Any], benign: list[float] | None, said: str
) -> None:
    half = content["test"]["resolution"]["half"]
    half |= {"rise_benign": benign, "rise_malignant": [0.03, 0.05]}
    text = render.render(config, content)
    assert (said in text) == (benign is not None)
    assert ("by 0.030 to 0.050 for malignant ones (95% intervals)." in text) == (benign is not None)


def test_what_is_not_known_of_images_from_elsewhere_is_told(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    more = {"source": "archive", "images": 6, "dx": {"mel": 6}}
    data = {**config.provenance["data"], "extra": more}
    with_more = render.render(
        dataclasses.replace(config, provenance={**config.provenance, "data": data}), content
    )
    known = "this holds as far as their lesions are known"
    assert f"\nFor training images from elsewhere {known}." in with_more
    assert "6 of them are training images from elsewhere (`archive`: mel 6)" in with_more
    assert known not in render.render(config, content)


def test_subgroups_and_errors_have_their_rows(config: ModelConfig, content: dict[str, Any]) -> None:
    row = {"n": 51, "lesions": 40, "malignant": 12, "accuracy": 0.75, "malignancy_auroc": None}
    row |= {"sensitivity": 0.5, "specificity": 0.25}
    bounds = {
        "accuracy": [0.7, 0.8],
        "malignancy_auroc": None,
        "sensitivity": None,
        "specificity": [0.2, 0.3],
    }
    content["test"]["subgroups"] = {"localization": {"lower leg": {**row, "intervals": bounds}}}
    wrong = {"image_id": "ISIC_7", "truth": "mel", "predicted": "nv", "probability": 0.99871}
    content["test"]["worst_errors"] = [wrong]
    text = render.render(config, content)
    assert (
        "| site: lower leg | 51 | 40 | 12 | 0.750 (0.700-0.800) | - | 0.500 | 0.250 (0.200-0.300) |"
        in text
    )
    assert "| `ISIC_7` | `mel` | `nv` | 0.999 |" in text
    content["test"] |= {"subgroups": {}, "worst_errors": []}
    text = render.render(config, content)
    assert "no subgroup could be measured" in text
    assert "No test image was classified wrongly." in text


def test_the_cost_of_an_answer_is_told(
    config: ModelConfig, content: dict[str, Any], finished_run: Path
) -> None:
    weights = finished_run / "model" / "model.safetensors"
    assert content["weights"]["sha256"] == files.sha256(weights)
    assert content["weights"]["megabytes"] == round(weights.stat().st_size / 1e6, 1)
    content["latency"] |= {
        "median_ms": 17.3,
        "n": 20,
        "threads": 2,
        "processor": "Some CPU",
        "machine": "s390x",
    }
    content["weights"] |= {"parameters": 123456, "megabytes": 0.5}
    text = render.render(config, content)
    row = (
        "| `predict` by ONNX Runtime, one image of 600 x 450 pixels | 17.3 ms (median of 20), 2 "
        "thread(s) of Some CPU (s390x) |"
    )
    assert row in text
    assert "| parameters | 123456 |" in text


def test_its_timm_snippet_gives_the_same_bits(
    finished_run: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (finished_run / "model" / "README.md").read_text()
    snippet = next(
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "create_model" in block
    )
    monkeypatch.chdir(finished_run)
    found: dict[str, Any] = {}
    exec(snippet.replace("local-dir:FOLDER", "local-dir:model"), found)
    ours = Classifier("model")
    image = to_rgb(photo)
    with torch.inference_mode():
        images = to_tensor(image, ours.config.input)[None]
        theirs = found["model"](images).numpy()
        assert np.array_equal(
            theirs, ours.model(images.to(memory_format=torch.channels_last)).numpy()
        )
    # Answers come from a model whose batch norms are folded.
    np.testing.assert_allclose(theirs, ours.logits([image]), rtol=1e-5, atol=1e-5)


def test_a_card_says_what_the_model_is_not_for(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    text = render.render(config, content)
    for words in (
        "not a medical device",
        "Out of scope",
        "**External test: none.**",
        "## Limits",
        "CC BY-NC 4.0",
    ):
        assert words in text


def test_a_card_tells_of_changes_that_were_not_committed(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    blocks = copy.deepcopy(config.to_json())
    for revision, said in (("a" * 40, False), ("a" * 40 + "+changes", True), ("unknown", False)):
        blocks["dermhub"]["provenance"]["code"]["revision"] = revision
        text = render.render(ModelConfig.from_json(blocks), content)
        assert f"`{revision[:12]}`" in text
        assert ("changes that were not committed" in text) is said


def test_cards_of_ham10000_name_the_leak_meter(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    heading = re.search('"(The leak meter)"', render.render(as_ham(config), content))
    assert heading
    root = Path(render.__file__).parents[2]
    assert f"\n## {heading[1]}\n" in (root / "benchmarks" / "README.md").read_text()
    assert heading[1] not in render.render(config, content)


def test_data_without_lesion_ids_get_no_promise(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    promise = "No photograph of any of these lesions was used in\ntraining"
    assert promise in render.render(config, content)
    text = render.render(config, content | {"overlap": None})
    assert promise not in text
    assert (
        "**The data name no lesions: photographs of one lesion may be in training and in test, "
        in text
    )
    assert "images of unknown lesions." in text
    assert "| files that differ | " in text
    assert "| lesions | " not in text.partition("## Data")[2]


def test_patients_stand_for_lesions_that_are_not_known(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    content = copy.deepcopy(content)
    content["test"]["patients"] = 4
    for number, part in enumerate(content["data"].values()):
        part["patients"] = 70 + number
    run = config.provenance["data"] | {"patients": 213}
    config = dataclasses.replace(config, provenance=config.provenance | {"data": run})
    text = render.render(config, content)
    assert "of 4 patients. No photograph of any of these patients was used in\ntraining" in text
    assert "images of 213 patients." in text
    assert "| patients | 70 | 71 | 72 |" in text
    assert "| lesions | " not in text.partition("## Data")[2]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ([-0.9, -0.1], "malignancy is rarer in test"),
        ([0.1, 0.4], "malignancy is more frequent in test"),
    ],
)
def test_probabilities_that_are_off_are_called_so(
    config: ModelConfig, content: dict[str, Any], bounds: list[float], said: str
) -> None:
    content["test"]["calibration"]["bounds"]["intercept"] = bounds
    assert f"**These probabilities are off: {said} than they say**" in render.render(
        config, content
    )
    for known in ([-0.1, 0.2], [0.0, 0.3], None):
        content["test"]["calibration"]["bounds"]["intercept"] = known
        assert "are off" not in render.render(config, content)


def test_a_card_tells_what_is_turned_away(config: ModelConfig, content: dict[str, Any]) -> None:
    text = render.render(config, content)
    assert "dermhub adds a gate (`gate.safetensors`)" in text
    assert "`seen.safetensors` recognises copies" in text
    bare = render.render(dataclasses.replace(config, files={}), content)
    assert "No gate ships with the model that would turn such images away." in bare


def test_a_share_of_nearly_one_is_not_called_one(
    config: ModelConfig, content: dict[str, Any]
) -> None:
    name = next(iter(config.thresholds))
    content["test"]["operating_points"][name]["at_prevalence"]["1%"] |= {
        "ppv": None,
        "npv": 0.99952,
    }
    assert f"| `{name}` where 1% are malignant | - | 0.9995 | " in render.render(config, content)


def test_missed_malignant_images_are_counted(config: ModelConfig, content: dict[str, Any]) -> None:
    for name, n, recall in (("akiec", 3, 1 / 3), ("bcc", 10, 0.7), ("mel", 6, 0.0)):
        content["test"]["per_class"][name].update(n=n, recall=recall)
    assert (
        "misses 2 of 3 `akiec`, 3 of 10 `bcc`, 6 of 6 `mel` of the test\nimages."
        in render.render(config, content)
    )


def test_the_figures_that_a_card_shows_are_beside_it(finished_run: Path) -> None:
    folder = finished_run / "model"
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert sorted(shown) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.png")
    )


def test_nothing_of_a_model_folder_names_a_place_on_the_machine(
    finished_run: Path, tiny_data: Path
) -> None:
    for name in ("README.md", "config.json", "metrics.json", "predictions.csv"):
        text = (finished_run / "model" / name).read_text()
        assert str(finished_run.parent) not in text
        assert str(tiny_data.parent) not in text


@SHIPPED
def test_the_card_of_a_shipped_model_is_rendered_from_its_files(folder: Path) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    text = (folder / "README.md").read_text()
    assert text == render.render(ModelFolder(folder).config, content)
    assert content["model"] == folder.name
    card = ModelCard.load(folder / "README.md")
    assert (
        len(card.data.eval_results)
        == len(front(text)["model-index"][0]["results"][0]["metrics"])
        == 7
    )
    for shown in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (folder / shown).is_file()


@SHIPPED
def test_the_predictions_of_a_shipped_model_give_its_figures(folder: Path) -> None:
    if not (folder / "predictions.csv").exists():
        pytest.skip(f"{folder.name} ships no predictions.csv")
    config, content = ModelFolder(folder).config, json.loads((folder / "metrics.json").read_text())
    table = pd.read_csv(folder / "predictions.csv")
    for split in ("validation", "test"):
        part = table[table["split"] == split]
        logits = part[[f"logit_{name}" for name in config.task.classes]].to_numpy()
        ours = metrics.summarize(
            prediction.calibrated(logits, config),
            tables.targets(part, config.task),
            config.task,
        )
        assert ours["confusion_matrix"] == content[split]["confusion_matrix"]
        assert (ours["n"], part["lesion_id"].nunique()) == (
            content[split]["n"],
            content[split]["lesions"],
        )
        for key in (*HEADLINES, "nll"):
            # The logits have six digits.
            assert ours[key] == pytest.approx(content[split][key], abs=1e-4), (split, key)
