"""Zones, prediction sets and gate made anew, while all else of a model folder stays."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermhub import files, layout
from dermhub.release import sidecars
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


def test_options_against_it(folder: Path, tiny_data: Path, command: Command) -> None:
    code, _, err = command("measure", folder, "--data", tiny_data, "--refit", "--extra", tiny_data)
    assert (code, err) == (2, "dermhub: --refit goes without --extra and --masks.\n")
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
