"""Measurement of a saved model: the same bytes again, and one sentence for other data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermhub import files
from dermhub.data import tables
from dermhub.errors import LeakError
from dermhub.images import near_duplicates
from dermhub.images.decode import to_rgb
from dermhub.models.model_folder import ModelFolder
from dermhub.release import measure
from dermhub.scoring import overlap
from dermhub.tasks import LESION
from tests.support.tiny import Command

MEASURED_TIME = ("latency",)
"""Block of metrics.json that differs from one measurement to the next."""


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the model of a real run, to measure."""
    return Path(shutil.copytree(finished_run / "model", tmp_path / "model"))


def content(folder: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in read.items() if name not in MEASURED_TIME}


@pytest.mark.slow
def test_a_saved_model_is_measured_again(
    folder: Path, finished_run: Path, tiny_data: Path, command: Command
) -> None:
    kept = content(folder)
    for name in ("README.md", "predictions.csv", "figures/roc.png", "figures/data.png"):
        (folder / name).unlink()
    files.write_json(
        folder / "metrics.json", {"model": kept["model"], "selection": kept["selection"]}
    )
    code, out, err = command("measure", folder, "--data", tiny_data, "--workers", 0)
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"{folder}: test, 7 images of 7 lesions: accuracy 0\.\d{{4}}, .*\n", out)
    assert content(folder) == kept
    for path in (finished_run / "model").rglob("*"):
        if path.is_file() and path.name not in ("README.md", "metrics.json"):
            assert (
                folder / path.relative_to(finished_run / "model")
            ).read_bytes() == path.read_bytes(), path.name
    # But for the time of an answer, the card is the same as well.
    cards = [(where / "README.md").read_text() for where in (folder, finished_run / "model")]
    assert len({re.sub(r"[\d.]+ ms", "", card) for card in cards}) == 1


def test_other_data_are_refused(
    folder: Path, tiny_data: Path, tmp_path: Path, command: Command
) -> None:
    other = Path(shutil.copytree(tiny_data, tmp_path / "other"))
    table = pd.read_csv(other / "tiny_metadata.csv")
    table[table["image_id"] != "TEST_0410"].to_csv(other / "tiny_metadata.csv", index=False)
    before = (folder / "metrics.json").read_bytes()
    code, out, err = command("measure", folder, "--data", other)
    assert (code, out) == (2, "")
    assert re.fullmatch(
        rf"dermhub: {other} is not the data that the model was trained on: its table has the "
        rf"fingerprint \w{{64}}, "
        r"config\.json states \w{64}\. `evaluate` measures a model on other data\.\n",
        err,
    )
    assert (folder / "metrics.json").read_bytes() == before


def test_further_images_of_a_model_without_are_refused(
    folder: Path, tiny_data: Path, command: Command
) -> None:
    before = (folder / "metrics.json").read_bytes()
    code, out, err = command("measure", folder, "--data", tiny_data, "--extra", tiny_data)
    assert (code, out) == (2, "")
    assert (
        err == f"dermhub: The model was trained without further images: leave --extra {tiny_data} "
        "out.\n"
    )
    assert (folder / "metrics.json").read_bytes() == before


def test_a_leaky_table_is_refused(folder: Path, tiny_data: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    lesion = table["lesion_id"][table["lesion_id"].duplicated()].iloc[0]
    table.loc[table["lesion_id"] == lesion, "split"] = ["train", "test"]
    with pytest.raises(
        LeakError, match=rf"^1 lesion\(s\) stand in more than one split \({lesion}\)"
    ):
        measure.measure(ModelFolder(folder), table)


@pytest.mark.parametrize(
    "broken", ["", "{}", '{"model": "x"}', '{"model": "x", "selection": 3}', "[1]"]
)
def test_a_folder_that_tells_of_no_choice(
    folder: Path, tiny_data: Path, command: Command, broken: str
) -> None:
    (folder / "metrics.json").write_text(broken)
    code, _, err = command("measure", folder, "--data", tiny_data)
    assert code == 2
    assert re.fullmatch(
        rf"dermhub: {folder / 'metrics.json'} does not tell what was chosen on validation \(.*\): "
        r"only a model that "
        r"train\.py made can be measured again\.\n",
        err,
    )


def test_options_that_can_not_be(folder: Path, tmp_path: Path, command: Command) -> None:
    code, _, err = command("measure", folder, "--data", tmp_path, "--workers", -1)
    assert (code, err) == (2, "dermhub: --workers is -1, expected at least 0.\n")
    code, _, err = command("measure", tmp_path, "--data", tmp_path)
    assert (code, err) == (
        2,
        f"dermhub: {tmp_path} is not a model folder: it has no config.json.\n",
    )
    code, _, err = command("measure", folder, "--data", tmp_path / "none")
    assert (code, err.startswith(f"dermhub: There is no folder {tmp_path / 'none'}")) == (2, True)


def test_measuring_adds_what_the_model_has_seen(finished_run: Path, tiny_data: Path) -> None:
    manifest = overlap.manifest_of(finished_run / "model")
    table = tables.read_table(tiny_data, LESION)
    learnt = table[table["split"] != "test"]
    assert list(zip(manifest.ids, manifest.splits, strict=True)) == list(
        zip(learnt["image_id"], learnt["split"], strict=True)
    )
    for name, split, path in zip(learnt["image_id"], learnt["split"], learnt["path"], strict=True):
        assert manifest.find(near_duplicates.hashes(to_rgb(path))) == near_duplicates.Match(
            name, split, 0
        )
    assert not any(
        manifest.find(near_duplicates.hashes(to_rgb(path)))
        for path in table["path"][table["split"] == "test"]
    )


def test_damaged_weights_take_nothing_from_the_folder(
    folder: Path, tiny_data: Path, command: Command
) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, _, err = command("measure", folder, "--data", tiny_data, "--workers", 0)
    assert code == 2
    assert re.fullmatch(
        rf"dermhub: {weights} has the sha256 [0-9a-f]{{64}}, but config\.json states .*\n", err
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
