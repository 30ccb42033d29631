"""Tables read from the layouts people have, divided by lesion, and served to the training loop."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from dermhub.data import batches, datasets, partition, tables
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.images.view import to_array
from dermhub.tasks import BINARY, LESION, LESION_NAMES
from tests.support.tiny import TINY_SPEC


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data that a test may change."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of Kaggle's benign / malignant set: 12 + 4 images a class, two of them in train/
    and in test/.
    """
    folder = tmp_path_factory.mktemp("layout")
    for number, dx in enumerate(("benign", "malignant")):
        for part, count in (("train", 12), ("test", 4)):
            (folder / part / dx).mkdir(parents=True)
            for image in range(count):
                name = folder / part / dx / f"{image}.jpg"
                draw(1000 * number + 100 * count + image, (40, 36), float(number)).save(name)
        shutil.copy(folder / "test" / dx / "0.jpg", folder / "train" / dx / "copy.jpg")
    return folder


def splits(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["image_id"], table["split"], strict=True))


def test_reads_the_layout_of_ham10000(tiny_data: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    assert len(table) == 49
    assert table["lesion_id"].nunique() == 42
    assert {
        "image_id",
        "lesion_id",
        "dx",
        "path",
        "split",
        "dx_type",
        "age",
        "sex",
        "localization",
    } == set(table)
    for name, path in zip(table["image_id"], table["path"], strict=True):
        assert Path(path) == tiny_data / "images" / f"{name}.jpg"
    assert set(table["split"]) == set(partition.SPLITS)
    partition.check(table)


def test_reading_twice_gives_the_same_splits(tiny_data: Path) -> None:
    assert splits(tables.read_table(tiny_data, LESION)) == splits(
        tables.read_table(tiny_data, LESION)
    )


def test_both_tasks_share_the_splits(tiny_data: Path) -> None:
    assert splits(tables.read_table(tiny_data, LESION)) == splits(
        tables.read_table(tiny_data, BINARY)
    )


def test_the_order_of_the_table_does_not_change_the_splits(tiny_data: Path, folder: Path) -> None:
    table = pd.read_csv(folder / "tiny_metadata.csv")
    table.iloc[::-1].to_csv(folder / "tiny_metadata.csv", index=False)
    assert splits(tables.read_table(folder, LESION)) == splits(tables.read_table(tiny_data, LESION))


def test_ids_may_carry_an_extension_blanks_and_capitals(tiny_data: Path, folder: Path) -> None:
    table = pd.read_csv(folder / "tiny_metadata.csv")
    table["image_id"] = [
        f" {name}.JPG" if row % 2 else f"{name} " for row, name in enumerate(table["image_id"])
    ]
    table["lesion_id"] = [
        f"{name} " if row % 2 else name for row, name in enumerate(table["lesion_id"])
    ]
    table["dx"] = table["dx"].str.upper() + " "
    table.to_csv(folder / "tiny_metadata.csv", index=False)
    assert splits(tables.read_table(folder, LESION)) == splits(tables.read_table(tiny_data, LESION))


def test_ids_that_look_like_numbers_keep_their_zeros(folder: Path) -> None:
    table = pd.read_csv(folder / "tiny_metadata.csv")
    for number, name in enumerate(table["image_id"]):
        (folder / "images" / f"{name}.jpg").rename(folder / "images" / f"{number:05d}.jpg")
    table["image_id"] = [f"{number:05d}" for number in range(len(table))]
    table.to_csv(folder / "tiny_metadata.csv", index=False)
    assert tables.read_table(folder, LESION)["image_id"][7] == "00007"


def test_images_may_lie_in_sub_folders_of_any_depth(tiny_data: Path, folder: Path) -> None:
    for number, path in enumerate(sorted((folder / "images").glob("*.jpg"))):
        place = folder / ("part_1", "part_2/deep")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    assert splits(tables.read_table(folder, LESION)) == splits(tables.read_table(tiny_data, LESION))


def test_copies_of_a_file_are_one_image(folder: Path) -> None:
    # The Kaggle copy of HAM10000 holds each folder of images twice, in two spellings.
    shutil.copytree(folder / "images", folder / "IMAGES_too")
    table = tables.read_table(folder, LESION)
    assert len(table) == 49
    assert {Path(path).parent.name for path in table["path"]} == {"IMAGES_too"}


def test_tables_of_pixels_beside_the_metadata_are_left_alone(folder: Path) -> None:
    (folder / "hmnist_28_28_L.csv").write_text("pixel0000,label\n1,2\n")
    assert len(tables.read_table(folder, LESION)) == 49


def test_a_split_column_is_kept(folder: Path) -> None:
    table = pd.read_csv(folder / "tiny_metadata.csv")
    number = table["lesion_id"].str[-1].astype(int)
    table["split"] = np.select([number < 4, number < 7], ["train", "validation"], "test")
    table.to_csv(folder / "tiny_metadata.csv", index=False)
    assert list(tables.read_table(folder, LESION)["split"]) == list(table["split"])


def test_without_lesion_ids_copies_of_a_photo_stay_together(folder: Path) -> None:
    table = pd.read_csv(folder / "tiny_metadata.csv").drop(columns="lesion_id")
    for number in range(10):
        shutil.copy(folder / "images" / "TEST_0350.jpg", folder / "images" / f"copy{number}.jpg")
    copies = pd.DataFrame({"image_id": [f"copy{number}" for number in range(10)], "dx": "nv"})
    pd.concat([table, copies]).to_csv(folder / "tiny_metadata.csv", index=False)
    read = tables.read_table(folder, LESION)
    # 49 different photographs count as 49 lesions.
    assert read["lesion_id"].nunique() == 49
    assert (
        read["split"][
            read["image_id"].str.contains("copy") | (read["image_id"] == "TEST_0350")
        ].nunique()
        == 1
    )


def test_the_columns_about_the_patient_are_optional(folder: Path) -> None:
    table = pd.read_csv(folder / "tiny_metadata.csv")[["image_id", "dx", "lesion_id"]]
    table.to_csv(folder / "tiny_metadata.csv", index=False)
    assert len(tables.read_table(folder, BINARY)) == 49


def test_benign_and_malignant_folders(layout: Path) -> None:
    table = tables.read_table(layout, BINARY)
    assert Counter(table["dx"]) == {"benign": 16, "malignant": 16}
    test = table[table["split"] == "test"]
    assert sorted(test["image_id"]) == sorted(
        f"test/{dx}/{n}" for dx in ("benign", "malignant") for n in range(4)
    )
    # Of 12 training images a class, 12 % and the 16 % that `divide` would set aside for a test.
    assert Counter(table["split"]) == {"train": 22, "validation": 2, "test": 8}


def test_training_copies_of_test_images_leave_the_training_data(layout: Path) -> None:
    table = tables.read_table(layout, BINARY)
    assert not table["image_id"].str.endswith("copy").any()
    partition.check(table)


def test_seven_diagnoses_become_two_classes() -> None:
    table = pd.DataFrame({"dx": list(LESION_NAMES)})
    assert tables.targets(table, LESION).tolist() == [0, 1, 2, 3, 4, 5, 6]
    # akiec, bcc and mel are malignant.
    assert tables.targets(table, BINARY).tolist() == [1, 1, 0, 0, 1, 0, 0]


def training_images(table: pd.DataFrame, key: tuple[int, int] = (0, 0)) -> datasets.TrainingImages:
    order = np.arange(len(table))[::-1].copy()
    return datasets.TrainingImages(
        list(table["path"]), tables.targets(table, LESION), order, TINY_SPEC, 32, 0.35, key
    )


def test_a_view_depends_on_seed_epoch_and_position(tiny_data: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    # Asked for in another order and from another object: the same view, of the image that `order`
    # names.
    first, again = training_images(table), training_images(table)
    views = [first[position][0] for position in range(6)]
    for position in (5, 0, 3):
        assert torch.equal(again[position][0], views[position])
        assert again[position][1] == LESION.index_of(table["dx"].iloc[-1 - position])
    assert not torch.equal(training_images(table, (0, 1))[0][0], views[0])
    assert not torch.equal(training_images(table, (1, 0))[0][0], views[0])


def test_an_image_that_is_repeated_gives_another_view_each_time(tiny_data: Path) -> None:
    paths = [str(tiny_data / "images" / "TEST_0000.jpg")]
    order = np.zeros(2, np.int64)
    images = datasets.TrainingImages(
        paths, np.zeros(1, np.int64), order, TINY_SPEC, 32, 0.35, (0, 0)
    )
    assert not torch.equal(images[0][0], images[1][0])


# Python 3.12 warns about every fork of a process with threads, which torch always has.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_worker_processes_give_the_same_batches(tiny_data: Path) -> None:
    images = training_images(tables.read_table(tiny_data, LESION).head(12))
    batches = [list(DataLoader(images, 4, num_workers=workers)) for workers in (0, 2)]
    for (alone, labels), (together, same_labels) in zip(*batches, strict=True):
        assert torch.equal(alone, together)
        assert torch.equal(labels, same_labels)


def test_evaluation_images_are_what_predict_sees(tiny_data: Path) -> None:
    paths = list(tables.read_table(tiny_data, LESION)["path"])[:3]
    (images,) = batches.map_batches(list, paths, batches.as_predicted(TINY_SPEC))
    assert len(images) == 3
    assert all(
        np.array_equal(image, to_array(to_rgb(path), TINY_SPEC))
        for image, path in zip(images, paths, strict=True)
    )
