"""HAM10000 itself: published counts, no lesion across splits, and answers of shipped models.

DERMHUB_DATA names the folder that the shipped models were measured on, with HAM10000_metadata.csv:
DERMHUB_DATA=... pytest -m data
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermhub.data import partition, tables
from dermhub.images.decode import to_rgb
from dermhub.models import catalog, prediction
from dermhub.models.classifier import Classifier
from dermhub.release import pair
from dermhub.tasks import BINARY, LESION, MALIGNANT, TASKS
from dermhub.training.fit import predict_all
from dermhub.zones import Zone

pytestmark = pytest.mark.data

SAMPLE = 200
"""Test images that each shipped model predicts again: a minute on one core."""

MODELS = [pytest.param(path, id=name) for name, path in catalog.shipped().items()] or [
    pytest.param(None, id="none", marks=pytest.mark.skip("no model is shipped in model_cards"))
]


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of HAM10000."""
    if "DERMHUB_DATA" not in os.environ:
        pytest.skip(
            "DERMHUB_DATA is not set: it names the folder that holds HAM10000_metadata.csv and the "
            "images"
        )
    return Path(os.environ["DERMHUB_DATA"])


@pytest.fixture(scope="session")
def table(folder: Path) -> pd.DataFrame:
    """The table of all images with their splits. Read only."""
    return tables.read_table(folder, LESION)


def test_all_images_and_lesions_are_there(table: pd.DataFrame) -> None:
    assert (len(table), table["image_id"].nunique(), table["lesion_id"].nunique()) == (
        10_015,
        10_015,
        7470,
    )
    # Tschandl, Rosendahl & Kittler 2018.
    assert Counter(table["dx"]) == {
        "nv": 6705,
        "mel": 1113,
        "bkl": 1099,
        "bcc": 514,
        "akiec": 327,
        "vasc": 142,
        "df": 115,
    }


def test_the_splits_have_their_published_sizes(table: pd.DataFrame) -> None:
    assert Counter(table["split"]) == {"train": 7210, "validation": 1203, "test": 1602}


def test_the_splits_are_those_of_the_shipped_partition(table: pd.DataFrame) -> None:
    assert set(table["lesion_id"]) == set(partition.shipped())
    assert (table["lesion_id"].map(partition.shipped()) == table["split"]).all()


def test_the_rule_gives_the_shipped_partition(table: pd.DataFrame) -> None:
    assert partition.divide(table) == partition.shipped()


def test_no_lesion_is_in_two_splits(table: pd.DataFrame) -> None:
    assert (table.groupby("lesion_id")["split"].nunique() == 1).all()


def test_the_near_identical_pair_is_on_one_side(table: pd.DataFrame) -> None:
    pair = table.set_index("image_id").loc[["ISIC_0025226", "ISIC_0030074"]]
    assert set(pair["lesion_id"]) == {"HAM_0004919", "HAM_0000140"}
    assert pair["split"].nunique() == 1


def test_each_class_has_its_share_of_each_split(table: pd.DataFrame) -> None:
    for dx in LESION.classes:
        splits = table["split"][table["dx"] == dx]
        for split, share in partition.SHARES.items():
            assert (splits == split).mean() == pytest.approx(share, abs=0.01), (dx, split)


def test_both_tasks_share_the_splits(folder: Path, table: pd.DataFrame) -> None:
    binary = tables.read_table(folder, BINARY)
    assert list(binary["split"]) == list(table["split"])
    # 1,954 of 10,015 are malignant (ISIC convention).
    assert int(tables.targets(binary, BINARY).sum()) == 1954


def test_no_file_is_in_two_splits(table: pd.DataFrame) -> None:
    # Copies of a file under two ids would be a leak that the lesion ids do not show.
    content = pd.Series([Path(path).read_bytes() for path in table["path"]])
    assert (table["split"].groupby(content).nunique() == 1).all()


def test_a_sample_of_the_images_opens(table: pd.DataFrame) -> None:
    sizes = Counter(to_rgb(path).size for path in table["path"].iloc[::100])
    assert sizes.total() == 101
    assert all(min(size) >= 150 for size in sizes)


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_model_predicts_what_it_did_when_it_was_published(
    model: Path, table: pd.DataFrame
) -> None:
    content = json.loads((model / "metrics.json").read_text())
    task = TASKS[content["task"]]
    test = table[table["split"] == "test"]
    sample = test.iloc[np.sort(np.random.default_rng(0).permutation(len(test))[:SAMPLE])]
    classifier = Classifier(model)
    logits = predict_all(classifier.model, list(sample["path"]), classifier.config.input)
    if (model / "predictions.csv").exists():
        published = (
            pd.read_csv(model / "predictions.csv").set_index("image_id").loc[sample["image_id"]]
        )
        expected = published[[f"logit_{name}" for name in task.classes]].to_numpy()
        # Another processor adds up in another order; that moves a logit by a thousandth at most.
        assert np.abs(prediction.softmax(logits) - prediction.softmax(expected)).max() < 0.01
        assert (logits.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.99
    else:
        share = content["test"]["accuracy"]
        accuracy = (logits.argmax(axis=1) == tables.targets(sample, task)).mean()
        # Four standard errors of a sample of this size.
        assert abs(accuracy - share) < 4 * math.sqrt(share * (1 - share) / SAMPLE)


PAIRS = [
    pytest.param((binary, lesion), id=lesion.name)
    for name, lesion in catalog.shipped().items()
    if name.startswith("lesion") and (binary := lesion.parent / f"binary{name[6:]}").is_dir()
]
"""The pairs of shipped models that the page shows."""


@functools.cache
def answers_of(folders: tuple[Path, Path], part: str) -> pair.Answers:
    return pair.read(*folders, part)


@pytest.mark.parametrize("folders", PAIRS)
def test_a_pair_shows_its_suspicion(folders: tuple[Path, Path]) -> None:
    test = answers_of(folders, "test")
    flagged = test.flagged
    assert flagged[test.malignant].mean() >= 0.94
    assert flagged[~test.malignant].mean() <= 0.36


@pytest.mark.parametrize("model", MODELS)
def test_a_model_alone_shows_its_suspicion(model: Path) -> None:
    rows = json.loads((model / "metrics.json").read_text())["test"]["zones"]
    assert 1 - rows["low"]["of_malignant"] >= 0.94
    assert 1 - rows["low"]["of_benign"] <= 0.36


@pytest.mark.parametrize("folders", PAIRS)
@pytest.mark.parametrize("part", ["validation", "test", "ph2"])
def test_the_zone_rises_with_the_number_that_is_shown(
    folders: tuple[Path, Path], part: str
) -> None:
    assessed = answers_of(folders, part).assessed
    ranks = [each.zone.rank for each in sorted(assessed, key=lambda each: each.malignancy)]
    assert ranks == sorted(ranks)
    for each in assessed:
        # Above the lower cut no benign class is the answer, and it is never the one explained.
        if each.flagged:
            assert each.explained in MALIGNANT
            assert each.title.startswith(("Suspicious", "Highly suspicious"))
            assert each.diagnoses[0].malignant or "is possible" in each.summary


@pytest.mark.parametrize("folders", PAIRS)
def test_the_second_opinion_lowers_no_number(folders: tuple[Path, Path]) -> None:
    test = answers_of(folders, "test")
    for each, lesion in zip(test.assessed, test.lesion, strict=True):
        assert each.malignancy >= lesion.malignancy
    # The note that the models differ is rare: it was chosen for at most 4 of 100.
    validation = answers_of(folders, "validation").assessed
    noted = [any(note.code == "models-differ" for note in each.notes) for each in validation]
    assert np.mean(noted) <= 0.04


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("block", "most"), [("validation", 0.01), ("test", 0.015)])
def test_few_malignant_images_are_refused(model: Path, block: str, most: float) -> None:
    content = json.loads((model / "metrics.json").read_text())
    malignant = content[block]["refused"]["malignant"]
    assert malignant["refused"] <= most * malignant["n"]
    # Of PH2's 40 melanomas.
    assert content["external"]["refused"]["malignant"]["refused"] <= 1


@pytest.mark.parametrize("folders", PAIRS)
def test_no_answer_but_for_the_refused(folders: tuple[Path, Path]) -> None:
    test = answers_of(folders, "test")
    assert test.refused[test.malignant].mean() <= 0.015
    assert len(test.assessed) == 1602
    assert all(each.zone in Zone for each in test.assessed)
