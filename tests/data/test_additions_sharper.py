"""Sharper copies of training images: which are used, how often, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermhub import files
from dermhub.data import additions, datasets, tables
from dermhub.errors import ConfigError, DataError, ImageError
from dermhub.images.drawing import draw
from dermhub.tasks import LESION
from tests.support.tiny import TINY_RUN, TINY_SPEC, run_training


@pytest.fixture
def table(tiny_data: Path) -> pd.DataFrame:
    return tables.read_table(tiny_data, LESION)


@pytest.fixture
def copies(table: pd.DataFrame, tmp_path: Path) -> Path:
    """The central square of every image, of all splits, at three times the size."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for name, path in zip(table["image_id"], table["path"], strict=True):
        with Image.open(path) as image:
            square = image.resize((120, 120), Image.Resampling.BICUBIC, box=(4, 0, 44, 40))
        square.save(folder / f"{name}.png")
    return folder


def first(table: pd.DataFrame, split: str = "train") -> pd.Series:
    return table[table["split"] == split].iloc[0]


def test_only_training_images_get_a_copy(table: pd.DataFrame, copies: Path) -> None:
    found, count, left_out = additions.add_sharper(table, copies)
    trained = table["split"] == "train"
    assert (count, left_out) == (int(trained.sum()), 0)
    assert list(found["sharper"] != "") == list(trained)
    assert found.drop(columns="sharper").equals(table)
    row = first(found)
    assert row["sharper"] == str(copies / f"{row['image_id']}.png")


def test_a_copy_that_shows_something_else_is_left_out(table: pd.DataFrame, copies: Path) -> None:
    name = first(table)["image_id"]
    draw(999, (120, 120), 1.0).save(copies / f"{name}.png")
    found, count, left_out = additions.add_sharper(table, copies)
    assert (count, left_out) == (int((table["split"] == "train").sum()) - 1, 1)
    assert first(found)["sharper"] == ""


def test_chances_by_hand() -> None:
    # mel: 1 of 4 has a copy; nv: 1 of 2, so that it is shown half the times; df: all, so a quarter
    # of the times.
    rows = pd.DataFrame(
        {
            "dx": ["mel"] * 4 + ["nv"] * 2 + ["df"] * 2,
            "sharper": ["a", "", "", "", "b", "", "c", "d"],
        }
    )
    chances = additions.substitution_probability(rows)
    assert chances.tolist() == [1, 0, 0, 0, 0.5, 0, 0.25, 0.25]
    assert pd.Series(chances).groupby(rows["dx"]).mean().tolist() == [0.25] * 3


def test_a_diagnosis_without_copies(table: pd.DataFrame, copies: Path) -> None:
    for name in table["image_id"][table["dx"] == "mel"]:
        (copies / f"{name}.png").unlink()
    with pytest.raises(
        DataError,
        match=r"copies has no copy of any image of mel: a model could tell it by its sharpne",
    ):
        additions.add_sharper(table, copies)


def test_views_come_from_the_copy_by_its_chance(tmp_path: Path) -> None:
    for name, value in (("own", 0), ("copy", 255)):
        Image.new("RGB", (64, 64), (value,) * 3).save(tmp_path / f"{name}.png")
    paths, copy = [str(tmp_path / "own.png")] * 3, [str(tmp_path / "copy.png")] * 3
    order, targets = np.repeat(np.arange(3), 200), np.zeros(3, np.int64)
    images = datasets.TrainingImages(
        paths, targets, order, TINY_SPEC, 16, 0.5, (0, 0), (copy, np.array([0.0, 0.25, 1.0]))
    )
    bright = [float(images[position][0].mean()) > 0 for position in range(len(images))]
    shares = np.reshape(bright, (3, 200)).mean(axis=1)
    assert (shares[0], shares[2]) == (0, 1)
    assert 0.15 < shares[1] < 0.35


def test_without_copies_the_views_are_those_of_before(table: pd.DataFrame) -> None:
    paths, order = list(table["path"]), np.arange(len(table))
    arguments = (paths, np.zeros(len(table), np.int64), order, TINY_SPEC, 16, 0.5, (1, 2))
    plain = datasets.TrainingImages(*arguments)
    never = datasets.TrainingImages(*arguments, (paths, np.zeros(len(table))))
    assert plain[3][0].shape == never[3][0].shape == (3, 16, 16)
    assert plain[3][0].equal(datasets.TrainingImages(*arguments)[3][0])


def test_folders_that_hold_none(table: pd.DataFrame, copies: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        additions.add_sharper(table, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        additions.add_sharper(table, tmp_path / "empty")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(copies / f"{first(table, 'test')['image_id']}.png", other)
    with pytest.raises(
        DataError,
        match=r"other has no copy of a training image: expected files that have their image_",
    ):
        additions.add_sharper(table, other)


def test_copies_that_are_not_sharper(table: pd.DataFrame, copies: Path) -> None:
    row = first(table)
    shutil.copy(row["path"], copies / f"{row['image_id']}.png")
    with pytest.raises(
        DataError,
        match=r"is 48 x 40 pixels, not larger than .* \(48 x 40\): expected a sharper copy\.$",
    ):
        additions.add_sharper(table, copies)
    (copies / f"{row['image_id']}.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=row["image_id"]):
        additions.add_sharper(table, copies)


@pytest.mark.slow
def test_a_very_large_copy_is_measured_by_its_file(tmp_path: Path) -> None:
    # 16 million pixels and more are read at a quarter of the size.
    own, copy = tmp_path / "own.png", tmp_path / "copy.png"
    draw(1, (1600, 1200)).save(own)
    draw(1, (1600, 1200)).resize((4800, 3600)).save(copy)
    table = pd.DataFrame(
        {"image_id": ["copy"], "path": [str(own)], "dx": ["nv"], "split": ["train"]}
    )
    assert additions.add_sharper(table, tmp_path)[1:] == (1, 0)


def test_images_in_folders_of_classes_have_none(table: pd.DataFrame, copies: Path) -> None:
    nested = table.assign(image_id="train/benign/" + table["image_id"])
    with pytest.raises(
        DataError, match=r"^Sharper copies are found by image_id: expected data with a table"
    ):
        additions.add_sharper(nested, copies)


def test_the_hash_is_that_of_the_copies_used(table: pd.DataFrame, copies: Path) -> None:
    def changed(split: str) -> bool:
        before = additions.sharper_fingerprint(additions.add_sharper(table, copies)[0])
        path = copies / f"{first(table, split)['image_id']}.png"
        with Image.open(path) as image:
            other = image.point(lambda value: min(value + 1, 255))
        other.save(path)
        return additions.sharper_fingerprint(additions.add_sharper(table, copies)[0]) != before

    assert changed("train")
    assert not changed("test")


@pytest.mark.slow
def test_a_run_with_copies_tells_of_them(
    tiny_data: Path,
    copies: Path,
    tmp_path: Path,
    table: pd.DataFrame,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_training("--data", tiny_data, "--sharper", copies, "--out", tmp_path / "run", *TINY_RUN)
    run_training("--resume", tmp_path / "run")
    count = int((table["split"] == "train").sum())
    assert (
        f"{copies}: sharper copies of {count} training images, 0 left out"
        in capsys.readouterr().out
    )
    model = tmp_path / "run" / "model"
    told = files.read_json(model / "config.json")["dermhub"]["provenance"]
    assert told["options"]["sharper"] == "copies"
    assert (
        "\nSharper copies (`copies`) replaced some training images, equally often"
        in (model / "README.md").read_text()
    )
    # Other copies are other data.
    shutil.copy(
        copies / f"{table['image_id'].iloc[1]}.png", copies / f"{first(table)['image_id']}.png"
    )
    with pytest.raises(
        ConfigError, match=r"copies changed since .* was begun: start a new run with --out\.$"
    ):
        run_training("--resume", tmp_path / "run")
