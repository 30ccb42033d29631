"""python -m dermhub similar: a sheet and a table of each image, written whole."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from dermhub import layout
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from dermhub.models.ood_gate import OodGate
from dermhub.scoring import case_sheet
from tests.support.readings import Page
from tests.support.tiny import Command, add_file


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image whose name would be HTML."""
    path = tmp_path / "a<b>&.png"
    draw(20, (72, 64), 0.6).save(path)
    return path


def test_sheet_and_table_say_what_the_classifier_says(
    indexed_model: Path, image: Path, tmp_path: Path, command: Command
) -> None:
    to = tmp_path / "out"
    code, out, err = command("similar", image, "--to", to, "--model", indexed_model, "--number", 4)
    assert (code, err) == (0, "")
    similar = Classifier(indexed_model).similar(image, 4)
    sheet = to / "a<b>&-similar.html"
    note = f" {similar.note}" if similar.note else ""
    assert out == f"{image}: {similar.summary}. {similar.proofs}{note} See {sheet}\n"
    assert sorted(path.name for path in to.iterdir()) == [
        "a<b>&-similar.csv",
        "a<b>&-similar.html",
    ]
    page = Page(sheet.read_text())
    assert "a<b>&.png" in page.text
    assert str(tmp_path) not in page.text
    assert not page.all("b")
    for sentence in (similar.summary, similar.proofs, similar.caution, similar.credit):
        assert sentence in page.text
    # Nothing is fetched: pictures lie in the sheet, and there is no script.
    pictures = page.of("src")
    assert len(pictures) == 5
    assert all(source.startswith("data:image/") for source in pictures)
    assert not page.all("script")
    pages = [case.page for case in similar.cases if case.page]
    assert page.of("href") == pages
    rows = list(csv.DictReader(io.StringIO((to / "a<b>&-similar.csv").read_text())))
    assert [row["image_id"] for row in rows] == [case.image_id for case in similar.cases]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[0]["distance"]) == pytest.approx(similar.cases[0].distance, abs=0.02)
    assert rows[0]["malignant"] == str(similar.cases[0].malignant).lower()
    # The same command again replaces its own files.
    assert command("similar", image, "--to", to, "--model", indexed_model, "--number", 4)[0] == 0


def test_files_of_others_are_left_alone(
    indexed_model: Path, image: Path, tmp_path: Path, command: Command
) -> None:
    for name in ("a<b>&-similar.html", "a<b>&-similar.csv"):
        to = tmp_path / f"out-{name[-4:]}"
        to.mkdir()
        (to / name).write_text("mine")
        code, out, err = command("similar", image, "--to", to, "--model", indexed_model)
        assert (code, out) == (2, "")
        assert err.startswith(f"dermhub: {to / name} is not a file that this command wrote, and is")
        assert [path.read_text() for path in to.iterdir()] == ["mine"]


def test_a_link_into_nothing_is_left_alone(
    indexed_model: Path, image: Path, tmp_path: Path, command: Command
) -> None:
    link = tmp_path / "a<b>&-similar.csv"
    link.symlink_to("missing")
    code, out, err = command("similar", image, "--to", tmp_path, "--model", indexed_model)
    assert (code, out) == (2, "")
    assert err.startswith(f"dermhub: {link} is not a file that this command wrote, and is left")
    assert link.readlink() == Path("missing")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([image.name, link.name])


@pytest.mark.slow
def test_two_images_of_one_name_share_no_file(
    indexed_model: Path, tmp_path: Path, command: Command
) -> None:
    images = [tmp_path / folder / "photo.png" for folder in ("one", "two")]
    for number, path in enumerate(images):
        path.parent.mkdir()
        draw(30 + number, (72, 64), 0.5).save(path)
    to = tmp_path / "out"
    assert command("similar", *images, "--to", to, "--model", indexed_model)[0] == 0
    assert sorted(path.name for path in to.glob("*.html")) == [
        "photo-1-similar.html",
        "photo-2-similar.html",
    ]


def test_bad_input(
    indexed_model: Path, tiny_lesion_model: Path, image: Path, tmp_path: Path, command: Command
) -> None:
    to = tmp_path / "out"
    code, _, err = command("similar", image, "--to", to, "--model", tiny_lesion_model)
    assert code == 2
    assert "has no index of similar cases: take a model that has one" in err
    code, _, err = command("similar", image, "--to", to, "--model", indexed_model, "--number", 0)
    assert (code, err) == (
        2,
        "dermhub: The number of similar cases is 0, expected a whole number from 1 to 50.\n",
    )
    text = tmp_path / "notes.png"
    text.write_text("no image")
    code, out, err = command("similar", text, image, "--to", to, "--model", indexed_model)
    assert code == 2
    assert err.startswith(f"dermhub: {text}")
    assert out.startswith(f"{image}: ")


@pytest.mark.slow
def test_a_refused_image_is_shown_anyway_alone(
    indexed_model: Path, image: Path, tmp_path: Path, command: Command
) -> None:
    folder = Path(shutil.copytree(indexed_model, tmp_path / "model"))
    add_file(folder, layout.OOD_GATE, refusing(folder).to_bytes())
    to = tmp_path / "out"
    code, out, _ = command("similar", image, "--to", to, "--model", folder)
    assert code == 0
    assert out.endswith("--anyway shows similar cases all the same.\n")
    assert not to.exists()
    assert command("similar", image, "--to", to, "--model", folder, "--anyway")[0] == 0
    sheet = (to / "a<b>&-similar.html").read_text()
    assert sheet.startswith(case_sheet.MARK.decode())
    assert "This doesn&#x27;t look like a dermatoscopic image." in sheet


def refusing(folder: Path) -> OodGate:
    """A gate that refuses every image."""
    features = 2 * Classifier(folder).embed(draw(0, (72, 64), 0.5)).shape[1]
    return OodGate(
        np.full(features, 1e3, np.float32),
        np.zeros((1, features), np.float32),
        np.zeros(36, np.float32),
        np.eye(36, dtype=np.float32),
        np.ones(2, np.float32),
    )
