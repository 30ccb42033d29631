"""Folders of classes: found where people have them, divided, and checked for copies."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from dermhub.data import partition, tables
from dermhub.errors import DataError, note
from dermhub.evaluation import predictions
from dermhub.tasks import BINARY, LESION, LESION_NAMES, Task

Capture = pytest.CaptureFixture[str]

TWO = ("benign", "malignant")


def fill(folder: Path, count: int, seed: int = 0, suffix: str = ".jpg") -> Path:
    """Put files 0, 1, ... of one length into a folder: reading a layout decodes no image."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}{suffix}").write_bytes(f"{seed:4} {number:4}".encode())
    return folder


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Folders train|test/benign|malignant with 12 and 4 images a class."""
    root = tmp_path / "data"
    for number, (part, dx) in enumerate((p, d) for p in ("train", "test") for d in TWO):
        fill(root / part / dx, 12 if part == "train" else 4, number)
    return root


def splits(table: pd.DataFrame) -> dict[tuple[str, str], int]:
    return dict(Counter(zip(table["split"], table["dx"], strict=True)))


def refusal(folder: Path, task: Task = BINARY) -> str:
    with pytest.raises(DataError) as caught:
        tables.read_table(folder, task)
    return str(caught.value).replace(str(folder), "FOLDER")


# Of 12 training images a class, 11 stay and 1 is for validation.
FOUND = {("train", dx): 11 for dx in TWO} | {("validation", dx): 1 for dx in TWO}
FOUND |= {("test", dx): 4 for dx in TWO}


@pytest.mark.parametrize(
    ("train", "test", "benign"),
    [
        ("Train", "Test", "Benign"),
        pytest.param("TRAINING", "TESTING", "BENIGN", marks=pytest.mark.slow),
        pytest.param("train", "test", "benign", marks=pytest.mark.slow),
    ],
)
def test_capitals_make_no_difference(layout: Path, train: str, test: str, benign: str) -> None:
    for part, name in (("train", train), ("test", test)):
        (layout / part / "benign").rename(layout / part / "b")
        (layout / part / "b").rename(layout / part / benign)
        (layout / part).rename(layout / "moved")
        (layout / "moved").rename(layout / name)
    table = tables.read_table(layout, BINARY)
    assert splits(table) == FOUND
    assert f"{test}/{benign}/0" in set(table["image_id"])


@pytest.mark.parametrize(
    "place", [pytest.param("melanoma_cancer_dataset", marks=pytest.mark.slow), "archive/images"]
)
def test_a_layout_may_lie_deeper(layout: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "outer" / place).parent.mkdir(parents=True)
    layout.rename(tmp_path / "outer" / place)
    table = tables.read_table(tmp_path / "outer", BINARY)
    assert splits(table) == FOUND
    # Ids do not depend on the folder that was given.
    assert splits(tables.read_table(tmp_path / "outer" / place, BINARY)) == FOUND
    assert set(table["image_id"]) == set(
        tables.read_table(tmp_path / "outer" / place, BINARY)["image_id"]
    )


@pytest.mark.slow
def test_a_copy_of_the_layout_below_it_is_not_read(layout: Path, capsys: Capture) -> None:
    # As in fanconic's set, which holds its folders again in data/.
    shutil.copytree(layout, layout.parent / "copy")
    shutil.move(layout.parent / "copy", layout / "data")
    assert splits(tables.read_table(layout, BINARY, say=note)) == FOUND
    assert "images in other folders are not used (data)" in capsys.readouterr().err


def test_several_layouts_are_named(layout: Path) -> None:
    shutil.copytree(layout, layout.parent / "other")
    assert refusal(layout.parent) == (
        "FOLDER holds several data sets (data, other): give one of them, or call folders of splits "
        "train, val and test."
    )


@pytest.mark.parametrize(
    "name", ["val", *(pytest.param(n, marks=pytest.mark.slow) for n in ("Valid", "validation"))]
)
def test_a_validation_folder_is_used(layout: Path, name: str) -> None:
    for number, dx in enumerate(TWO):
        fill(layout / name / dx, 5, 10 + number)
    assert splits(tables.read_table(layout, BINARY)) == {
        **{("train", dx): 12 for dx in TWO},
        **{("validation", dx): 5 for dx in TWO},
        **{("test", dx): 4 for dx in TWO},
    }


def test_without_a_test_folder_test_images_are_set_aside(layout: Path) -> None:
    for number, dx in enumerate(TWO):
        fill(layout / "val" / dx, 5, 10 + number)
    shutil.rmtree(layout / "test")
    # 16 % of 12 images a class.
    assert splits(tables.read_table(layout, BINARY)) == {
        **{("train", dx): 10 for dx in TWO},
        **{("validation", dx): 5 for dx in TWO},
        **{("test", dx): 2 for dx in TWO},
    }


def test_two_folders_for_one_split(layout: Path) -> None:
    for name in ("val", "validation"):
        fill(layout / name / "benign", 1)
    assert refusal(layout) == (
        "FOLDER has two folders for the validation split (val, validation): expected one."
    )


def test_copies_leave_the_splits_that_are_trained_on(layout: Path, capsys: Capture) -> None:
    for number, dx in enumerate(TWO):
        fill(layout / "val" / dx, 5, 10 + number)
    shutil.copy(layout / "test/benign/0.jpg", layout / "val/benign/copy.jpg")
    shutil.copy(layout / "test/benign/1.jpg", layout / "train/benign/copy1.jpg")
    shutil.copy(layout / "val/malignant/0.jpg", layout / "train/malignant/copy2.jpg")
    table = tables.read_table(layout, BINARY, say=note)
    assert not table["image_id"].str.contains("copy").any()
    assert len(table) == 42
    err = capsys.readouterr().err
    assert "2 image(s) are copies of images in the test folder and left out" in err
    assert "1 image(s) are copies of images in the validation folder and left out" in err


def test_one_image_in_two_classes(layout: Path, capsys: Capture) -> None:
    shutil.copy(layout / "train/benign/0.jpg", layout / "train/malignant/wrong.jpg")
    table = tables.read_table(layout, BINARY, say=note)
    assert (
        "WARNING: 1 image(s) lie in folders of two classes (train/benign/0, train/malignant/wrong "
        "are one image), so that one label of each is wrong" in capsys.readouterr().err
    )
    # Both are kept, and in one split.
    assert len(table) == 33
    partition.check(table)


def test_equal_names_in_folders_of_patients_are_all_used(tmp_path: Path) -> None:
    # Uncompressed images of one size have one length.
    for number, (part, dx) in enumerate((p, d) for p in ("train", "test") for d in TWO):
        for patient in range(2):
            fill(tmp_path / part / dx / f"patient{patient}", 10, 2 * number + patient, ".bmp")
    table = tables.read_table(tmp_path, BINARY)
    assert len(table) == table["image_id"].nunique() == 80
    assert "train/benign/patient1/0" in set(table["image_id"])


def test_images_that_differ_by_their_endings_alone_are_told_apart(layout: Path) -> None:
    fill(layout / "train" / "benign", 12, 20, ".png")
    table = tables.read_table(layout, BINARY)
    assert len(table) == table["image_id"].nunique() == 44
    assert {"train/benign/0", "train/benign/0.png"} <= set(table["image_id"])


def test_hidden_copies_are_no_test_images(layout: Path, capsys: Capture) -> None:
    for dx in TWO:
        hidden = layout / "test" / dx / ".ipynb_checkpoints"
        hidden.mkdir()
        shutil.copy(layout / "test" / dx / "0.jpg", hidden / "0-checkpoint.jpg")
        (layout / "test" / dx / "._0.jpg").write_bytes(b"\0\5\x16\7 Mac OS X")
    assert splits(tables.read_table(layout, BINARY, say=note)) == FOUND
    assert "4 file(s) or folder(s) of other programs" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names there are Unicode")
def test_names_of_files_need_not_be_text(layout: Path) -> None:
    for name in (b"R\xfccken.jpg", b"two\rlines.jpg"):
        (layout / "test" / "benign" / os.fsdecode(name)).write_bytes(name)
    table = tables.read_table(layout, BINARY)
    assert {"test/benign/R\u00fccken", "test/benign/two lines"} < set(table["image_id"])
    assert all(Path(path).is_file() for path in table["path"])
    predictions.check_writable(table)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_and_broken_links_are_no_images(layout: Path) -> None:
    os.mkfifo(layout / "train" / "benign" / "pipe.jpg")
    assert refusal(layout).startswith(
        "1 of 25 images are links that lead nowhere, or no files (FOLDER/train/benign/pipe.jpg): "
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    for name in ("labels.csv", "pipe"):
        os.mkfifo(tmp_path / name)
    assert refusal(tmp_path).startswith("FOLDER holds 0 CSV tables, expected one")


def test_images_without_labels_in_the_test_folder(layout: Path) -> None:
    shutil.rmtree(layout / "test" / "benign")
    shutil.rmtree(layout / "test" / "malignant")
    fill(layout / "test", 3, 40)
    assert refusal(layout) == (
        "FOLDER/test holds no folders of classes: expected train and test, or give a folder of "
        "classes alone, which is divided here."
    )


@pytest.mark.parametrize(
    ("place", "refused"),
    [
        ("train/benign/malignant", True),
        ("train/benign/deep/Melanoma", True),
        ("test/malignant/nv", True),
        ("train/benign/nv", False),
        ("train/malignant/mel", False),
        # Some data call actinic keratoses benign.
        ("train/benign/akiec", False),
        ("train/benign/benign", False),
        ("train/benign/patient 7", False),
    ],
)
def test_folders_that_name_two_classes(layout: Path, place: str, refused: bool) -> None:
    fill(layout / place, 1, 50)
    if refused:
        assert refusal(layout) == (
            f"FOLDER: the folders of 1 image(s) name two classes ({place}/0.jpg): move each image "
            "into the folder of its class, or rename the inner folder."
        )
    else:
        assert len(tables.read_table(layout, BINARY)) == 33


def test_seven_classes_one_in_another(tmp_path: Path) -> None:
    for number, code in enumerate(LESION_NAMES):
        fill(tmp_path / code, 9, number)
    fill(tmp_path / "mel" / "nv", 2, 50)
    assert refusal(tmp_path, LESION).startswith(
        "FOLDER: the folders of 2 image(s) name two classes (mel/nv/0.jpg, mel/nv/1.jpg): move"
    )


def test_splits_inside_classes_are_said_to_divide_nothing(tmp_path: Path, capsys: Capture) -> None:
    for number, dx in enumerate(TWO):
        fill(tmp_path / dx / "train", 12, number)
        fill(tmp_path / dx / "test", 4, 10 + number)
    tables.read_table(tmp_path, BINARY, say=note)
    assert (
        "32 image(s) lie in folders called like splits inside those of classes "
        "(benign/test/0.jpg, benign/test/1.jpg, benign/test/2.jpg and 29 more), which divide "
        "nothing: expected train/CLASS and test/CLASS." in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("places", "shown"),
    [
        (("train/0", "train/1", "test/0"), "test/0, train/0, train/1"),
        (("1. mel", "2. nv", ".cache"), "1. mel, 2. nv"),
    ],
)
def test_folders_that_are_called_like_no_class_are_named(
    tmp_path: Path, places: tuple[str, ...], shown: str
) -> None:
    for number, place in enumerate(places):
        fill(tmp_path / place, 2, number)
    assert refusal(tmp_path) == (
        "FOLDER holds 0 CSV tables, expected one with the columns image_id, dx and lesion_id, or "
        f"folders train|test/benign|malignant. Images lie in {shown}: call at least two such "
        "folders by their classes, such as benign and malignant, or nv and mel."
    )


def test_tables_of_splits_are_to_be_joined(tmp_path: Path) -> None:
    fill(tmp_path / "images", 2)
    for number, name in enumerate(("test", "train")):
        (tmp_path / f"{name}.csv").write_text(f"image_id,dx\n{number},nv\n")
    assert refusal(tmp_path) == (
        "FOLDER holds 2 CSV tables, expected one with the columns image_id, dx and lesion_id: take "
        "the others away, or join them and say train, validation or test in a column split. There "
        "are test.csv, train.csv."
    )


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image_id,dx\na,nv\n")
    with pytest.raises(DataError, match=r"labels\.csv is a file: give the folder that holds the i"):
        tables.read_table(tmp_path / "labels.csv", BINARY)


def test_images_beside_the_classes_are_named(layout: Path, capsys: Capture) -> None:
    fill(layout / "train", 1, 30)
    fill(layout / "unlabelled", 1, 31)
    assert splits(tables.read_table(layout, BINARY, say=note)) == FOUND
    err = capsys.readouterr().err
    assert "1 image(s) lie in no folder of a class, not used (train/0.jpg)." in err
    assert "images in other folders are not used (unlabelled)." in err


@pytest.mark.parametrize("names", [pytest.param("codes", marks=pytest.mark.slow), "plain"])
def test_folders_of_the_seven_classes_without_a_split(tmp_path: Path, names: str) -> None:
    for number, (code, name) in enumerate(LESION_NAMES.items()):
        fill(tmp_path / (code if names == "codes" else name.split(" / ")[0].title()), 9, number)
    table = tables.read_table(tmp_path, LESION)
    assert Counter(table["dx"]) == dict.fromkeys(LESION_NAMES, 9)
    # Nine images a class: 72, 12 and 16 %.
    assert Counter(table["split"]) == {"train": 49, "validation": 7, "test": 7}
    # Nobody can tell if photographs of one lesion stand in two splits.
    assert partition.overlap(table) is None
    assert splits(tables.read_table(tmp_path, LESION)) == splits(table)
    # The same folder serves both tasks.
    assert Counter(tables.read_table(tmp_path, BINARY)["split"]) == Counter(table["split"])


def test_the_split_follows_from_content_not_from_names(layout: Path) -> None:
    shutil.rmtree(layout / "test")
    train = layout / "train"
    before = tables.read_table(train, BINARY)
    for path in [*train.rglob("*.jpg")]:
        path.rename(path.with_name(f"x{path.name}"))
    after = tables.read_table(train, BINARY)
    assert before.set_index("lesion_id")["split"].to_dict() == (
        after.set_index("lesion_id")["split"].to_dict()
    )


@pytest.mark.slow
def test_folders_of_seven_classes_with_splits(tmp_path: Path) -> None:
    for number, code in enumerate(LESION_NAMES):
        fill(tmp_path / "Train" / code, 10, number)
        fill(tmp_path / "Test" / code, 2, 10 + number)
    table = tables.read_table(tmp_path, LESION)
    assert Counter(table["split"]) == {"train": 63, "validation": 7, "test": 14}


def test_folders_of_other_classes_are_refused_with_their_count(tmp_path: Path) -> None:
    # As in a set of Kaggle with nine classes.
    for number, name in enumerate(("nevus", "melanoma", "squamous cell carcinoma")):
        fill(tmp_path / "Train" / name, 10, number)
        fill(tmp_path / "Test" / name, 3, 10 + number)
    assert refusal(tmp_path, LESION).startswith(
        "FOLDER has 1 class(es) that the task 'lesion' does not know (scc); expected akiec, bcc, "
        "bkl, df, mel, nv, vasc. They are 13 of 39 images (13 x scc): take these out."
    )


@pytest.mark.slow
def test_a_table_goes_before_folders_of_classes_alone(
    tiny_data: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = pd.read_csv(tiny_data / "tiny_metadata.csv")
    for image_id, dx in zip(table["image_id"], table["dx"], strict=True):
        (tmp_path / dx).mkdir(exist_ok=True)
        shutil.copy(tiny_data / "images" / f"{image_id}.jpg", tmp_path / dx)
    shutil.copy(tiny_data / "tiny_metadata.csv", tmp_path)
    assert tables.read_table(tmp_path, LESION, say=note)["lesion_id"].nunique() == 42
    # Folders of splits tell more than it does.
    for number, dx in enumerate(LESION_NAMES):
        fill(tmp_path / "train" / dx, 10, number)
        fill(tmp_path / "test" / dx, 10, 10 + number)
    capsys.readouterr()
    assert len(tables.read_table(tmp_path, LESION, say=note)) == 140
    assert "the folders tell the classes; tiny_metadata.csv is not read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_may_lie_deeper(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "archive" / "HAM10000")
    assert len(tables.read_table(tmp_path, LESION)) == 49


@pytest.mark.parametrize(
    "name",
    [
        "HAM10000_metadata",
        pytest.param("HAM10000_metadata.tab", marks=pytest.mark.slow),
        pytest.param("m.csv.gz", marks=pytest.mark.slow),
    ],
)
def test_names_of_the_table(tiny_data: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(tiny_data, folder)
    table = pd.read_csv(folder / "tiny_metadata.csv")
    (folder / "tiny_metadata.csv").unlink()
    table.to_csv(folder / name, index=False, sep="\t" if name.endswith("tab") else ",")
    (folder / "README").write_text("image_id: the image\n")
    assert len(tables.read_table(folder, LESION)) == 49


def test_a_workbook_in_place_of_the_table_is_named(tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(tiny_data, folder)
    (folder / "tiny_metadata.csv").rename(folder / "labels.xlsx")
    assert refusal(folder, LESION).endswith(
        "or folders train|test/benign|malignant. labels.xlsx is a workbook: save it as CSV UTF-8."
    )


def test_a_hidden_copy_of_the_table_is_none(tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(tiny_data, folder)
    (folder / "._tiny_metadata.csv").write_bytes(b"\0\5\x16\7 Mac OS X")
    shutil.copy(folder / "tiny_metadata.csv", folder / "labels.csv")
    assert len(tables.read_table(folder, LESION)) == 49


def test_the_tree_of_what_was_found(layout: Path, tiny_data: Path) -> None:
    assert tables.tree(tables.read_table(layout, BINARY)).splitlines() == [
        "|-- train                     22 images",
        "|   |-- benign                11",
        "|   |-- malignant             11",
        "|-- validation                 2 images",
        "|   |-- benign                 1",
        "|   |-- malignant              1",
        "|-- test                       8 images",
        "|   |-- benign                 4",
        "|   |-- malignant              4",
    ]
    lines = tables.tree(tables.read_table(tiny_data, LESION)).splitlines()
    assert [" lesions" in line for line in lines if line.startswith("|-- ")] == [True] * 3
    assert sum(int(line.split()[2]) for line in lines if "images" in line) == 49
