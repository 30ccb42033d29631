"""Further training images: which of them are used, and which are left out or refused to keep the
figures fair.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dermhub import files
from dermhub.cli.main import main
from dermhub.data import additions, tables
from dermhub.errors import ConfigError, DataError, ImageError
from dermhub.images.drawn_lesions import draw
from dermhub.tasks import BINARY, LESION, Task
from tests.support.tiny import TINY_RUN, run_training

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
    models = ("--init", before, "--teacher", before)
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
    assert "it had learned from the same images, with or without others from elsewhere." in card
    assert "The training images from elsewhere have terms of their own." in card
    options = ["measure", str(model), "--data", str(tiny_data), "--workers", "0"]
    assert main(options) == 2
    assert (
        "also trained on further images (more): name their folder with --extra.\n"
        in capsys.readouterr().err
    )
    assert main([*options, "--extra", str(more)]) == 0
    assert main(["verify", str(model)]) == 0
    # Nor has a model that was trained with them, for a run without.
    models = ("--init", model, "--teacher", model)
    run_training("--data", tiny_data, "--out", tmp_path / "next", *models, *TINY_RUN)
    assert (tmp_path / "next" / "model" / "config.json").exists()


def test_sources_are_folders_and_collections(tiny_data: Path, folder: Make, tmp_path: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    first = folder({"A": (new(1), "mel"), "B": (new(2), "nv")})
    labels = pd.read_csv(first / "labels.csv").assign(collection=["2017", "2020"])
    labels.to_csv(first / "labels.csv", index=False)
    second = tmp_path / "others"
    second.mkdir()
    new(3).save(second / "C.png")
    (second / "labels.csv").write_text("image_id,dx\nC,bkl\n")
    named = f"{first}, {second}"
    joined, left_out = additions.add_all(table, additions.folders(named), LESION)
    assert left_out == 0
    assert list(additions.added_rows(joined)["source"]) == ["more 2017", "more 2020", "others"]
    assert additions.own_rows(joined)["source"].eq("").all()
    assert len(additions.own_rows(joined)) == len(table)


@pytest.mark.parametrize("named", [",", "a,", "a,,b", " ", "a,a"])
def test_folders_without_a_name_or_named_twice(named: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--extra is '.*', expected folders, each once, with commas between"
    ):
        additions.folders(named)


def test_no_folder_and_one_with_a_comma_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert additions.folders("") == []
    assert additions.folders(str(tmp_path / "a,b")) == [tmp_path / "a,b"]
    assert additions.folders("c, d") == [Path("c"), Path("d")]


def test_labels_that_name_no_class_of_the_task(tiny_data: Path, folder: Make) -> None:
    images = {"A": (new(1), "benign"), "B": (new(2), "scc"), "C": (new(3), "nv")}
    more = folder(images)
    labels = pd.read_csv(more / "labels.csv").assign(malignant=[0, 1, 0])
    labels.to_csv(more / "labels.csv", index=False)
    said: list[str] = []
    table = tables.read_table(tiny_data, LESION)
    joined, left_out = additions.add_images(table, more, LESION, say=said.append)
    added = additions.added_rows(joined)
    assert (list(added["dx"]), left_out) == (["benign", "nv"], 1)
    assert said[-1] == (
        f"{more}: 1 image(s) of diagnoses that the task 'lesion' does not know are left out (scc)."
    )
    # Any of the benign classes, of which there is no index: 7 and up are words.
    assert tables.training_targets(added, LESION).tolist() == [7, 5]
    joined, left_out = additions.add_images(tables.read_table(tiny_data, BINARY), more, BINARY)
    added = additions.added_rows(joined)
    assert (list(added["dx"]), left_out) == (["benign", "malignant", "nv"], 0)
    assert tables.training_targets(added, BINARY).tolist() == [0, 1, 0]
