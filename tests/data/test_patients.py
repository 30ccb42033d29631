"""Patients are never divided; images without a lesion id; labels that a task has no class for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dermhub.data import additions, partition, tables
from dermhub.errors import DataError, LeakError, note
from dermhub.images.drawn_lesions import draw
from dermhub.release.external import read_table as read_external
from dermhub.scoring.evaluate import read_labelled
from dermhub.tasks import BINARY, LESION

TABLE = "tiny_metadata.csv"

Capture = pytest.CaptureFixture[str]

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data that a test may change."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def change(folder: Path, change: Change) -> pd.DataFrame:
    """Write the folder's table anew, changed."""
    table = change(pd.read_csv(folder / TABLE, dtype=str))
    table.to_csv(folder / TABLE, index=False)
    return table


def patient_of(lesion: str) -> str:
    """Two lesions next to each other, such as 2 and 3, are of one patient."""
    return f"MRN{int(lesion[-3:]) // 2}"


def two_classes(dx: pd.Series) -> pd.Series:
    return dx.map(BINARY.class_of)


def test_a_patient_is_kept_on_one_side() -> None:
    rows = [
        {
            "lesion_id": f"P{p}L{n}",
            "patient_id": f"P{p}",
            "dx": "mel" if p < 20 and n == 0 else "nv",
        }
        for p in range(60)
        for n in range(3)
    ]
    table = pd.DataFrame(rows)
    table["split"] = partition.assign(table)
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    # The 20 patients with a melanoma are divided as such, though they have more nevi: 14.4, 2.4 and
    # 3.2 of them would be the shares.
    for dx, count in (("mel", 20), ("nv", 160)):
        counts = table["split"][table["dx"] == dx].value_counts()
        for split, share in partition.SHARES.items():
            assert abs(counts[split] - share * count) < (1 if dx == "mel" else 4)
    partition.check(table)


def test_without_patients_lesions_are_divided_as_ever() -> None:
    rows = [{"lesion_id": f"L{n}", "dx": ("mel", "nv")[n % 2]} for n in range(40)]
    table = pd.DataFrame(rows)
    unknown = table.assign(patient_id="")
    assert partition.divide(unknown) == partition.divide(table)


def test_a_split_that_tears_a_patient_is_refused(folder: Path) -> None:
    def torn(table: pd.DataFrame) -> pd.DataFrame:
        number = table["lesion_id"].str[-3:].astype(int)
        splits = number.map(lambda n: partition.SPLITS[n % 3])
        return table.assign(patient_id=table["lesion_id"].map(patient_of), split=splits)

    change(folder, torn)
    with pytest.raises(LeakError) as caught:
        tables.read_table(folder, LESION)
    assert str(caught.value) == (
        "21 patient(s) stand in more than one split (MRN0, MRN1, MRN10, MRN11, MRN12 and 16 more): "
        "put all images of a patient into one split, or leave the split column out."
    )


@pytest.mark.parametrize(
    "lesions", [pytest.param(True, marks=pytest.mark.slow), False], ids=["lesions", "none"]
)
def test_tables_with_patients(folder: Path, lesions: bool) -> None:
    def with_patients(table: pd.DataFrame) -> pd.DataFrame:
        table["patient_id"] = table["lesion_id"].map(patient_of)
        table["dx"] = two_classes(table["dx"])
        return table if lesions else table.drop(columns="lesion_id")

    change(folder, with_patients)
    table = tables.read_table(folder, BINARY)
    assert table["patient_id"].nunique() == 21
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    # No lesion is on both sides, since no patient is, and cards may say so.
    assert partition.overlap(table) == 0
    assert table["lesion_id"].nunique() == (42 if lesions else 49)
    assert not table["lesion_id"].str.contains("MRN").any()


def test_more_images_of_held_out_patients_are_left_out(folder: Path, tmp_path: Path) -> None:
    def with_patients(table: pd.DataFrame) -> pd.DataFrame:
        patients = table["lesion_id"].map(patient_of)
        return table.assign(patient_id=patients, dx=two_classes(table["dx"]))

    change(folder, with_patients)
    table = tables.read_table(folder, BINARY)
    held_out = table["patient_id"][table["split"] == "test"].iloc[0]
    more = tmp_path / "more"
    more.mkdir()
    for number, name in enumerate("AB"):
        draw(5000 + number, (120, 90), 0.5).save(more / f"{name}.png")
    (more / "l.csv").write_text(f"image_id,dx,patient_id\nA,nv,{held_out}\nB,nv,ANOTHER\n")
    joined, left_out = additions.add_images(table, more, BINARY)
    assert (left_out, list(additions.added_rows(joined)["image_id"])) == (1, ["B"])


def test_images_without_a_lesion_id_are_lesions_of_their_own(folder: Path, capsys: Capture) -> None:
    def some_empty(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[[0, 1, 9], "lesion_id"] = ""
        return table

    change(folder, some_empty)
    table = tables.read_table(folder, LESION, say=note)
    # Two photographs of the first lesion, and one of another.
    assert table["lesion_id"].nunique() == 43
    assert (
        "3 of 49 images have no lesion id: each counts as a lesion of its own."
        in capsys.readouterr().err
    )
    labelled = read_labelled(folder, folder / TABLE, LESION)
    assert labelled.table["lesion_id"].nunique() == 43
    assert "3 of 49 images have no lesion id" in labelled.notes[-1]


def test_a_table_says_which_others_are_malignant(folder: Path) -> None:
    def others(table: pd.DataFrame) -> pd.DataFrame:
        malignant = table["dx"].isin(["mel", "bcc", "akiec"])
        table = table.assign(malignant=malignant.map({True: "1", False: "0"}))
        table["dx"] = table["dx"].replace({"mel": "scc", "nv": "other"})
        return table

    change(folder, others)
    binary = tables.read_table(folder, BINARY)
    assert binary["dx"].value_counts()[["malignant", "benign"]].to_dict() == {
        "malignant": 7,
        "benign": 7,
    }
    with pytest.raises(DataError) as caught:
        tables.read_table(folder, LESION)
    assert str(caught.value) == (
        f"{folder} has 2 class(es) that the task 'lesion' does not know (other, scc); expected "
        "akiec, bcc, bkl, df, mel, nv, vasc. They are 14 of 49 images (7 x scc, 7 x other): take "
        "these out, or train --task binary, as it is known which are malignant."
    )
    assert read_labelled(folder, folder / TABLE, LESION).left_out == {"other": 7, "scc": 7}
    assert read_labelled(folder, folder / TABLE, BINARY).left_out == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "advice"),
    [
        ("scc", "(7 x scc): take these out, or say in a column malignant (0 or 1) what they are."),
        (
            "1",
            "(7 x 1): take these out, or say that the column is about malignancy with --columns ",
        ),
    ],
)
def test_advice_for_the_binary_task(folder: Path, label: str, advice: str) -> None:
    change(folder, lambda table: table.assign(dx=table["dx"].replace("mel", label)))
    with pytest.raises(DataError) as caught:
        tables.read_table(folder, BINARY)
    assert advice in str(caught.value)


@pytest.mark.slow
def test_columns_for_a_folder(folder: Path) -> None:
    names = {"image_id": "file", "dx": "finding", "lesion_id": "spot"}
    change(folder, lambda table: table.rename(columns=names))
    table = tables.read_table(folder, LESION, "image=file,dx=finding,lesion=spot")
    assert partition.fingerprint(table) == partition.fingerprint(
        tables.read_table(folder, LESION, "lesion=spot,dx=finding,image=file")
    )
    assert table["lesion_id"].nunique() == 42


def test_columns_choose_the_table(folder: Path, capsys: Capture) -> None:
    table = pd.read_csv(folder / TABLE, dtype=str).rename(columns={"dx": "finding"})
    table.to_csv(folder / "mine.csv", index=False)
    assert len(tables.read_table(folder, LESION, "image=image_id,dx=finding", say=note)) == 49
    assert "read mine.csv: image from `image_id`, diagnosis from `finding`, lesion from" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_columns_are_for_tables_alone(folder: Path) -> None:
    for number, dx in enumerate(("benign", "malignant")):
        for part in ("train", "test"):
            (folder / part / dx).mkdir(parents=True)
            (folder / part / dx / "a.jpg").write_text(f"{part} {number}")
    change(folder, lambda table: table.rename(columns={"dx": "finding"}))
    columns = "image=image_id,dx=finding"
    assert len(tables.read_table(folder, LESION, columns)) == 49
    sentence = r"no table with the columns that --columns names is there \(.*dx=diagnosis\)"
    with pytest.raises(DataError, match=sentence):
        tables.read_table(folder, LESION, "image=image_id,dx=diagnosis")


@pytest.mark.slow
def test_columns_of_the_further_images_alone(tiny_data: Path, tmp_path: Path) -> None:
    columns = "image=file,dx=finding"
    table = tables.read_table(tiny_data, LESION, columns, columns_may_lack=True)
    assert len(table) == 49
    draw(5000, (120, 90), 0.5).save(tmp_path / "A.png")
    (tmp_path / "l.csv").write_text("file,finding\nA.png,Melanoma\n")
    joined, _ = additions.add_images(table, tmp_path, LESION, columns)
    assert list(additions.added_rows(joined)["dx"]) == ["mel"]


def test_a_link_that_leads_nowhere_is_no_image(folder: Path) -> None:
    path = folder / "images" / "TEST_0000.jpg"
    path.unlink()
    path.symlink_to(folder / "gone.jpg")
    with pytest.raises(DataError, match=r"^1 of 49 images are links that lead nowhere, or no file"):
        tables.read_table(folder, LESION)


def test_the_external_test_reads_the_same_tables(tmp_path: Path) -> None:
    for name in "ab":
        draw(ord(name), (48, 40)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("Image ID;DX\na;Melanoma\nb;common nevus\n")
    assert list(read_external(tmp_path)["dx"]) == ["mel", "nv"]
