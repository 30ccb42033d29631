"""The assessment of two models' predictions: one number, one zone, and notes that hide nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from dermhub.errors import ConfigError, ModelError
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.models.assessment import GAP, NOTES, Assessment, assess, stability
from dermhub.models.prediction import Prediction
from dermhub.tasks import DESCRIPTIONS, EVERYDAY_NAMES, LESION, LESION_NAMES
from dermhub.zones import Threshold, Zone, Zones
from tests.support.readings import explanation

ZONES = Zones(Threshold(0.08, "lower"), Threshold(0.5, "upper"))
STRANGE = Concern(NOT_DERMATOSCOPIC, "This is something else.")
BLURRED = Concern("blurred", "The image is blurred.")
SEEN = Concern("seen", "This image was used in training.")


def lesion(**shares: float) -> Prediction:
    """A seven-class prediction with the given probabilities; moles have the rest."""
    probabilities = dict.fromkeys(LESION.classes, 0.0) | shares
    probabilities["nv"] += 1 - sum(probabilities.values())
    malignancy = sum(probabilities[code] for code in ("akiec", "bcc", "mel"))
    label = max(probabilities, key=lambda code: probabilities[code])
    return Prediction(label, probabilities, malignancy, 0.08, "sensitivity_95", zones=ZONES)


def binary(malignancy: float) -> Prediction:
    """A binary prediction, whose own cuts play no part."""
    probabilities = {"benign": 1 - malignancy, "malignant": malignancy}
    return Prediction(
        "malignant" if malignancy > 0.5 else "benign", probabilities, malignancy, 0.4, "youden"
    )


def codes(assessment: Assessment) -> list[str]:
    return [note.code for note in assessment.notes]


def test_the_number_is_the_sum_of_the_malignant_diagnoses() -> None:
    result = assess(binary(0.02), lesion(mel=0.04, bcc=0.02, akiec=0.01))
    assert result.malignancy == pytest.approx(0.07)
    assert (result.zone, result.flagged, result.zones) == (Zone.LOW, False, ZONES)
    assert (result.title, result.summary) == ("Low suspicion", "Looks like a mole (93%).")
    assert (result.refused, result.notes, result.explained) == (None, (), "nv")


def test_above_the_lower_cut_the_likeliest_malignant_class_is_explained() -> None:
    result = assess(binary(0.1), lesion(mel=0.15, bcc=0.02, bkl=0.11))
    assert (result.zone, result.explained) == (Zone.SUSPICIOUS, "mel")
    assert result.title == "Suspicious: cancer can't be ruled out"
    assert result.summary == "Most likely a mole (72%), but melanoma is possible (15%)."
    assert [(item.code, item.malignant) for item in result.diagnoses[:4]] == [
        ("nv", False),
        ("mel", True),
        ("bkl", False),
        ("bcc", True),
    ]


def test_a_cancer_that_is_the_likeliest_diagnosis_is_not_played_down() -> None:
    result = assess(binary(0.3), lesion(mel=0.4, bkl=0.35))
    assert result.zone is Zone.SUSPICIOUS
    assert result.title == "Suspicious: this may be melanoma"
    assert result.summary == "Most likely melanoma (40%)."


def test_melanoma_is_named_behind_a_cancer_that_is_likelier() -> None:
    result = assess(binary(0.6), lesion(akiec=0.4, mel=0.25))
    assert result.title == "Highly suspicious for actinic keratosis or Bowen's disease"
    assert result.summary == (
        "Most likely actinic keratosis or Bowen's disease (40%), but melanoma is possible (25%)."
    )
    alone = assess(binary(0.6), lesion(akiec=0.6, mel=0.05))
    assert alone.summary == "Most likely actinic keratosis or Bowen's disease (60%)."


def test_highly_suspicious_names_the_malignant_class_even_below_a_benign_one() -> None:
    result = assess(binary(0.5), lesion(mel=0.3, bcc=0.28))
    assert (result.diagnoses[0].code, result.explained) == ("nv", "mel")
    assert result.zone is Zone.HIGHLY_SUSPICIOUS
    assert result.title == "Highly suspicious for melanoma"
    assert result.summary == "Cancer is likelier than a mole (42%): melanoma is possible (30%)."
    assert assess(binary(0.9), lesion(bcc=0.95)).summary == (
        "Most likely basal cell carcinoma (95%)."
    )


@pytest.mark.parametrize(
    ("first", "second", "shown", "zone", "sentence"),
    [
        # Different zones, but near each other: the seven-class model's number, and no note.
        (0.2, 0.06, 0.06, Zone.LOW, ""),
        # Far apart in one zone.
        (0.45, 0.1, 0.1, Zone.SUSPICIOUS, ""),
        # Far apart in different zones: the higher, whichever it is.
        (0.41, 0.06, 0.41, Zone.SUSPICIOUS, "6% and 41%"),
        (0.01, 0.55, 0.55, Zone.HIGHLY_SUSPICIOUS, "1% and 55%"),
    ],
)
def test_doubt_raises_a_zone_and_lowers_none(
    first: float, second: float, shown: float, zone: Zone, sentence: str
) -> None:
    result = assess(binary(first), lesion(mel=second))
    assert result.malignancy == pytest.approx(shown)
    assert result.zone is zone
    said = f"Our two models differ: {sentence}. We show the higher."
    assert [note.sentence for note in result.notes] == ([said] if sentence else [])


def test_the_zone_rises_with_either_probability() -> None:
    steps = [step / 50 for step in range(51)]
    for other in (0.0, 0.07, 0.3, 0.9):
        of_lesion = [assess(binary(other), lesion(mel=step)) for step in steps]
        for result in (*of_lesion, *(assess(binary(step), lesion(mel=other)) for step in steps)):
            # Never below what the seven-class model says.
            assert result.zone is ZONES.of(result.malignancy)
        assert all(
            result.zone >= ZONES.of(step) for result, step in zip(of_lesion, steps, strict=True)
        )


def test_either_gate_refuses_and_hides_nothing() -> None:
    seven, two = lesion(mel=0.6), binary(0.6)
    strange = dataclasses.replace(seven, concerns=(STRANGE, BLURRED))
    for first, second in ((two, strange), (dataclasses.replace(two, concerns=(STRANGE,)), strange)):
        refused = assess(first, second)
        assert (refused.refused, codes(refused)) == (STRANGE, ["blurred"])
        assert (refused.zone, refused.explained) == (Zone.HIGHLY_SUSPICIOUS, "mel")
    alone = assess(dataclasses.replace(two, concerns=(STRANGE,)), seven)
    assert (alone.refused, alone.notes) == (STRANGE, ())


def test_notes_stand_in_their_order_once_each() -> None:
    seven = dataclasses.replace(lesion(mel=0.3), concerns=(BLURRED, Concern("new", "A new one.")))
    result = assess(dataclasses.replace(binary(0.9), concerns=(SEEN, BLURRED)), seven)
    assert codes(result) == ["seen", "blurred", "models-differ", "new"]
    assert len(set(NOTES)) == len(NOTES)


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        # The most probable class, a mole, is in the set: an answer.
        (("nv",), ""),
        (("nv", "mel"), ""),
        (("mel",), "It could also be melanoma."),
        (("mel", "bkl"), "It could also be melanoma or a benign keratosis."),
        (
            ("nv", "mel", "bkl", "bcc"),
            "It could also be melanoma, a benign keratosis or basal cell carcinoma.",
        ),
        ((), "It is typical of no class we know."),
    ],
)
def test_a_set_that_is_no_answer_is_a_note(held: tuple[str, ...], sentence: str) -> None:
    seven = dataclasses.replace(lesion(mel=0.3), conformal=held, conformal_level=0.9)
    assert [note.sentence for note in assess(binary(0.3), seven).notes] == (
        [sentence] if sentence else []
    )


@pytest.mark.parametrize(
    ("more", "notes"),
    [({}, []), ({"outside": True}, ["beside-lesion"]), ({"blank": True}, [])],
)
def test_a_map_beside_the_lesion_is_a_note(more: dict[str, Any], notes: list[str]) -> None:
    seven = lesion(mel=0.3)
    result = assess(binary(0.3), seven)
    seen = result.with_map(explanation(seven, "mel", **more))
    assert codes(seen) == notes
    assert dataclasses.replace(seen, notes=()) == result
    with pytest.raises(ValueError, match=r"^The map is of 'nv', expected that of 'mel'\.$"):
        result.with_map(explanation(seven, "nv"))


@pytest.mark.parametrize(
    ("shares", "sentence", "notes"),
    [
        ((0.09, 0.2, 0.22), "Stable: flagged in all 3 copies (9-22%).", []),
        ((0.04, 0.01), "Stable: flagged in none of the 2 copies (1-4%).", ["not-stable"]),
        ((0.04, 0.1, 0.15), "Not stable: flagged in 2 of 3 copies (4-15%).", ["not-stable"]),
    ],
)
def test_copies_that_change_the_flag_are_a_note(
    shares: tuple[float, ...], sentence: str, notes: list[str]
) -> None:
    copies = [assess(binary(share), lesion(mel=share)) for share in shares]
    assert stability(copies) == sentence
    assert codes(assess(binary(0.1), lesion(mel=0.1)).with_copies(copies)) == notes


def test_every_class_has_its_plain_line() -> None:
    assert set(DESCRIPTIONS) == set(EVERYDAY_NAMES) == set(LESION_NAMES)
    assert all(line.endswith(".") and len(line) < 100 for line in DESCRIPTIONS.values())
    first = assess(binary(0.0), lesion()).diagnoses[0]
    assert (first.name, first.everyday) == ("melanocytic nevus", "a mole")
    assert first.description == DESCRIPTIONS["nv"]


def test_a_record_holds_plain_values_alone() -> None:
    seven = dataclasses.replace(lesion(mel=0.3), concerns=(BLURRED,))
    record = json.loads(json.dumps(assess(binary(0.3), seven).to_record()))
    assert record["zone"] == "suspicious"
    assert record["cuts"] == {"suspicious": 0.08, "highly_suspicious": 0.5}
    assert (record["refused"], record["explained"]) == ("", "mel")
    assert record["notes"] == [{"code": "blurred", "sentence": "The image is blurred."}]
    assert record["diagnoses"][1]["code"] == "mel"


def test_other_predictions_are_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"expected those of the task 'binary': give a binary"):
        assess(lesion(), lesion())
    with pytest.raises(ModelError, match=r"^The model for the seven classes has no zones of"):
        assess(binary(0.1), dataclasses.replace(lesion(), zones=None))
    assert 0 < GAP < 1
