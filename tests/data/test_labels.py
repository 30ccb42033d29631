"""Tables of labels as others hand them out: the formats, their contradictions, and the option."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from dermhub.data.sources import formats, labels
from dermhub.data.sources.diagnoses import NAMES, code_of, malignancy_of
from dermhub.errors import ConfigError, DataError, note
from dermhub.tasks import BINARY, LESION, LESION_NAMES

Capture = pytest.CaptureFixture[str]


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def read(folder: Path, text: str, columns: str = "") -> pd.DataFrame:
    return labels.read(write(folder, text), columns, say=note)


def refusal(folder: Path, text: str, columns: str = "") -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


def dx(table: pd.DataFrame, task: object = None) -> list[str]:
    """The labels of a table, for a task or as they are read."""
    return list((labels.for_task(table, task) if task else table)["dx"])  # type: ignore[arg-type]


HAM = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
FORMATS = {
    "HAM10000": (
        HAM + "H1,A,bkl,histo,80.0,male,scalp,x\nH2,B,mel,histo,,female,unknown,x\n",
        ["bkl", "mel"],
        ["benign", "malignant"],
    ),
    "ISIC 2018 or 2019 (ground truth)": (
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nA,0.0,0.0,0.0,1.0,0,0,0,0,0\n"
        "B,0.0,0.0,0.0,0,0,0,0,1.0,0\nC,0,0,0,0,0,0,0,0,1\n",
        ["akiec", "scc", "unk"],
        # Squamous cell carcinoma is malignant for the makers of these data.
        ["malignant", "malignant", None],
    ),
    "ISIC 2017 (ground truth)": (
        "image_id,melanoma,seborrheic_keratosis\nA,1.0,0.0\nB,0.0,1.0\nC,0.0,0.0\n",
        ["mel", "bkl", "nv"],
        ["malignant", "benign", "benign"],
    ),
    "ISIC 2020": (
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
        "benign_malignant,target\nA,P1,male,45.0,torso,unknown,benign,0\n"
        "B,P2,male,50.0,torso,melanoma,malignant,1\nC,P2,male,50.0,,lentigo NOS,benign,0\n",
        ["unknown", "mel", "lentigo nos"],
        ["benign", "malignant", "benign"],
    ),
    "ISIC archive": (
        "isic_id,age_approx,diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_4,diagnosis_5,lesion_id\n"
        'A,45,Benign,Benign melanocytic proliferations,Nevus,"Nevus, Spitz",,L1\n'
        "B,50,Malignant,x,Melanoma Invasive,,,L2\n"
        "C,50,Indeterminate,x,Solar or actinic keratosis,,,\n"
        "D,50,Malignant,x,Merkel cell carcinoma,,,L4\nE,50,Benign,,,,,L5\n",
        ["nv", "mel", "akiec", "merkel cell carcinoma", "benign"],
        ["benign", "malignant", "malignant", "malignant", "benign"],
    ),
    "ISIC archive (before 2024)": (
        "isic_id,benign_malignant,diagnosis\nA,benign,nevus\nB,indeterminate,other\n",
        ["nv", "other"],
        ["benign", None],
    ),
    "ISIC 2024": (
        "isic_id,target,patient_id,iddx_full,iddx_1,iddx_2,iddx_3\nA,0,P,Benign,Benign,,\n"
        "B,1,P,x,Malignant,x,Basal cell carcinoma\n",
        ["benign", "bcc"],
        ["benign", "malignant"],
    ),
    "DDI": (
        ",DDI_ID,DDI_file,skin_tone,malignant,disease\n0,1,A.png,12,False,melanocytic-nevi\n"
        "1,2,B.png,56,TRUE,mycosis-fungoides\n2,3,C.png,56,FALSE,actinic-keratosis\n",
        ["nv", "mycosis-fungoides", "akiec"],
        # DDI counts actinic keratoses as benign, and its own word goes.
        ["benign", "malignant", "benign"],
    ),
    "PAD-UFES-20": (
        "patient_id,lesion_id,age,gender,diagnostic,img_id,biopsed\n"
        "PAT_8,1,55,FEMALE,NEV,A.png,True\nPAT_9,2,79,,SCC,B.png,True\nPAT_9,3,79,,SEK,C.png,x\n",
        ["nv", "scc", "bkl"],
        ["benign", "malignant", "benign"],
    ),
    "Derm7pt": (
        "case_num,diagnosis,seven_point_score,location,sex,clinic,derm,case_id,notes\n"
        "1,melanoma (less than 0.76 mm),4,back,female,Nhl/N1.jpg,Nhl\\A.jpg,,\n"
        "2,clark nevus,0,back,male,Nhl/N2.jpg,Nhl/B.jpg,x,\n3,melanosis,0,,,Nhl/N3.jpg,C.jpg,,\n",
        ["mel", "nv", "melanosis"],
        ["malignant", "benign", None],
    ),
    "BCN20000": (
        "bcn_filename,age_approx,diagnosis,lesion_id\nA.jpg,80,SCC,B1\nB.jpg,,AK,B2\n",
        ["scc", "akiec"],
        ["malignant", "malignant"],
    ),
}
"""Name of a format -> rows as they are handed out, their codes, and the classes of two."""


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path, capsys: Capture) -> None:
    text, codes, two = FORMATS[name]
    table = read(tmp_path, text)
    assert [image.rpartition("/")[2] for image in table["image_id"]] == list("ABCDE"[: len(codes)])
    assert dx(table) == codes
    # For the seven classes nothing is made of what is none of them.
    assert dx(table, LESION) == codes
    assert [BINARY.class_of(label) for label in dx(table, BINARY)] == two
    assert f"read labels.csv as {name}: image from `" in capsys.readouterr().err


def test_every_format_is_tested_and_explained() -> None:
    assert set(FORMATS) == {kind.name for kind in formats.FORMATS}


def test_a_table_is_said_to_be_read_in_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    read(tmp_path, FORMATS["PAD-UFES-20"][0])
    assert capsys.readouterr().err == (
        "dermhub: read labels.csv as PAD-UFES-20: image from `img_id`, diagnosis from "
        "`diagnostic`, lesion from `lesion_id`, patient from `patient_id`, age from `age`, sex "
        "from `gender`; 3 images, 3 lesions, 2 patients.\n"
    )


def test_columns_about_the_patient_have_other_names_elsewhere(tmp_path: Path) -> None:
    text = "isic_id,benign_malignant,age_approx,gender,anatom_site_general,diagnosis_confirm_type\n"
    table = read(tmp_path, text + "A,benign,45.0,male,torso,histopathology\nB,benign,,,,\n")
    assert table.loc[0, ["age", "sex", "localization", "dx_type"]].tolist() == [
        *(45.0, "male", "torso", "histo")
    ]
    assert table.loc[1, ["age", "sex", "localization", "dx_type"]].isna().all()


def test_plain_names_are_codes() -> None:
    for code, name in LESION_NAMES.items():
        assert code_of(name) == code_of(name.title()) == code_of(code.upper()) == code
    for name, code in (
        *(("Nevus", "nv"), ("BCC", "bcc"), ("seborrheic keratosis", "bkl"), ("Melanoma ", "mel")),
        *(("Benign keratosis-like lesions ", "bkl"), ("Bowen\u2019s disease", "akiec")),
        *(
            ("Melanocytic_nevi", "nv"),
            ("melanoma (0.76 to 1.5 mm)", "mel"),
            ("Melanoma, NOS", "mel"),
        ),
        *(("Squamous cell carcinoma", "scc"), ("mell", "mell"), ("other", "other")),
        # Neither is a melanocytic nevus.
        *(("nevus sebaceous", "nevus sebaceous"), ("lentigo NOS", "lentigo nos")),
    ):
        assert code_of(name) == code, name


def test_no_name_has_two_codes() -> None:
    names = [name for code in NAMES for name in (code, *NAMES[code])]
    assert len(names) == len(set(names))
    assert all(code_of(name) == code for code in NAMES for name in NAMES[code])


def test_words_for_malignancy() -> None:
    assert {malignancy_of(word) for word in ("1", "1.0", "TRUE", "Malignant", "yes")} == {
        "malignant"
    }
    assert {malignancy_of(word) for word in ("0", "0.0", "False", "benign", "non-malignant")} == {
        "benign"
    }
    others = ("", "2", "-1", "- 1", "+1", "1?", "(1)", "10", "indeterminate/benign")
    assert {malignancy_of(word) for word in others} == {""}
    assert malignancy_of("1,0") == malignancy_of(" Malignant ") == "malignant"
    assert malignancy_of("Non_Malignant") == malignancy_of("non  malignant") == "benign"


def test_ages_as_people_write_them(tmp_path: Path, capsys: Capture) -> None:
    given = ["unknown", "", "85+", "45.0", '"45,5"', ">85", "60 years", "Unknown", "NA", "-"]
    rows = "".join(f"I{n},nv,{age}\n" for n, age in enumerate(given))
    table = read(tmp_path, "image_id,dx,age\n" + rows)
    expected = [math.nan, math.nan, 85, 45, 45.5, 85, 60, math.nan, math.nan, math.nan]
    assert table["age"].tolist() == pytest.approx(expected, nan_ok=True)
    assert "no age" not in capsys.readouterr().err


def test_ages_that_can_not_be_read_are_named(tmp_path: Path, capsys: Capture) -> None:
    table = read(tmp_path, "image_id,dx,age_approx\nA,nv,old\nB,nv,40-45\nC,nv,999\nD,nv,inf\n")
    assert table["age"].isna().all()
    assert (
        "labels.csv: age_approx is no age in line(s) 2 (old), 3 (40-45), 4 (999), 5 (inf); these "
        "ages count as unknown." in capsys.readouterr().err
    )


def test_lesion_ids_may_be_empty(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,dx,lesion_id\nA,nv,\nB,mel,L1\n")
    assert list(table["lesion_id"]) == ["", "L1"]


def test_lesions_that_are_numbered_for_each_patient_are_told_apart(tmp_path: Path) -> None:
    text = "image_id,dx,lesion_id,patient_id\n"
    table = read(tmp_path, text + "A,nv,1,MRN7\nB,mel,1,MRN8\nC,mel,1,MRN8\nD,nv,2,\n")
    a, b, c, d = table["lesion_id"]
    assert (a != b, b == c, d) == (True, True, "2")
    # A model folder holds lesion ids, and is published.
    assert not table["lesion_id"].str.contains("MRN").any()


def test_a_column_without_a_word_for_malignancy_is_not_passed_over(tmp_path: Path) -> None:
    text = "file,kind,sex\na,nv,F\nb,mel,M"
    assert refusal(tmp_path, text, "image=file,dx=kind,malignant=sex").endswith(
        "has no word for benign or malignant in sex (F, M): expected benign and malignant, yes and "
        "no, or 0 and 1."
    )


@pytest.mark.parametrize(
    ("text", "missing"), [("image_id dx\na nv\n", "image_id, dx"), ("image_id\na\n", "dx")]
)
def test_a_table_of_one_column(tmp_path: Path, text: str, missing: str) -> None:
    assert refusal(tmp_path, text) == (
        f"labels.csv lacks the column(s) {missing}; it has {text.splitlines()[0]}. Expected "
        "several columns with commas between them: save it as CSV UTF-8."
    )


def test_an_option_to_copy_is_quoted(tmp_path: Path) -> None:
    assert refusal(tmp_path, "File Name,Diagnosis (histo)\na,nv").endswith(
        "--columns 'image=File Name,dx=Diagnosis (histo)'."
    )


def test_one_wrong_patient_renames_no_lesion(tmp_path: Path) -> None:
    rows = [f"i{n}{k},nv,L{n},P{n}" for n in range(20) for k in range(2)]
    rows[0] = "i00,nv,L0,P999"
    text = "image_id,dx,lesion_id,patient_id\n" + "\n".join(rows)
    assert refusal(tmp_path, text).endswith(
        "has 1 lesion(s) of more than one patient (L0): correct the patient or the lesion."
    )


def test_another_class_beside_those_of_a_format_is_not_passed_over(tmp_path: Path) -> None:
    heading = "image_id,melanoma,seborrheic_keratosis,nevus,basal_cell_carcinoma"
    assert refusal(tmp_path, f"{heading}\na,0,0,0,1\nb,1,0,0,0").endswith(
        "has the column(s) nevus, basal_cell_carcinoma beside melanoma, seborrheic_keratosis, and "
        "ISIC 2017 (ground truth) has no such: name the columns to read with --columns."
    )


@pytest.mark.parametrize("row", ["b,,", "b,0,", "b"])
def test_only_zeros_say_that_it_is_none_of_them(tmp_path: Path, row: str) -> None:
    text = f"image_id,melanoma,seborrheic_keratosis\na,0,0\n{row}"
    assert "has 1 row(s) without a single 1 among melanoma, " in refusal(tmp_path, text)


def test_a_lesion_has_the_patient_of_its_other_photographs(tmp_path: Path) -> None:
    text = "image_id,dx,lesion_id,patient_id\n"
    table = read(tmp_path, text + "A,nv,L1,P1\nB,nv,L1,\nC,nv,L2,\n")
    assert list(table["patient_id"]) == ["P1", "P1", ""]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "image_id,dx,malignant\nA,nv,0\nB,mel,0\nC,nv,1\n",
            "labels.csv says two things of 2 image(s) in dx and malignant, line(s) 3, 4: correct "
            "them, or name the one column to read with --columns image=image_id,dx=dx.",
        ),
        (
            "image_name,diagnosis,benign_malignant,target\nA,unknown,benign,1\n",
            "labels.csv says two things of 1 image(s) in diagnosis and benign_malignant and "
            "target, line(s) 2: correct",
        ),
        (
            "isic_id,diagnosis_1,diagnosis_3,diagnosis_4\nA,Benign,Nevus,Dermatofibroma\n",
            "labels.csv says two things of 1 image(s) in diagnosis_1 and diagnosis_3",
        ),
        (
            "image_id,dx,melanoma,seborrheic_keratosis\nA,mel,1,0\nB,bkl,1,0\n",
            "labels.csv has the columns of HAM10000 and of ISIC 2017 (ground truth), which say two "
            "things in line(s) 3: name the columns to read with --columns image=image_id,dx=dx.",
        ),
        (
            "image,MEL,NV,BCC\nA,1,0,0\nB,1,1,0\nC,0,0,0\nD,0.7,0.2,0.1\n",
            "labels.csv has 3 row(s) without a single 1 among MEL, NV, BCC, line(s) 3, 4, 5: "
            "expected a table of true labels.",
        ),
        (
            "isic_id,diagnosis_1,benign_malignant\nA,Benign,\nB,,\n",
            "labels.csv has an empty diagnosis_1 and benign_malignant in line(s) 3.",
        ),
        (
            "image_id,dx,dx\nA,nv,mel\n",
            "labels.csv has 2 columns dx, expected one.",
        ),
        (
            "image,age_approx,anatom_site_general,lesion_id,sex\nA,50,x,L1,male\n",
            "labels.csv lacks the column(s) image_id, dx; it has image, age_approx, "
            "anatom_site_general, lesion_id, sex. Expected image_id and dx, or their names in this "
            "table: --columns image=image,dx=COLUMN.",
        ),
    ],
    ids=["dx", "target", "levels", "formats", "one-hot", "empty", "twice", "no labels"],
)
def test_contradictions_are_refused_by_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert refusal(tmp_path, text).startswith(sentence)


def test_columns_of_any_table(tmp_path: Path, capsys: Capture) -> None:
    text = "filename,diagnosis,patient,sex of patient\na.jpg,Melanoma,P1,f\nb.jpg,nevus,P2,m\n"
    table = read(tmp_path, text, "image=filename, dx=Diagnosis,lesion=patient,sex=sex of patient")
    assert table.drop(columns=labels.MALIGNANCY).to_dict("list") == {
        "image_id": ["a", "b"],
        "dx": ["mel", "nv"],
        "lesion_id": ["P1", "P2"],
        "sex": ["f", "m"],
    }
    assert capsys.readouterr().err == (
        "dermhub: read labels.csv: image from `filename`, diagnosis from `diagnosis`, lesion from "
        "`patient`, sex from `sex of patient`; 2 images, 2 lesions.\n"
    )


def test_columns_of_zeros_and_ones(tmp_path: Path) -> None:
    table = read(tmp_path, "file,y\na,0\nb,1\n", "image=file,malignant=y")
    assert dx(table) == ["benign", "malignant"]


def test_columns_complete_a_known_format(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,dx,case\na,nv,7\nb,mel,8\n", "lesion=case")
    assert list(table["lesion_id"]) == ["7", "8"]
    assert dx(table) == ["nv", "mel"]


def test_columns_settle_a_contradiction(tmp_path: Path) -> None:
    text = "image_id,dx,malignant\nA,nv,0\nB,mel,0\n"
    assert dx(read(tmp_path, text, "image=image_id,dx=dx")) == ["nv", "mel"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "filename",
            "--columns is 'filename', expected pairs such as image=filename,dx=diagnosis.",
        ),
        ("image=", "--columns is 'image=', expected pairs such as image=filename,dx=diagnosis."),
        ("imge=a,dx=b", "--columns names 'imge', expected image, dx, .*Did you mean 'image'"),
        ("image=a", "--columns is 'image=a' and lacks malignant= or dx=: expected at least"),
        ("dx=a", "--columns is 'dx=a' and lacks image=: expected at least"),
    ],
)
def test_options_that_say_too_little(tmp_path: Path, option: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        read(tmp_path, "a,b\n1,nv\n", option)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path, "a,b\n1,nv\n", "image=a,dx=c") == (
        "labels.csv lacks the column(s) c, which --columns names; it has a, b."
    )


def test_a_table_beside_completes_the_labels(tmp_path: Path, capsys: Capture) -> None:
    truth = write(tmp_path, "image,MEL,NV,BCC\nA,1,0,0\nB,0,1,0\n", "GroundTruth.csv")
    more = write(
        tmp_path, "image,age_approx,lesion_id\nB,50,L2\nC,1,L3\n", "ISIC_2019_Metadata.csv"
    )
    other = write(tmp_path, "image,MEL,NV,BCC\nA,0,1,0\n", "other labels.csv")
    table = labels.read(truth, beside=[more, other], say=note)
    assert list(table["lesion_id"]) == ["", "L2"]
    assert table["age"].tolist() == pytest.approx([math.nan, 50], nan_ok=True)
    assert (
        "ISIC_2019_Metadata.csv completes GroundTruth.csv: lesion_id, age_approx; it lacks 1 "
        "image(s)." in capsys.readouterr().err
    )


def test_a_table_s_word_on_actinic_keratoses_is_said(tmp_path: Path, capsys: Capture) -> None:
    labels.for_task(read(tmp_path, FORMATS["DDI"][0]), BINARY, note)
    assert (
        "1 image(s) of actinic keratoses are benign, as the table says; the models count actinic "
        "keratoses as malignant." in capsys.readouterr().err
    )
