"""The view of an answer: whole percents that fit the zones, and words for each zone."""

from __future__ import annotations

import json

import pytest

from demo.models import FAST
from demo.page import answer
from demo.page.view import Scale, View, alarm_level, whole_percent
from dermhub.images.concern import Concern
from dermhub.tasks import MALIGNANT
from tests.support.readings import TRACK_RECORD, reading, shares


def view(mel: float = 0.0, **options: object) -> View:
    """The view of an image that is melanoma with this probability, and else a mole."""
    given = reading(shares(mel=mel), **options)  # type: ignore[arg-type]
    return answer.view_of(given, TRACK_RECORD, FAST)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0%"),
        (0.004, "under 1%"),
        (0.006, "1%"),
        (0.254, "25%"),
        (0.994, "99%"),
        (0.996, "over 99%"),
        (1.0, "100%"),
    ],
)
def test_whole_percents(share: float, text: str) -> None:
    assert whole_percent(share) == text


@pytest.mark.parametrize(
    ("cut", "share", "level", "text"),
    [
        (0.077, 0.0765, "8%", "7%"),
        (0.077, 0.0775, "8%", "8%"),
        (0.0803, 0.0802, "8%", "7%"),
        (0.0803, 0.0804, "8%", "8%"),
        (0.072, 0.0719, "7%", "6%"),
        (0.072, 0.0721, "7%", "7%"),
        (0.07, 0.07, "7%", "7%"),
    ],
)
def test_a_percentage_lies_on_the_side_of_its_zone(
    cut: float, share: float, level: str, text: str
) -> None:
    assert alarm_level(cut) == level
    assert whole_percent(share, (cut, 0.6)) == text


def test_percents_never_fall_where_the_probability_rises() -> None:
    texts = [Scale(step / 1000, 0.0803, 0.5902).percent for step in range(6, 995)]
    numbers = [int(text.rstrip("%")) for text in texts]
    assert numbers == sorted(numbers)


def test_words_of_each_zone() -> None:
    low, suspicious, high = view(0.02), view(0.3), view(0.9)
    assert (low.title, low.sentence) == ("Low suspicion", "Looks like a mole (98%).")
    assert suspicious.title == "Suspicious: cancer can't be ruled out"
    assert suspicious.sentence == "Most likely a mole (70%), but melanoma is possible (30%)."
    assert (high.title, high.sentence) == (
        "Highly suspicious for melanoma",
        "Most likely melanoma (90%).",
    )
    assert [one.word for one in (low, suspicious, high)] == [
        "low",
        "suspicious",
        "highly-suspicious",
    ]
    assert low.record == (
        "Of 100 test images in this zone,",
        "2 were cancer",
        " (suspicious: 19, highly suspicious: 74).",
    )
    assert suspicious.record is not None
    assert suspicious.record[:2] == ("Of 100 test images in this zone,", "19 were cancer")
    assert high.record is not None
    assert high.record[:2] == ("Of 100 test images in this zone,", "74 were cancer")


@pytest.mark.slow
def test_the_zone_never_falls_where_the_probability_rises() -> None:
    order = ("low", "suspicious", "highly suspicious")
    places = [order.index(view(step / 20).zone) for step in range(21)]
    assert places == sorted(places)
    assert set(places) == {0, 1, 2}


@pytest.mark.slow
def test_no_benign_class_is_the_answer_above_the_lower_cut() -> None:
    for step in range(5, 20):
        shown = view(step / 20)
        top = shown.likely[0]
        assert "mole" not in shown.title
        if not top.malignant:
            assert "but melanoma is possible" in shown.sentence
        assert any(row.malignant for row in shown.likely)
        assert shown.shown.removesuffix("|") in MALIGNANT
        assert "Looks like" not in shown.text


def test_the_meaning_states_the_record_in_whole_numbers() -> None:
    # 190 of 200 cancers, 520 of 1,300 harmless lesions; 200 of 1,500 images were cancer.
    words = " ".join(view(0.3).meaning)
    assert "From the alarm level (25%) on, an image is flagged." in words
    assert "caught 95 of 100 cancers. The price: 40 of 100 harmless lesions" in words
    assert "Of these test images, 13 of 100 were cancer." in words


def test_unlikely_classes_are_folded_but_never_the_one_that_is_explained() -> None:
    shown = answer.view_of(
        reading(shares(mel=0.04, bkl=0.3, vasc=0.01), malignancy=0.5), TRACK_RECORD, FAST
    )
    # The second model raises the zone; melanoma, the likeliest cancer, is explained.
    assert shown.zone == "suspicious"
    assert [row.name for row in shown.likely] == ["Mole", "Benign keratosis", "Melanoma"]
    assert shown.less_likely == "Four less likely diagnoses"
    assert [row.formal for row in shown.likely] == ["melanocytic nevus", "", ""]


def test_two_notes_stand_above_the_zone_and_others_below() -> None:
    concerns = (
        Concern("seen", "A copy."),
        Concern("blurred", "Blurred."),
        Concern("too-dark", "Dark."),
    )
    shown = view(0.3, concerns=concerns)
    assert shown.notes == ("A copy.", "Blurred.")
    assert ("Also", "Dark.") in shown.technical
    assert all(word in shown.text for word in ("A copy.", "Blurred.", "Dark."))


def test_a_low_zone_of_a_refused_image_is_no_good_news() -> None:
    shown = view(0.02, concerns=(Concern("not-dermatoscopic", "No."),))
    assert (shown.zone, shown.word, shown.record) == ("low", "none", None)
    assert shown.said == "This doesn't look like a dermatoscopic image."


def test_a_refusal_is_said_and_the_zone_stays_there() -> None:
    shown = view(0.9, concerns=(Concern("not-dermatoscopic", "No."),))
    assert shown.refused
    assert shown.said == (
        "This doesn't look like a dermatoscopic image. If it is one, the AI finds it highly "
        "suspicious."
    )
    assert shown.title == "Highly suspicious for melanoma"
    assert shown.text.startswith("This doesn't look like a dermatoscopic image.\nHighly suspicious")


def test_the_text_to_copy_and_the_record_to_save() -> None:
    shown = view(0.3)
    lines = shown.text.splitlines()
    assert lines[0] == f"{shown.title}. {shown.sentence}"
    assert lines[1] == "Estimated probability of cancer: 30% (alarm level 25%)."
    assert lines[2].startswith("Diagnoses: Mole 70%, Melanoma (malignant) 30%, ")
    assert "standard model" in lines[-1]
    assert "not a medical device" in lines[-1]
    record = json.loads(shown.record_json)
    assert (record["zone"], record["malignancy"], record["kind"]) == ("suspicious", 0.3, FAST)
    assert record["probabilities"]["mel"] == 0.3
    assert record["models"]["seven classes"] == ["lesion", "ab" * 32]
    assert record["notice"]
