"""Prediction sets and abstention: in the classifier, and as the command line prints them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dermhub.errors import ModelError
from dermhub.images.concern import Concern
from dermhub.models.classifier import Classifier
from dermhub.models.prediction import Prediction, to_row
from dermhub.tasks import BINARY, LESION
from dermhub.zones import Threshold, Zone, Zones
from tests.support.tiny import Command

STRANGE = Concern("not-dermatoscopic", "This is something else.")
BLURRED = Concern("blurred", "The image is blurred.")


def stated(model: Path, folder: Path, **block: Any) -> Path:
    """Copy a model folder and add to its config.json."""
    shutil.copytree(model, folder)
    content = json.loads((folder / "config.json").read_text())
    content["dermhub"] |= block
    (folder / "config.json").write_text(json.dumps(content))
    return folder


NOT_NEVUS = (
    "The most probable class, melanocytic nevus, is less probable here than in most lesions of "
    "that class, and"
)


def conformal(least: dict[str, float]) -> dict[str, Any]:
    return {"level": 0.9, "least": least}


def said(
    held: tuple[str, ...], level: float = 0.9, concerns: tuple[Concern, ...] = ()
) -> Prediction:
    """Make a prediction of seven classes with a chosen set."""
    return Prediction(
        "nv", dict.fromkeys(LESION.classes, 1 / 7), 0.4, 0.5, "youden", held, concerns, level
    )


def test_older_models_have_no_sets_and_never_abstain(tiny_lesion_model: Path, photo: Path) -> None:
    prediction = Classifier(tiny_lesion_model).predict(photo)
    assert (prediction.conformal, prediction.conformal_level, prediction.concerns) == ((), 0.0, ())
    assert prediction.abstention == ""
    assert Prediction("nv", {"nv": 1.0}, 0.0, 0.5, "youden").abstention == ""


def test_set_holds_the_classes_that_reach_their_limit(
    tiny_lesion_model: Path, tmp_path: Path, photo: Path
) -> None:
    probabilities = Classifier(tiny_lesion_model).predict(photo).probabilities
    ranked = sorted(probabilities, key=lambda name: -probabilities[name])
    # The first and the third reach their own limit, the second does not. A batch moves the last
    # bits.
    least = dict.fromkeys(LESION.classes, 1.0) | {
        ranked[0]: probabilities[ranked[0]] - 1e-4,
        ranked[2]: 0.0,
    }
    folder = stated(tiny_lesion_model, tmp_path / "model", conformal=conformal(least))
    classifier = Classifier(folder)
    prediction = classifier.predict(photo)
    assert prediction.conformal == (ranked[0], ranked[2])
    assert prediction.conformal_level == 0.9
    assert prediction.probabilities == probabilities
    assert classifier.explain(photo).prediction == prediction
    assert classifier.predict([photo, photo])[1].conformal == prediction.conformal


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ((), "The image is not typical of any class that the model knows."),
        (("nv",), ""),
        (("nv", "mel", "bkl"), ""),
        (("mel", "nv"), ""),
        (("mel",), f"{NOT_NEVUS} melanoma can't be ruled out."),
        (
            ("mel", "bkl"),
            f"{NOT_NEVUS} melanoma or benign keratosis-like lesion can't be ruled out.",
        ),
        (("mel", "bkl", "bcc", "df"), "4 of the 7 classes remain possible."),
        (("nv", "mel", "bkl", "bcc"), "4 of the 7 classes remain possible."),
        (LESION.classes, "The model can't rule out any class."),
    ],
)
def test_abstention_from_the_set(held: tuple[str, ...], sentence: str) -> None:
    assert said(held).abstention == sentence
    assert said(held, concerns=(BLURRED,)).abstention == sentence
    assert said(held, level=0.0).abstention == ""


def test_an_image_of_another_kind_is_the_first_reason() -> None:
    assert said(("nv",), concerns=(BLURRED, STRANGE)).abstention == STRANGE.sentence
    assert said((), concerns=(STRANGE,)).abstention == STRANGE.sentence
    assert said((), level=0.0, concerns=(STRANGE,)).abstention == STRANGE.sentence


def test_command_prints_set_and_abstention(
    command: Command, tiny_binary_model: Path, tmp_path: Path, photo: Path
) -> None:
    both = stated(
        tiny_binary_model,
        tmp_path / "both",
        conformal=conformal(dict.fromkeys(BINARY.classes, 0.0)),
    )
    _, out, _ = command("predict", photo, "--model", both, "--format", "json")
    (row,) = json.loads(out)
    assert sorted(row["conformal"]) == ["benign", "malignant"]
    assert (row["concerns"], row["abstention"]) == (
        [],
        "Neither of the two classes can be ruled out.",
    )
    _, out, _ = command("predict", photo, "--model", both, "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(out))
    assert (line["conformal"], line["concerns"]) == (" ".join(row["conformal"]), "")
    assert line["abstention"] == row["abstention"]
    _, out, _ = command("predict", photo, "--model", both)
    heading, first, second, *_, note, _ = out.splitlines()
    assert heading.endswith(" malignant  90% set")
    assert first.endswith(f"  {' '.join(row['conformal'])}")
    assert second.strip() == row["abstention"]
    assert note == "90% set: holds the true class for that share of the lesions of each class."


def test_command_prints_an_empty_set(
    command: Command, tiny_binary_model: Path, tmp_path: Path, photo: Path
) -> None:
    none = stated(
        tiny_binary_model,
        tmp_path / "none",
        conformal=conformal(dict.fromkeys(BINARY.classes, 1.0)),
    )
    _, out, _ = command("predict", photo, "--model", none)
    assert out.splitlines()[1].endswith("  none")
    assert (
        out.splitlines()[2].strip() == "The image is not typical of any class that the model knows."
    )


def test_listed_file_that_is_missing(tiny_binary_model: Path, tmp_path: Path) -> None:
    folder = stated(tiny_binary_model, tmp_path / "model", files={"gate.safetensors": "1" * 64})
    with pytest.raises(
        ModelError, match=r"gate.safetensors can't be read .*: fetch or copy the model again.$"
    ):
        Classifier(folder)


def test_listed_file_that_was_changed(tiny_binary_model: Path, tmp_path: Path) -> None:
    folder = stated(tiny_binary_model, tmp_path / "model", files={"other.safetensors": "1" * 64})
    (folder / "other.safetensors").write_bytes(b"abc")
    # sha256 of "abc": FIPS 180-2, appendix B.1.
    with pytest.raises(
        ModelError, match=r"has the sha256 ba7816bf\w+, but config.json states 1{64}: the file was"
    ):
        Classifier(folder)


def test_file_that_is_not_listed_is_left_alone(
    tiny_binary_model: Path, tmp_path: Path, photo: Path
) -> None:
    folder = stated(tiny_binary_model, tmp_path / "model")
    (folder / "gate.safetensors").write_bytes(b"no safetensors")
    assert Classifier(folder).predict(photo).concerns == ()


@pytest.mark.parametrize("concerns", [(), (BLURRED,)])
def test_a_table_says_the_zone_unless_the_image_is_refused(concerns: tuple[Concern, ...]) -> None:
    zones = Zones(Threshold(0.07, "sensitive"), Threshold(0.47, "precise"))
    answer = dataclasses.replace(said(("nv",), concerns=concerns), malignancy=0.01, zones=zones)
    refused = dataclasses.replace(answer, concerns=(*concerns, STRANGE))
    for each, expected in ((answer, "low"), (refused, "refused")):
        assert each.zone is Zone.LOW
        assert each.to_dict()["zone"] == to_row("a.jpg", each)["zone"] == expected
    assert dataclasses.replace(refused, zones=None).to_dict()["zone"] == ""
