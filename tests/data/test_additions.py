"""Additions to the training split: more images and sharper copies, which of them are used, and
which are left out or refused to keep the figures fair.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermhub import files
from dermhub.cli.main import main
from dermhub.data import additions, datasets, tables
from dermhub.errors import ConfigError, DataError, ImageError
from dermhub.images.drawn_lesions import draw
from dermhub.tasks import BINARY, LESION, Task
from tests.support.tiny import TINY_RUN, TINY_SPEC, run_training

Make = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """A function that makes a folder of image id -> (picture, dx), with or without lesion ids."""

    def make(
        images: dict[str, tuple[Image.Image, str]], lesions: dict[str, str] | None = None
    ) -> Path:
        out = tmp_path / "more"
        out.mkdir()
        for name, (image, _) in images.items():
            image.save(out / f"{name}.png")
        table = pd.DataFrame([{"image_id": name, "dx": dx} for name, (_, dx) in images.items()])
        if lesions:
            table["lesion_id"] = table["image_id"].map(lesions)
        table.to_csv(out / "labels.csv", index=False)
        return out

    return make


def new(seed: int) -> Image.Image:
    return draw(5000 + seed, (120, 90), 0.5)


def of_split(table: pd.DataFrame, split: str) -> pd.Series:
    return table[table["split"] == split].iloc[0]


@pytest.mark.parametrize("task", [LESION, BINARY])
def test_more_images_are_for_training_alone(tiny_data: Path, folder: Make, task: Task) -> None:
    table = tables.read_table(tiny_data, task)
    joined, left_out = additions.add_images(
        table, folder({"A": (new(1), "mel"), "B": (new(2), "nv")}), task
    )
    assert left_out == 0
    assert list(joined["image_id"][len(table) :]) == ["A", "B"]
    assert list(joined["split"][len(table) :]) == ["train", "train"]
    assert joined.loc[: len(table) - 1, list(table)].equals(table)
    assert list(additions.added_rows(joined)["image_id"]) == ["A", "B"]
    assert additions.added_rows(table).empty
    assert joined["lesion_id"].nunique() == table["lesion_id"].nunique() + 2
    assert list(tables.targets(joined, task)[len(table) :]) == [
        task.classes.index(str(task.class_of(d))) for d in ("mel", "nv")
    ]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_copies_of_held_out_images_are_left_out(
    tiny_data: Path, folder: Make, tmp_path: Path, split: str
) -> None:
    table = tables.read_table(tiny_data, LESION)
    # The tiny images are too small to be told from each other by their hashes.
    held = new(7)
    held.save(tmp_path / "held.png")
    table.loc[of_split(table, split).name, "path"] = str(tmp_path / "held.png")
    larger = held.resize((240, 180), Image.Resampling.BICUBIC)
    turned = larger.transpose(Image.Transpose.ROTATE_90)
    joined, left_out = additions.add_images(
        table, folder({"A": (larger, "nv"), "B": (turned, "nv"), "C": (new(3), "nv")}), LESION
    )
    assert left_out == 2
    assert list(joined["image_id"][len(table) :]) == ["C"]


def test_known_ids_and_held_out_lesions_are_left_out(tiny_data: Path, folder: Make) -> None:
    table = tables.read_table(tiny_data, LESION)
    learnt = of_split(table, "train")
    tested = of_split(table, "test")
    images = {
        learnt["image_id"].lower(): (new(1), "nv"),
        "A": (new(2), "nv"),
        "B": (new(3), "nv"),
        "C": (new(4), "nv"),
    }
    lesions = dict.fromkeys(images, "ANOTHER") | {
        "A": tested["lesion_id"].lower(),
        "B": learnt["lesion_id"],
    }
    joined, left_out = additions.add_images(table, folder(images, lesions), LESION)
    # Another photograph of a lesion that is trained on may join it.
    assert left_out == 2
    assert list(joined["image_id"][len(table) :]) == ["B", "C"]


@pytest.mark.parametrize(
    ("held", "added"), [("HAM_0004919", "HAM_0000140"), ("HAM_0000140", "ham_0004919")]
)
def test_a_held_out_lesion_is_known_by_both_its_names(
    tiny_data: Path, folder: Make, held: str, added: str
) -> None:
    table = tables.read_table(tiny_data, LESION)
    row = of_split(table, "test")
    table.loc[table["lesion_id"] == row["lesion_id"], "lesion_id"] = held
    images = {"A": (new(1), "nv"), "B": (new(2), "nv")}
    joined, left_out = additions.add_images(
        table, folder(images, {"A": added, "B": "ANOTHER"}), LESION
    )
    assert left_out == 1
    assert list(additions.added_rows(joined)["image_id"]) == ["B"]


def test_a_column_of_the_table_s_own_called_extra_means_nothing(
    tiny_data: Path, folder: Make
) -> None:
    table = tables.read_table(tiny_data, LESION).assign(extra=True)
    joined, _ = additions.add_images(table, folder({"A": (new(1), "nv")}), LESION)
    assert list(additions.added_rows(joined)["image_id"]) == ["A"]


def test_images_that_can_not_be_added(tiny_data: Path, folder: Make, tmp_path: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    more = folder({table["image_id"][0]: (new(1), "nv")})
    with pytest.raises(
        DataError,
        match=r"^All 1 images of .*more are known already, or of lesions that are held out",
    ):
        additions.add_images(table, more, LESION)
    (more / "labels.csv").write_text(f"image_id,dx\n{table['image_id'][0]},mole\n")
    with pytest.raises(
        DataError, match=r"class\(es\) that the task 'lesion' does not know \(mole\)"
    ):
        additions.add_images(table, more, LESION)
    (more / "bad.png").write_bytes(b"no image")
    (more / "labels.csv").write_text("image_id,dx\nbad,nv\n")
    with pytest.raises(ImageError, match=r"bad\.png"):
        additions.add_images(table, more, LESION)
    (more / "labels.csv").unlink()
    with pytest.raises(DataError, match="holds 0 CSV tables, expected one"):
        additions.add_images(table, more, LESION)
    with pytest.raises(DataError, match="nowhere"):
        additions.add_images(table, tmp_path / "nowhere", LESION)


@pytest.mark.slow
def test_a_run_with_more_images_is_measured_with_them(
    tiny_data: Path,
    finished_run: Path,
    folder: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = folder({f"M{seed}": (new(seed), "mel") for seed in range(6)})
    before = finished_run / "model"
    # A model that was trained without them has not seen what is held out here either.
    models = ("--init", before, "--teacher", before, "--soup", before)
    run_training(
        "--data", tiny_data, "--extra", more, "--out", tmp_path / "run", *models, *TINY_RUN
    )
    assert f"{more}: 6 more training images, 0 left out" in capsys.readouterr().out
    model = tmp_path / "run" / "model"
    provenance = files.read_json(model / "config.json")["dermhub"]["provenance"]
    assert provenance["data"]["extra"] == {"source": "more", "images": 6, "dx": {"mel": 6}}
    assert provenance["options"]["extra"] == "more"
    assert (
        "6 of them are training images from elsewhere (`more`: mel 6)"
        in (model / "README.md").read_text()
    )
    card = (model / "README.md").read_text()
    assert "it had learned from the same images, with or without those from elsewhere." in card
    assert "The training images from elsewhere have terms of their own." in card
    options = ["measure", str(model), "--data", str(tiny_data), "--workers", "0"]
    assert main(options) == 2
    assert (
        "also trained on further images (more): name their folder with --extra.\n"
        in capsys.readouterr().err
    )
    assert main([*options, "--extra", str(more)]) == 0
    assert main(["verify", str(model)]) == 0


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


def test_only_training_images_get_a_copy(table: pd.DataFrame, copies: Path) -> None:
    joined, count, left_out = additions.add_sharper(table, copies)
    trained = table["split"] == "train"
    assert (count, left_out) == (int(trained.sum()), 0)
    assert list(joined["sharper"] != "") == list(trained)
    assert joined.drop(columns="sharper").equals(table)
    row = of_split(joined, "train")
    assert row["sharper"] == str(copies / f"{row['image_id']}.png")


def test_a_copy_that_shows_something_else_is_left_out(table: pd.DataFrame, copies: Path) -> None:
    name = of_split(table, "train")["image_id"]
    draw(999, (120, 120), 1.0).save(copies / f"{name}.png")
    joined, count, left_out = additions.add_sharper(table, copies)
    assert (count, left_out) == (int((table["split"] == "train").sum()) - 1, 1)
    assert of_split(joined, "train")["sharper"] == ""


def test_substitution_probability_by_hand() -> None:
    # mel: 1 of 4 has a copy; nv: 1 of 2, so that it is shown half the times; df: all, so a quarter
    # of the times.
    rows = pd.DataFrame(
        {
            "dx": ["mel"] * 4 + ["nv"] * 2 + ["df"] * 2,
            "sharper": ["a", "", "", "", "b", "", "c", "d"],
        }
    )
    probability = additions.substitution_probability(rows)
    assert probability.tolist() == [1, 0, 0, 0, 0.5, 0, 0.25, 0.25]
    assert pd.Series(probability).groupby(rows["dx"]).mean().tolist() == [0.25] * 3


def test_a_diagnosis_without_copies(table: pd.DataFrame, copies: Path) -> None:
    for name in table["image_id"][table["dx"] == "mel"]:
        (copies / f"{name}.png").unlink()
    with pytest.raises(
        DataError,
        match=r"copies has no copy of any image of mel: a model could tell it by its sharpne",
    ):
        additions.add_sharper(table, copies)


def test_views_come_from_the_copy_by_its_probability(tmp_path: Path) -> None:
    for name, value in (("image", 0), ("copy", 255)):
        Image.new("RGB", (64, 64), (value,) * 3).save(tmp_path / f"{name}.png")
    paths = [str(tmp_path / "image.png")] * 3
    copy = [str(tmp_path / "copy.png")] * 3
    order = np.repeat(np.arange(3), 200)
    targets = np.zeros(3, np.int64)
    images = datasets.TrainingImages(
        paths, targets, order, TINY_SPEC, 16, 0.5, (0, 0), (copy, np.array([0.0, 0.25, 1.0]))
    )
    bright = [float(images[position][0].mean()) > 0 for position in range(len(images))]
    shares = np.reshape(bright, (3, 200)).mean(axis=1)
    assert (shares[0], shares[2]) == (0, 1)
    assert 0.15 < shares[1] < 0.35


def test_without_copies_the_views_are_those_of_before(table: pd.DataFrame) -> None:
    paths = list(table["path"])
    order = np.arange(len(table))
    arguments = (paths, np.zeros(len(table), np.int64), order, TINY_SPEC, 16, 0.5, (1, 2))
    plain = datasets.TrainingImages(*arguments)
    never = datasets.TrainingImages(*arguments, (paths, np.zeros(len(table))))
    assert plain[3][0].shape == never[3][0].shape == (3, 16, 16)
    assert plain[3][0].equal(datasets.TrainingImages(*arguments)[3][0])


def test_folders_without_copies(table: pd.DataFrame, copies: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        additions.add_sharper(table, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        additions.add_sharper(table, tmp_path / "empty")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(copies / f"{of_split(table, 'test')['image_id']}.png", other)
    with pytest.raises(
        DataError,
        match=r"other has no copy of a training image: expected files that have their image_",
    ):
        additions.add_sharper(table, other)


def test_copies_that_are_not_sharper(table: pd.DataFrame, copies: Path) -> None:
    row = of_split(table, "train")
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
    path = tmp_path / "image.png"
    copy = tmp_path / "copy.png"
    draw(1, (1600, 1200)).save(path)
    draw(1, (1600, 1200)).resize((4800, 3600)).save(copy)
    table = pd.DataFrame(
        {"image_id": ["copy"], "path": [str(path)], "dx": ["nv"], "split": ["train"]}
    )
    assert additions.add_sharper(table, tmp_path)[1:] == (1, 0)


def test_images_in_folders_of_classes_have_no_copies(table: pd.DataFrame, copies: Path) -> None:
    nested = table.assign(image_id="train/benign/" + table["image_id"])
    with pytest.raises(
        DataError, match=r"^Sharper copies are found by image_id: expected data with a table"
    ):
        additions.add_sharper(nested, copies)


def test_the_hash_is_that_of_the_copies_used(table: pd.DataFrame, copies: Path) -> None:
    def changed(split: str) -> bool:
        before = additions.sharper_fingerprint(additions.add_sharper(table, copies)[0])
        path = copies / f"{of_split(table, split)['image_id']}.png"
        with Image.open(path) as image:
            other = image.point(lambda value: min(value + 1, 255))
        other.save(path)
        return additions.sharper_fingerprint(additions.add_sharper(table, copies)[0]) != before

    assert changed("train")
    assert not changed("test")


@pytest.mark.slow
def test_a_run_with_copies_names_them(
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
    provenance = files.read_json(model / "config.json")["dermhub"]["provenance"]
    assert provenance["options"]["sharper"] == "copies"
    assert (
        "\nSharper copies (`copies`) replaced some training images, equally often"
        in (model / "README.md").read_text()
    )
    # Other copies are other data.
    another = copies / f"{table['image_id'].iloc[1]}.png"
    shutil.copy(another, copies / f"{of_split(table, 'train')['image_id']}.png")
    with pytest.raises(
        ConfigError, match=r"copies changed since .* was begun: start a new run with --out\.$"
    ):
        run_training("--resume", tmp_path / "run")
