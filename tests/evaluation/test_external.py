"""The external test: read, measured, kept, and reported in the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference

from dermhub import layout
from dermhub.cards import checklist
from dermhub.data import tables
from dermhub.errors import DataError
from dermhub.evaluation import external
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from dermhub.models.model_folder import ModelFolder
from dermhub.release import external as release_external
from dermhub.release import measure, verify
from dermhub.release.previous import Previous
from dermhub.tasks import LESION
from tests.support.tiny import Command


@pytest.fixture(scope="module")
def ph2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like PH2, of twelve drawn images, four of them melanomas. Read only."""
    folder = tmp_path_factory.mktemp("ph2")
    names = [f"IMD{number:03d}" for number in range(12)]
    for number, name in enumerate(names):
        draw(number, (64, 56), 0.9 if number % 3 == 0 else 0.2).save(folder / f"{name}.jpg")
    dx = ["mel" if number % 3 == 0 else "nv" for number in range(12)]
    pd.DataFrame({"image_id": names, "diagnosis": "?", "dx": dx}).to_csv(
        folder / "labels.csv", index=False
    )
    return folder


@pytest.fixture(scope="module")
def measured(
    finished_run: Path,
    tiny_data: Path,
    ph2: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model that was measured on it. Read only."""
    folder = Path(
        shutil.copytree(finished_run / "model", tmp_path_factory.mktemp("measured") / "model")
    )
    measure.measure(ModelFolder(folder), tables.read_table(tiny_data, LESION), ph2=ph2)
    return folder


def content(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return read


@pytest.mark.slow
def test_the_figures_are_those_of_predict(measured: Path, ph2: Path) -> None:
    figures = content(measured)["external"]
    table = pd.read_csv(ph2 / "labels.csv")
    predictions = Classifier(measured).predict([ph2 / f"{name}.jpg" for name in table["image_id"]])
    malignant = (table["dx"] == "mel").to_numpy()
    score = np.array([p.malignancy for p in predictions])
    assert (figures["source"], figures["n"], figures["melanoma"], figures["nevus"]) == (
        "ph2",
        12,
        4,
        8,
    )
    assert figures["malignancy_auroc"] == pytest.approx(reference.roc_auc_score(malignant, score))
    melanoma = [p.probabilities["mel"] for p in predictions]
    assert figures["melanoma_auroc"] == pytest.approx(reference.roc_auc_score(malignant, melanoma))
    point = figures["operating_points"]["sensitivity_95"]
    called = np.array([p.malignant for p in predictions])
    assert (point["tp"], point["fp"]) == ((called & malignant).sum(), (called & ~malignant).sum())
    low, high = figures["bounds"]["malignancy_auroc"] or (0, 1)
    assert low <= figures["malignancy_auroc"] <= high


def test_the_table_names_its_source(measured: Path) -> None:
    table = external.read_external(measured / layout.EXTERNAL, LESION)
    assert dict(table["source"].value_counts()) == {"ph2": 12}
    assert dict(table["dx"].value_counts()) == {"nv": 8, "mel": 4}


def test_the_card_reports_it_and_meets_the_checklist(measured: Path) -> None:
    text = (measured / "README.md").read_text()
    assert (
        "12 images from a hospital that is not in HAM10000, 4 melanomas\nagainst 8 common" in text
    )
    assert "External test: 12 images of PH2, above." in text
    assert "External test: none" not in text
    items = {outcome.item for outcome in checklist.lint(measured).missing}
    # The tests may run where there is no git revision.
    assert items <= {"code revision"}
    assert verify.verify(measured).differences == ()


@pytest.mark.slow
def test_without_the_source_its_figures_are_kept(
    measured: Path, tiny_data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "model"))
    before = external.read_external(folder / layout.EXTERNAL, LESION)
    table = tables.read_table(tiny_data, LESION)
    measure.measure(ModelFolder(folder), table)
    # But for the scores of the gate, which was fitted anew.
    kept = external.read_external(folder / layout.EXTERNAL, LESION)
    pd.testing.assert_frame_equal(kept, before.drop(columns="gate"))
    expected = content(measured)["external"]
    assert expected.pop("refused")
    assert content(folder)["external"] == expected
    # Of new weights they would say nothing.
    metrics = content(folder)
    metrics["weights"]["sha256"] = "0" * 64
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert not Previous.read(ModelFolder(folder)).external
    measure.measure(ModelFolder(folder), table)
    assert not (folder / layout.EXTERNAL).exists()
    assert content(folder)["external"] == {}
    assert "## External test\n\n**None.**" in (folder / "README.md").read_text()


def test_a_binary_model_has_no_probability_of_melanoma(
    tiny_binary_model: Path, ph2: Path, tmp_path: Path
) -> None:
    classifier = Classifier(tiny_binary_model)
    release_external.write(tmp_path, classifier, ph2)
    table = external.read_external(tmp_path / layout.EXTERNAL, classifier.config.task)
    figures = external.external_figures(table, classifier.config)
    assert figures["melanoma_auroc"] is None
    assert set(figures["bounds"]) == {"malignancy_auroc"}


def test_labels_of_another_kind_are_refused(ph2: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ph2, tmp_path / "other"))
    for dx, listed in (("bkl", "bkl, nv"), ("nv", "nv")):
        table = pd.read_csv(ph2 / "labels.csv")
        table["dx"] = table["dx"].replace({"mel": dx})
        table.to_csv(folder / "labels.csv", index=False)
        with pytest.raises(
            DataError, match=rf"labels\.csv has the dx {listed}, expected mel and nv\.$"
        ):
            release_external.read_table(folder)


def test_folders_without_the_images(
    finished_run: Path, tiny_data: Path, tmp_path: Path, command: Command
) -> None:
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    before = (folder / "metrics.json").read_bytes()
    (tmp_path / "empty").mkdir()
    code, _, err = command("measure", folder, "--data", tiny_data, "--ph2", tmp_path / "empty")
    assert code == 2
    assert err.startswith("dermhub: There is no file")
    assert (folder / "metrics.json").read_bytes() == before
