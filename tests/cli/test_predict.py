"""python -m dermhub predict: the answers of the API, and a line for each image it can't use."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dermhub
from dermhub.cli.main import make_parser
from dermhub.images.drawn_lesions import draw
from dermhub.models import catalog
from dermhub.models.classifier import Classifier
from tests.support.tiny import Command

ROOT = Path(dermhub.__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three drawn images, one of them in a folder of its own, beside a file that is no image."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number, name in enumerate(("b.jpg", "a.png", "more/c.JPG")):
        draw(number, (72 + number, 64), number / 2).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def in_order(folder: Path) -> list[Path]:
    return [folder / name for name in ("a.png", "b.jpg", "more/c.JPG")]


def expected_rows(model: Path, images: list[Path]) -> list[dict[str, Any]]:
    """The answers of the API to images, as the command prints them."""
    classifier = Classifier(model)
    return [
        {
            "image": str(path),
            "label": said.label,
            "balanced_label": said.balanced_label,
            "probabilities": said.probabilities,
            "malignancy": said.malignancy,
            "malignant": said.malignant,
            "threshold": 0.25,
            "operating_point": "sensitivity_95",
            "zone": said.zone,
            "conformal": list(said.conformal),
            "conformal_level": said.conformal_level,
            "concerns": [
                {"code": concern.code, "sentence": concern.sentence} for concern in said.concerns
            ],
            "abstention": said.abstention,
        }
        for path, said in ((path, classifier.predict(path)) for path in images)
    ]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_predict_prints_json_of_what_the_api_says(
    command: Command, tiny_lesion_model: Path, folder: Path
) -> None:
    code, out, err = command("predict", folder, "--model", tiny_lesion_model, "--format", "json")
    assert (code, err) == (0, "")
    rows = expected_rows(tiny_lesion_model, in_order(folder))
    printed = json.loads(out)
    assert [list(row) for row in printed] == [list(row) for row in rows]
    assert printed == rows
    for row in printed:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_predict_prints_csv_of_what_the_api_says(
    command: Command, tiny_binary_model: Path, folder: Path
) -> None:
    image = folder / "b.jpg"
    code, out, err = command("predict", image, "--model", tiny_binary_model, "--format", "csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    (record,) = expected_rows(tiny_binary_model, [image])
    # Flat: a column for each class. The drawing has 72 x 64 pixels.
    flat = {f"p_{name}": value for name, value in record.pop("probabilities").items()}
    flat |= {"conformal": "", "concerns": "too-small"}
    del record["operating_point"], record["conformal_level"]
    assert rows == [{name: str(value) for name, value in (record | flat).items()}]
    assert out.splitlines()[0] == (
        "image,label,balanced_label,malignancy,malignant,threshold,zone,p_benign,p_malignant,"
        "conformal,concerns,abstention"
    )


@pytest.mark.slow
def test_the_table_of_a_shipped_model_shows_the_zone(command: Command) -> None:
    folder = ROOT / "demo" / "page" / "examples"
    images = [folder / "1-melanoma.jpg", folder / "2-mole.jpg", folder / "6-not-skin.jpg"]
    code, out, err = command("predict", *images, "--model", "lesion")
    assert (code, err) == (0, "")
    heading, *lines = out.splitlines()
    assert heading.split()[:4] == ["image", "zone", "label", "malignancy"]
    place = heading.index("zone")
    zones = [line[place : place + 17].strip() for line in lines if line.startswith(str(folder))]
    assert zones == ["highly suspicious", "low", "refused"]


def test_predict_prints_a_table(command: Command, tiny_lesion_model: Path, folder: Path) -> None:
    images = [folder / "more" / "c.JPG", folder / "a.png"]
    code, out, err = command("predict", *images, "--model", tiny_lesion_model)
    assert (code, err) == (0, "")
    heading, *lines, empty, point, warning = out.splitlines()
    assert heading.split() == ["image", "zone", "label", "malignancy", *dermhub.LESION.classes]
    for line, below, row in zip(
        lines[::2], lines[1::2], expected_rows(tiny_lesion_model, images), strict=True
    ):
        assert [below.strip()] == [concern["sentence"] for concern in row["concerns"]]
        shown = [f"{row['probabilities'][name]:.4f}" for name in dermhub.LESION.classes]
        mark = ">=" if row["malignancy"] >= 0.25 else "<"
        assert line.split() == [
            row["image"],
            *row["zone"].split(),
            row["label"],
            f"{row['malignancy']:.4f}",
            mark,
            *shown,
        ]
    assert (empty, warning) == ("", "Research software, not a medical device.")
    assert point == (
        ">=: at or above the operating point sensitivity_95, 0.2500 (at least 95% sensitivity for "
        "malignancy, chosen on validation)."
    )


def test_predict_takes_folders_and_images_in_the_order_given(
    command: Command, tiny_lesion_model: Path, folder: Path, photo: Path
) -> None:
    _, out, _ = command(
        "predict", photo, folder, photo, "--model", tiny_lesion_model, "--format", "json"
    )
    assert [row["image"] for row in json.loads(out)] == [
        str(path) for path in (photo, *in_order(folder), photo)
    ]


@pytest.mark.parametrize("kind", ["table", "json", "csv"])
def test_a_bad_image_among_good_ones(
    command: Command, tiny_binary_model: Path, folder: Path, kind: str
) -> None:
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:400])
    code, out, err = command("predict", folder, "--model", tiny_binary_model, "--format", kind)
    assert code == 2
    assert err.startswith(f"dermhub: {folder / 'b.jpg'} is damaged or cut short")
    assert err.count("\n") == 1
    assert [str(path) in out for path in in_order(folder)] == [True, False, True]


@pytest.mark.parametrize(("kind", "lines"), [("table", 0), ("json", 1), ("csv", 1)])
def test_nothing_but_bad_images(
    command: Command, tiny_binary_model: Path, tmp_path: Path, kind: str, lines: int
) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    bad = [tmp_path / "text.jpg", tmp_path / "none.jpg"]
    code, out, err = command("predict", *bad, "--model", tiny_binary_model, "--format", kind)
    assert (code, out.count("\n")) == (2, lines)
    assert err == (
        f"dermhub: {bad[0]} is a text file; expected an image as JPEG, PNG, WebP, GIF, TIFF, "
        "BMP, HEIC, AVIF or DICOM.\n"
        f"dermhub: There is no file {bad[1]}.\n"
    )


def test_explain_writes_an_overlay_of_the_size_of_each_image(
    command: Command, tiny_lesion_model: Path, folder: Path, tmp_path: Path
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(5, (80, 64)).save(folder / "turned.jpg", exif=turned)
    maps = tmp_path / "new" / "maps"
    code, out, err = command(
        "predict", folder, "--model", tiny_lesion_model, "--format", "json", "--explain", maps
    )
    assert (code, err) == (0, "")
    sizes = {path.name: size(path) for path in maps.iterdir()}
    # The camera was held upright for the last one.
    assert sizes == {
        "a-map.png": (73, 64),
        "b-map.png": (72, 64),
        "c-map.png": (74, 64),
        "turned-map.png": (64, 80),
    }
    assert json.loads(out)[:3] == expected_rows(tiny_lesion_model, in_order(folder))
    overlay = Classifier(tiny_lesion_model).explain(folder / "b.jpg").overlay
    with Image.open(maps / "b-map.png") as written:
        assert np.array_equal(np.asarray(written), np.asarray(overlay))


@pytest.mark.parametrize(
    ("names", "maps"),
    [
        (["a.png", "more/a.jpg"], ["a-1-map.png", "a-2-map.png"]),
        (["a.png", "more/A.jpg"], ["a-1-map.png", "A-2-map.png"]),
        # A number that would take the overlay of another image is passed over.
        (["a.png", "a-1.jpg", "more/a.jpg"], ["a-2-map.png", "a-1-map.png", "a-3-map.png"]),
        (["a.png", "a.png"], ["a-map.png"]),
    ],
)
def test_explain_keeps_images_of_one_name_apart(
    command: Command,
    tiny_lesion_model: Path,
    folder: Path,
    tmp_path: Path,
    names: list[str],
    maps: list[str],
) -> None:
    images = list(dict.fromkeys(folder / name for name in names))
    for number, path in enumerate(images):
        draw(number, (80 + number, 64)).save(path)
    options = ["--model", tiny_lesion_model, "--explain", tmp_path / "maps"]
    assert command("predict", *(folder / name for name in names), *options)[0] == 0
    expected = {name: (80 + number, 64) for number, name in enumerate(maps)}
    assert {path.name: size(path) for path in (tmp_path / "maps").iterdir()} == expected


def test_explain_where_nothing_can_be_written(
    command: Command, tiny_lesion_model: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    code, out, err = command(
        "predict", photo, "--model", tiny_lesion_model, "--explain", tmp_path / "file"
    )
    assert (code, out) == (2, "")
    assert err.startswith(f"dermhub: {tmp_path / 'file' / 'lesion-map.png'} can't be written (")
    assert err.endswith("): choose a folder that can be written and has space.\n")


def test_a_folder_without_images(command: Command, tiny_lesion_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    code, out, err = command("predict", tmp_path, "--model", tiny_lesion_model)
    assert (code, out) == (2, "")
    assert err.startswith(f"dermhub: {tmp_path} holds no images (.jpg, ")


def test_a_shipped_model_and_one_that_is_not(
    command: Command,
    tiny_lesion_model: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path)
    assert command("predict", photo, "--model", "leison") == (
        2,
        "",
        "dermhub: There is no model 'leison': expected a model folder (no model is shipped here) "
        "or org/name of the hub.\n",
    )
    (tmp_path / "lesion").symlink_to(tiny_lesion_model)
    assert make_parser().parse_args(["predict", "x.jpg"]).model == "lesion"
    code, out, _ = command("predict", photo, "--format", "json")
    assert (code, json.loads(out)) == (0, expected_rows(tiny_lesion_model, [photo]))
    assert command("predict", photo, "--model", "leison")[2] == (
        "dermhub: There is no model 'leison': expected a model folder, one of lesion, or org/name "
        "of the hub. Did you mean 'lesion'?\n"
    )


def test_another_operating_point(
    command: Command, tiny_lesion_model: Path, folder: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny_lesion_model / "config.json").read_text())
    value = config["dermhub"]["thresholds"]["youden"]["value"]
    given = ["--model", tiny_lesion_model, "--operating-point", "youden"]
    code, out, err = command("predict", folder, *given, "--format", "json")
    assert (code, err) == (0, "")
    for row in json.loads(out):
        assert (row["operating_point"], row["threshold"]) == ("youden", value)
        assert row["malignant"] == (row["malignancy"] >= value)
    code, out, err = command("predict", "--images", folder, "--out", tmp_path / "a.csv", *given)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == 3
    for row in rows:
        assert row["malignant"] == str(float(row["malignancy"]) >= value)


def test_an_unknown_operating_point(command: Command, tiny_lesion_model: Path) -> None:
    given = ["--model", tiny_lesion_model, "--operating-point", "yuden"]
    assert command("predict", "a.jpg", *given) == (
        2,
        "",
        f"dermhub: {tiny_lesion_model} has no operating point 'yuden', expected one of "
        "sensitivity_95, youden. Did you mean 'youden'?\n",
    )
