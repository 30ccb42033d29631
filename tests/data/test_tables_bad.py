"""Data that can't be used: each is refused in one sentence that says what came and what was
expected.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermhub.data import tables
from dermhub.errors import DataError, LeakError
from dermhub.images.drawn_lesions import draw
from dermhub.tasks import BINARY, LESION, Task

TABLE = "tiny_metadata.csv"


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data to spoil."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture
def table(folder: Path) -> pd.DataFrame:
    """The table of the copy, every cell as text."""
    return pd.read_csv(folder / TABLE, dtype=str)


def refusal(folder: Path, task: Task = LESION) -> str:
    """The sentence with which a folder is refused, without the folder's own name."""
    with pytest.raises(DataError) as caught:
        tables.read_table(folder, task)
    text = str(caught.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text.replace(str(folder), "FOLDER")


def refused_table(folder: Path, table: pd.DataFrame, task: Task = LESION) -> str:
    """The same, with another table in the folder."""
    table.to_csv(folder / TABLE, index=False)
    return refusal(folder, task)


def test_no_folder(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "none")
        == "There is no folder FOLDER: give the folder that holds the images."
    )


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    assert refusal(folder / TABLE) == "FOLDER is a file: give the folder that holds the images."


def test_a_folder_without_images(folder: Path) -> None:
    shutil.rmtree(folder / "images")
    assert refusal(folder).startswith("FOLDER holds no images (.jpg, .jpeg, .png, ")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("): give the folder that holds them.")


def test_images_without_a_table(folder: Path) -> None:
    (folder / TABLE).unlink()
    assert refusal(folder) == (
        "FOLDER holds 0 CSV tables, expected one with the columns image_id, dx and lesion_id, or "
        "folders train|test/benign|malignant."
    )


@pytest.mark.parametrize("second", ["labels.csv", "other_metadata.csv"])
def test_several_tables(folder: Path, second: str) -> None:
    # Of several, one whose name ends in metadata.csv would be taken.
    (folder / TABLE).rename(folder / ("first.csv" if second == "labels.csv" else "a_metadata.csv"))
    (folder / second).write_text("image_id,dx\n")
    assert refusal(folder).startswith("FOLDER holds 2 CSV tables, expected one")


@pytest.mark.parametrize("column", ["image_id", "dx"])
def test_a_missing_column(folder: Path, table: pd.DataFrame, column: str) -> None:
    text = refused_table(folder, table.drop(columns=column))
    assert text.startswith(f"FOLDER/{TABLE} lacks the column(s) {column}; it has lesion_id, ")
    other = {"image_id": "image=COLUMN,dx=dx", "dx": "image=image_id,dx=dx_type"}[column]
    assert text.endswith(
        f"Expected image_id and dx, or their names in this table: --columns {other}."
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe",
        b"image_id,dx\n\xff\xfe\xfa,nv\n",
        b'image_id,dx\n"a,nv\n',
    ],
    ids=["empty", "blank lines", "picture", "not UTF-8", "open quote"],
)
def test_a_file_that_is_no_table(folder: Path, content: bytes) -> None:
    (folder / TABLE).write_bytes(content)
    assert refusal(folder).startswith(f"FOLDER/{TABLE} can't be read as a CSV table (")


def test_text_that_is_no_table(folder: Path) -> None:
    (folder / TABLE).write_text("These are my photographs.\nPlease look at them.\n")
    assert "it has These are my photographs.. Expected" in refusal(folder)


def test_a_row_with_too_many_cells(folder: Path, table: pd.DataFrame) -> None:
    table.to_csv(folder / TABLE, index=False)
    lines = (folder / TABLE).read_text().splitlines()
    (folder / TABLE).write_text("\n".join([*lines[:5], lines[5] + ",,,", *lines[6:]]))
    assert "Expected 7 fields in line 6, saw 10" in refusal(folder)


def test_a_folder_in_place_of_the_table(folder: Path) -> None:
    (folder / TABLE).unlink()
    (folder / TABLE).mkdir()
    assert "can't be read as a CSV table" in refusal(folder)


def test_a_heading_without_rows(folder: Path, table: pd.DataFrame) -> None:
    assert refused_table(folder, table.head(0)) == f"FOLDER/{TABLE} has a heading but no rows."


@pytest.mark.parametrize("cell", [None, "", "  ", "NA"])
@pytest.mark.parametrize("column", ["image_id", "dx", "split"])
def test_empty_cells_are_named_by_line(
    folder: Path, table: pd.DataFrame, column: str, cell: str | None
) -> None:
    table["split"] = "train"
    table.loc[[0, 9], column] = cell
    # The heading is line 1.
    assert refused_table(folder, table) == f"FOLDER/{TABLE} has an empty {column} in line(s) 2, 11."


def test_an_unknown_class_with_the_nearest_known_one(folder: Path, table: pd.DataFrame) -> None:
    table.loc[3, "dx"] = "mell"
    text = refused_table(folder, table)
    assert text.startswith(
        "FOLDER has 1 class(es) that the task 'lesion' does not know (mell); expected akiec, bcc,"
    )
    assert text.endswith("Did you mean 'mel'?")


def test_classes_of_the_other_task(folder: Path, table: pd.DataFrame) -> None:
    # Seven classes can be summed up in two, but not the other way round.
    table["dx"] = ["malignant" if dx == "mel" else "benign" for dx in table["dx"]]
    text = refused_table(folder, table, LESION)
    assert "2 class(es) that the task 'lesion' does not know (benign, malignant)" in text


def test_ids_that_stand_twice(folder: Path, table: pd.DataFrame) -> None:
    twice = pd.concat([table, table.iloc[[4, 8]]])
    assert refused_table(folder, twice) == (
        f"FOLDER/{TABLE} lists 2 image id(s) more than once ({table['image_id'][4]}, "
        f"{table['image_id'][8]}): keep one row for each."
    )


def test_ids_that_differ_by_their_extension_alone(folder: Path, table: pd.DataFrame) -> None:
    more = table.iloc[[4]].assign(image_id=table["image_id"][4] + ".jpg")
    assert f"1 image id(s) more than once ({table['image_id'][4]})" in refused_table(
        folder, pd.concat([table, more])
    )


def test_ids_without_a_file(folder: Path, table: pd.DataFrame) -> None:
    for name in table["image_id"][:7]:
        (folder / "images" / f"{name}.jpg").unlink()
    assert refusal(folder) == (
        "7 of 49 image ids have no file below FOLDER: TEST_0000, TEST_0001, TEST_0010, TEST_0020, "
        "TEST_0030 and 2 more."
    )


@pytest.mark.parametrize("name", ["more/TEST_0000.jpg", "images/TEST_0000.png"])
def test_two_different_images_of_one_name(folder: Path, name: str) -> None:
    # Taking either one would train on the wrong picture for half of such ids.
    (folder / name).parent.mkdir(exist_ok=True)
    draw(99, (50, 50)).save(folder / name)
    text = refusal(folder)
    assert f"FOLDER/{name}" in text
    assert "FOLDER/images/TEST_0000.jpg" in text
    assert "differ but have one name, and so one image id: rename or remove one, or give" in text


@pytest.mark.parametrize(
    ("kept", "held"),
    [(["nv"], "nv"), (["mel"], "mel"), (["nv", "bkl"], "bkl, nv"), (["mel", "bcc"], "bcc, mel")],
)
def test_only_benign_or_only_malignant_images(
    folder: Path, table: pd.DataFrame, kept: list[str], held: str
) -> None:
    # No threshold can be chosen and no AUROC be measured on these.
    assert refused_table(folder, table[table["dx"].isin(kept)]) == (
        f"The train split of FOLDER holds only {held}: expected malignant and benign images there. "
        "Add images, or say with a column of splits which ones belong there."
    )


def test_one_class_of_two(folder: Path, table: pd.DataFrame) -> None:
    text = refused_table(folder, table[table["dx"].isin(["nv", "bkl"])], BINARY)
    assert "The train split of FOLDER holds only benign: expected malignant and benign" in text


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_that_is_empty(folder: Path, table: pd.DataFrame, split: str) -> None:
    others = [name for name in ("train", "validation", "test") if name != split]
    table["split"] = [others[int(name[-1]) % 2] for name in table["lesion_id"]]
    assert refused_table(folder, table) == (
        f"The {split} split of FOLDER is empty: expected malignant and benign images there. "
        "Add images, or say with a column of splits which ones belong there."
    )


def test_too_few_lesions_to_fill_three_splits(folder: Path, table: pd.DataFrame) -> None:
    assert "split of FOLDER is empty" in refused_table(
        folder, table[table["lesion_id"].str[-1].isin(["1", "2"])]
    )


def test_splits_of_another_name(folder: Path, table: pd.DataFrame) -> None:
    table["split"] = [("fold 1", "held", "test")[int(name[-1]) % 3] for name in table["lesion_id"]]
    assert refused_table(folder, table) == (
        "The table of FOLDER has split(s) fold 1, held, expected train, validation, test."
    )


def test_a_split_that_tears_a_lesion(folder: Path, table: pd.DataFrame) -> None:
    table["split"] = [("train", "validation", "test")[row % 3] for row in range(len(table))]
    text = refused_table(folder, table)
    assert text.startswith("7 lesion(s) stand in more than one split (LESION_000, LESION_006, ")
    assert text.endswith(
        "put all images of a lesion into one split, or leave the split column out."
    )
    with pytest.raises(LeakError):
        tables.read_table(folder, LESION)


def test_a_split_that_tears_the_near_identical_pair(folder: Path, table: pd.DataFrame) -> None:
    table["split"] = [
        ("train", "validation", "test")[int(name[-1]) % 3] for name in table["lesion_id"]
    ]
    for row, split, name in ((2, "train", "HAM_0004919"), (3, "test", "HAM_0000140")):
        table.loc[row, ["lesion_id", "split"]] = [name, split]
    assert "1 lesion(s) stand in more than one split (HAM_0000140 = HAM_0004919)" in refused_table(
        folder, table
    )


def test_a_split_that_tears_a_lesion_by_blanks(folder: Path, table: pd.DataFrame) -> None:
    table["split"] = [
        ("train", "validation", "test")[int(name[-1]) % 3] for name in table["lesion_id"]
    ]
    table.loc[1, ["lesion_id", "split"]] = [" LESION_000 ", "test"]
    assert "(LESION_000)" in refused_table(folder, table)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Folders train|test/benign|malignant of three images each, to spoil."""
    for number, name in enumerate(
        ("train/benign", "train/malignant", "test/benign", "test/malignant")
    ):
        (tmp_path / name).mkdir(parents=True)
        for image in range(3):
            draw(3 * number + image, (40, 36)).save(tmp_path / name / f"{image}.jpg")
    return tmp_path


@pytest.mark.parametrize("name", ["train", "test", "train/benign", "test/malignant"])
def test_a_missing_folder_of_the_layout(layout: Path, name: str) -> None:
    shutil.rmtree(layout / name)
    assert refusal(layout, BINARY).startswith(f"There is no folder FOLDER/{name}")


def test_an_empty_folder_of_the_layout(layout: Path) -> None:
    for path in (layout / "test" / "malignant").iterdir():
        path.unlink()
    assert refusal(layout, BINARY).startswith("FOLDER/test/malignant holds no images")


def test_a_layout_that_is_too_small_for_a_validation_split(layout: Path) -> None:
    assert refusal(layout, BINARY).startswith("The validation split of FOLDER is empty")


def test_a_layout_has_no_seven_classes(layout: Path) -> None:
    assert (
        "does not know (benign, malignant); expected akiec, bcc, bkl, df, mel, nv, vasc."
        in refusal(layout, LESION)
    )


def test_one_image_under_two_ids_in_two_splits(folder: Path) -> None:
    whole = tables.read_table(folder, LESION)
    train, test = (whole[whole["split"] == split]["path"].iloc[0] for split in ("train", "test"))
    shutil.copyfile(train, test)
    names = sorted((Path(train).stem, Path(test).stem))
    with pytest.raises(LeakError) as caught:
        tables.read_table(folder, LESION)
    assert str(caught.value) == (
        f"2 image file(s) stand in more than one split under several ids ({', '.join(names)} are "
        "one image): give all photographs of one lesion the same lesion_id."
    )


def test_one_image_under_two_ids_in_one_split_is_no_leak(folder: Path) -> None:
    whole = tables.read_table(folder, LESION)
    first, second = whole[whole["split"] == "train"]["path"].iloc[:2]
    shutil.copyfile(first, second)
    assert len(tables.read_table(folder, LESION)) == len(whole)


def test_rows_with_more_cells_than_the_heading(folder: Path, table: pd.DataFrame) -> None:
    rows = table.to_csv(index=False).splitlines()
    (folder / TABLE).write_text("\n".join([rows[0], *(f"{row}," for row in rows[1:])]) + "\n")
    assert refusal(folder) == (
        f"FOLDER/{TABLE} has rows with more cells than its heading: remove the commas at their "
        "ends."
    )
