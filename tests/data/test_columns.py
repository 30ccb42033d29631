"""The option --columns: roles, quotation marks, and what a table has and nobody named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dermhub.cli import main
from dermhub.data import tables
from dermhub.data.sources import formats, labels
from dermhub.errors import ConfigError, DataError, note
from dermhub.tasks import BINARY
from dermhub.training.config import TrainConfig

Capture = pytest.CaptureFixture[str]


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_role_has_one_column(tmp_path: Path) -> None:
    path = write(tmp_path, "file,kind,remark\na,nv,sure\nb,mel,perhaps\n")
    with pytest.raises(ConfigError) as caught:
        labels.read(path, "image=file,dx=kind,dx=remark")
    assert str(caught.value) == (
        "--columns names two columns for dx (kind, remark), expected one: leave one of them out."
    )


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        ('image=File name,dx="Diagnosis, final"', ("File name", "Diagnosis, final")),
        ('"image=File name" , "dx=Diagnosis, final"', ("File name", "Diagnosis, final")),
        ('image=a=b,dx="5"" wide"', ("a=b", '5" wide')),
        ("image=\u00dcber,dx=x", ("\u00dcber", "x")),
    ],
)
def test_headings_may_hold_blanks_and_commas(option: str, columns: tuple[str, str]) -> None:
    assert formats.parse(option) == dict(zip(("image", "dx"), columns, strict=True))
    written = ",".join(formats.pair(role, name) for role, name in formats.parse(option).items())
    assert formats.parse(written) == formats.parse(option)


def test_the_help_names_every_role(capsys: Capture) -> None:
    # Of train.py the help is the field's.
    (field,) = (
        each for each in TrainConfig.__dataclass_fields__.values() if each.name == "columns"
    )
    with pytest.raises(SystemExit):
        main.main(["evaluate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for role in ("image", "dx", "malignant", "lesion", "patient", "split", "age", "sex"):
        assert role in formats.OPTION
    assert "localization, dx_type" in shown
    assert "image=File name" in shown
    assert field.metadata["help"] == formats.OPTION
    for kind in ("HAM10000", "ISIC 2020", "PAD-UFES-20", "BCN20000"):
        assert kind in shown


def test_columns_that_sound_like_lesions_and_patients_are_named(
    tmp_path: Path, capsys: Capture
) -> None:
    labels.read(write(tmp_path, "image_id,dx,Patient No.,lesion\na,nv,1,2\n"), say=note)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "dermhub: labels.csv also has `lesion`, which is not read: if it names the lesion, give "
        "--columns lesion=lesion, so that no lesion stands in two splits.",
        "dermhub: labels.csv also has `Patient No.`, which is not read: if it names the patient, "
        "give --columns 'patient=Patient No.', so that no patient stands in two splits.",
    ]
    option = "lesion=lesion,patient=patientno"
    table = labels.read(tmp_path / "labels.csv", option, say=note)
    assert (list(table["lesion_id"]), list(table["patient_id"])) == (["2"], ["1"])
    assert "which is not read" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "archive/images"])
def test_folders_of_classes_need_no_columns(tmp_path: Path, place: str) -> None:
    for part in ("train", "test"):
        for dx in ("benign", "malignant"):
            (tmp_path / place / part / dx).mkdir(parents=True)
            (tmp_path / place / part / dx / "0.jpg").write_bytes(f"{part} {dx}".encode())
    with pytest.raises(DataError) as caught:
        tables.read_table(tmp_path, BINARY, "image=file,dx=kind")
    assert str(caught.value) == (
        f"{tmp_path / place} has folders of classes, which need no --columns, and no table with "
        "the columns that --columns names is there (image=file,dx=kind): leave --columns out, or "
        "put the table there."
    )


def beside(folder: Path, text: str, more: str, columns: str = "") -> Any:
    """Read labels that another table completes."""
    path = write(folder, text)
    other = write(folder, more, "meta.csv")
    return labels.read(path, columns, [other], say=note).to_dict("list")


def test_empty_cells_are_completed_by_the_table_beside(tmp_path: Path, capsys: Capture) -> None:
    text = "image_id,dx,lesion_id\n./a.jpg,nv,\nB.JPG,mel,L9\nc,nv,\nd,nv,\n"
    more = "image,Lesion-ID,patient_id,age\nA.jpg,L1,P1,50\nsub/b.png,L8,P2,\nd,L4,P4,1\n"
    table = beside(tmp_path, text, more)
    assert table["lesion_id"] == ["L1", "L9", "", "L4"]
    assert table["patient_id"] == ["P1", "P2", "", "P4"]
    err = capsys.readouterr().err
    assert "meta.csv has another lesion_id for line(s) 3 of labels.csv, which keeps its own." in err
    assert (
        "meta.csv completes labels.csv: 2 empty cell(s) of lesion_id, patient_id, age; it lacks 1 "
        "image(s)." in err
    )


def test_columns_of_the_option_are_completed_too(tmp_path: Path) -> None:
    option = "image=file,dx=kind,lesion=case"
    table = beside(tmp_path, "file,kind,case\na,nv,\n", "file,case\na.jpg,7\n", option)
    assert table["lesion_id"] == ["7"]


def test_another_case_is_no_match_where_two_images_have_it(tmp_path: Path) -> None:
    table = beside(tmp_path, "image_id,dx\na,nv\nA,mel\n", "image_id,lesion_id\nA,L1\nb,L2\n")
    assert table["lesion_id"] == ["", "L1"]
    table = beside(tmp_path, "image_id,dx\nB,nv\n", "image_id,lesion_id\nb,L1\nsub/B,L2\n")
    assert table["lesion_id"] == ["L1"]


def test_a_table_of_other_images_is_named(tmp_path: Path, capsys: Capture) -> None:
    table = beside(tmp_path, "image_id,dx\na,nv\n", "image_id,lesion_id\nz,L1\n")
    assert "lesion_id" not in table
    assert (
        "meta.csv names none of the images in labels.csv, and is not read."
        in capsys.readouterr().err
    )


def test_images_without_a_row_are_counted(tmp_path: Path, capsys: Capture) -> None:
    # A quotation mark that is not closed where it should be hides the row of b.
    text = 'image_id,dx,note\na,nv,"x\nb,mel,y"\nc,mel,\n'
    path = write(tmp_path, text)
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    table = tables.attach_paths(labels.read(path), tmp_path, note)
    assert list(table["image_id"]) == ["a", "c"]
    assert capsys.readouterr().err == (
        f"dermhub: {tmp_path}: 1 image(s) there are named by no row of the table, and not used "
        "(b.jpg).\n"
    )


@pytest.mark.parametrize("column", ["image_id", "dx", "lesion_id"])
def test_line_breaks_in_ids_and_labels_are_refused(tmp_path: Path, column: str) -> None:
    cells = {"image_id": "b", "dx": "nv", "lesion_id": "L2"}
    cells[column] = '"x\ny"'
    text = "image_id,dx,lesion_id\na,nv,L1\n" + ",".join(cells.values()) + "\n"
    with pytest.raises(DataError) as caught:
        labels.read(write(tmp_path, text))
    assert str(caught.value).endswith(
        f"labels.csv has a line break in a cell of {column}, in the row(s) that begin in line 3, "
        "and may lose the rows behind it: expected a row a line; close the quotation mark, or "
        "remove the break."
    )


def test_words_for_splits(tmp_path: Path) -> None:
    words = ["Training", "train", "VAL", "valid", "Validation", "Testing", "test", "hold-out"]
    rows = "".join(f"{n},nv,{word}\n" for n, word in enumerate(words))
    table = labels.read(write(tmp_path, "image_id,dx,split\n" + rows))
    # A word that is none of these is refused by the training that it is for.
    assert list(table["split"]) == [
        *("train", "train", "validation", "validation", "validation", "test", "test", "hold-out")
    ]


def test_patients_are_counted_where_lesions_are_unknown(tmp_path: Path) -> None:
    rows = "".join(f"{n},{('nv', 'mel')[n % 2]},P{n // 4}\n" for n in range(56))
    write(tmp_path, "image_id,dx,patient\n" + rows)
    for number in range(56):
        (tmp_path / f"{number}.jpg").write_bytes(f"{number}".encode())
    table = tables.read_table(tmp_path, BINARY, "patient=patient")
    lines = [line for line in tables.tree(table).splitlines() if " images" in line]
    assert all(" patients" in line for line in lines)
    counts = [(int(line.split()[2]), int(line.split()[-2])) for line in lines]
    # Four images of each of 14 patients.
    assert sum(images for images, _ in counts) == 56
    assert all(images == 4 * patients for images, patients in counts)
