"""Zones, prediction sets and gate made anew, while all else of a model folder stays."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermhub import files, layout
from dermhub.evaluation import predictions
from dermhub.models.model_folder import ModelFolder
from dermhub.release import sidecars
from dermhub.tasks import LESION
from tests.support.tiny import Command, add_old_graph


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the model of a real run, without its zones and with another gate's scores."""
    model = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    content = json.loads((model / layout.CONFIG).read_text())
    del content["dermhub"]["zones"]
    files.write_json(model / layout.CONFIG, content)
    rows = pd.read_csv(model / layout.PREDICTIONS)
    rows.assign(gate=9.0).to_csv(model / layout.PREDICTIONS, index=False)
    return model


def test_an_older_folder_gets_zones_and_keeps_the_rest(
    folder: Path, finished_run: Path, tiny_data: Path, command: Command
) -> None:
    code, out, err = command("measure", folder, "--data", tiny_data, "--refit", "--workers", 0)
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"{folder}: test, 7 images of 7 lesions: accuracy 0\.\d{{4}}, .*\n", out)
    # The gate was fitted on the same images before, so every file is what training wrote.
    before = finished_run / "model"
    for path in before.rglob("*"):
        if path.is_file() and path.name != layout.PREDICTIONS:
            assert (folder / path.relative_to(before)).read_bytes() == path.read_bytes(), path.name
    # pandas has rewritten the logits above; the scores of the gate are those of training again.
    scores = [pd.read_csv(where / layout.PREDICTIONS)["gate"] for where in (folder, before)]
    assert scores[0].to_list() == pytest.approx(scores[1].to_list())
    assert command("verify", folder)[0] == 0


def test_other_images_are_refused(
    folder: Path, tiny_data: Path, tmp_path: Path, command: Command
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    fewer = Path(shutil.copytree(tiny_data, tmp_path / "fewer"))
    table = pd.read_csv(fewer / "tiny_metadata.csv")
    first = pd.read_csv(folder / layout.PREDICTIONS)["image_id"][0]
    table[table["image_id"] != first].to_csv(fewer / "tiny_metadata.csv", index=False)
    code, _, err = command("measure", folder, "--data", fewer, "--refit")
    assert code == 2
    assert re.search(rf"lacks 1 of the \d+ images of predictions\.csv \({first}\): expected", err)

    swapped = Path(shutil.copytree(tiny_data, tmp_path / "swapped"))
    paths = sorted(swapped.rglob("*.jpg"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)
    code, _, err = command("measure", folder, "--data", swapped, "--refit")
    assert code == 2
    assert re.search(r"images in .* give other answers than predictions\.csv states: expected", err)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_without_images_the_gate_stays(folder: Path, finished_run: Path, command: Command) -> None:
    gate = (folder / layout.OOD_GATE).read_bytes()
    code, _, err = command("measure", folder, "--refit")
    assert (code, err) == (0, "")
    assert (folder / layout.OOD_GATE).read_bytes() == gate
    # The zones are those of training again; the scores in the table are those it had.
    config = (folder / layout.CONFIG).read_bytes()
    assert config == (finished_run / "model" / layout.CONFIG).read_bytes()
    assert set(pd.read_csv(folder / layout.PREDICTIONS)["gate"]) == {9.0}
    content = json.loads((folder / layout.METRICS).read_text())
    assert content["test"]["refused"]["refused"] == content["test"]["n"]
    assert command("verify", folder)[0] == 0
    code, _, err = command("measure", folder)
    assert (code, err) == (
        2,
        "dermhub: There are no images to measure: name the model's with --data DIR.\n",
    )


@pytest.fixture
def miscalibrated(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the model of a real run, with a temperature at which other answers are given."""
    model = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    content = json.loads((model / layout.CONFIG).read_text())
    block = content["dermhub"]
    del block["prior"]
    block["temperature"] *= 2
    # So much that nothing but nevi is answered.
    block["bias"] = dict.fromkeys(block["class_names"], 0.0) | {"nv": 50.0}
    files.write_json(model / layout.CONFIG, content)
    metrics = json.loads((model / layout.METRICS).read_text())
    metrics["selection"]["temperature"] = block["temperature"]
    files.write_json(model / layout.METRICS, metrics)
    return model


@pytest.mark.slow
def test_calibration_is_made_anew(
    miscalibrated: Path, finished_run: Path, tiny_data: Path, command: Command
) -> None:
    assert command("verify", miscalibrated)[0] == 2
    code, _, err = command("measure", miscalibrated, "--data", tiny_data, "--refit")
    assert (code, err) == (0, "")
    assert command("verify", miscalibrated)[0] == 0
    before, now = (ModelFolder(model).config for model in (finished_run / "model", miscalibrated))
    # Training chose it for PyTorch's logits, and this for ONNX Runtime's.
    assert now.temperature == pytest.approx(before.temperature, abs=0.002)
    assert (now.bias, now.prior) == (before.bias, before.prior)
    # The images at other sizes were classified again.
    name = "malignancy_half"
    rows = [
        pd.read_csv(model / layout.PREDICTIONS)[name].dropna()
        for model in (miscalibrated, finished_run / "model")
    ]
    assert rows[0].to_list() == pytest.approx(rows[1].to_list(), abs=1e-3)
    images = [(model / "figures" / "roc.png").read_bytes() for model in (miscalibrated,)]
    assert images == [(finished_run / "model" / "figures" / "roc.png").read_bytes()]


@pytest.mark.slow
def test_without_images_what_rests_on_earlier_probabilities_goes(
    miscalibrated: Path, command: Command
) -> None:
    rows = predictions.read_predictions(miscalibrated / layout.PREDICTIONS, LESION)
    test = rows[rows["split"] == "test"]
    maps = test[["image_id"]].assign(
        lesion_share=0.5, inside=0.5, hit=1, inside_other=0.5, hit_other=1
    )
    maps.to_csv(miscalibrated / layout.MAPS, index=False)
    code, _, err = command("measure", miscalibrated, "--refit")
    assert (code, err) == (
        0,
        f"dermhub: {miscalibrated}: the answers to scaled and compressed images rest on the "
        "earlier calibration and "
        "are left out: name the images with --data to measure them again.\n"
        f"dermhub: {miscalibrated}: the class maps are of other answers and are left out: name "
        "images and masks with --data and --masks to measure them again.\n",
    )
    assert not (miscalibrated / layout.MAPS).exists()
    assert "malignancy_half" not in pd.read_csv(miscalibrated / layout.PREDICTIONS)
    assert "ita" in pd.read_csv(miscalibrated / layout.PREDICTIONS)
    assert "**Not measured** since the" in (miscalibrated / layout.CARD).read_text()
    assert command("verify", miscalibrated)[0] == 0


def test_options_against_it(folder: Path, tiny_data: Path, command: Command) -> None:
    code, _, err = command("measure", folder, "--data", tiny_data, "--refit", "--extra", tiny_data)
    assert (code, err) == (2, "dermhub: --refit goes without --extra.\n")
    code, _, err = command("measure", folder, "--refit", "--masks", tiny_data)
    assert (code, err) == (
        2,
        "dermhub: --masks needs the images that the model was measured on: name them with --data "
        "DIR.\n",
    )
    content = json.loads((folder / layout.METRICS).read_text())
    content["weights"]["sha256"] = "0" * 64
    files.write_json(folder / layout.METRICS, content)
    code, _, err = command("measure", folder, "--data", tiny_data, "--refit")
    assert code == 2
    assert "metrics.json is not of the weights beside it: measure the model with" in err


def test_a_gate_sees_as_many_images_of_each_diagnosis() -> None:
    train = pd.DataFrame({"dx": ["nv"] * 1000 + ["mel"] * 250 + ["df"] * 3})
    sample = sidecars.gate_images(train)
    assert sample["dx"].value_counts().to_dict() == {"nv": 200, "mel": 200, "df": 3}
    # From the first to the last row of each, in the order of the table.
    assert sample.index[[0, 199, 200, 399]].tolist() == [0, 999, 1000, 1249]
    assert sample.index.is_monotonic_increasing


@pytest.mark.slow
def test_a_graph_of_an_earlier_version_is_made_anew(
    folder: Path, finished_run: Path, command: Command
) -> None:
    """Its weights leave the folder; without a graph, PyTorch's time of an answer is replaced."""
    add_old_graph(folder)
    assert command("measure", folder, "--refit")[0] == 0
    before = finished_run / "model"
    for name in (layout.GRAPH, layout.CONFIG):
        assert (folder / name).read_bytes() == (before / name).read_bytes(), name

    (folder / layout.GRAPH).unlink()
    content = json.loads((folder / layout.CONFIG).read_text())
    del content["dermhub"]["files"][layout.GRAPH]
    files.write_json(folder / layout.CONFIG, content)
    content = json.loads((folder / layout.METRICS).read_text())
    content["latency"] |= {"runtime": "PyTorch", "median_ms": 1e6}
    files.write_json(folder / layout.METRICS, content)
    assert command("measure", folder, "--refit")[0] == 0
    assert (folder / layout.GRAPH).read_bytes() == (before / layout.GRAPH).read_bytes()
    latency = json.loads((folder / layout.METRICS).read_text())["latency"]
    assert (latency["runtime"], latency["median_ms"] < 1e6) == ("ONNX Runtime", True)
