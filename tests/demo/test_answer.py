"""The answer as HTML: the right figures, and nothing from an upload or from outside."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter, ImageOps

from demo.models import FAST, TrackRecord
from demo.page import answer, html
from demo.reading import Reading
from dermhub.images.concern import Concern
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from dermhub.tasks import LESION
from tests.support.readings import HOSTILE, SEVEN, TRACK_RECORD, Page, reading, shares


def html_of(given: Reading | None = None, **options: Any) -> str:
    """The answer for a reading."""
    return answer.answer(given or reading(**options), TRACK_RECORD, FAST)


def page_of(given: Reading | None = None, **options: Any) -> Page:
    """The answer for a reading, as a browser sees it."""
    return Page(html_of(given, **options))


def words(page: Page) -> str:
    """The text of a page with single blanks."""
    return re.sub(r"\s+", " ", page.text)


def test_problem_is_announced_and_escaped() -> None:
    page = Page(html.problem(f"There is no file {HOSTILE}.", html.CANT_OPEN))
    assert [tag for tag, _ in page.tags] == ["div", "h2", "p"]
    assert page.all("div", role="alert")
    assert page.text.strip() == f"We couldn't open this fileThere is no file {HOSTILE}."
    assert page.of("data-say") == [f"We couldn't open this file. There is no file {HOSTILE}."]


def test_a_suspicious_image() -> None:
    page = page_of(lesion=shares(mel=0.3))
    text = words(page)
    assert "Suspicious: cancer can't be ruled out" in text
    assert "Most likely a mole (70%), but melanoma is possible (30%)." in text
    assert (
        "Of 100 test images in this zone, 19 were cancer (low: 2, highly suspicious: 74)." in text
    )
    assert page.all("section", **{"class": "derm-verdict derm-zone-suspicious"})
    assert page.of("data-say") == [
        "Suspicious: cancer can't be ruled out. Most likely a mole (70%), but melanoma is possible "
        "(30%)."
    ]
    (scale,) = page.all("div", role="img")
    assert scale["aria-label"] == (
        "Estimated probability of cancer 30%; suspicious from 25% on, highly suspicious from 60% on"
    )


def test_one_probability_of_malignancy_stands_in_the_answer() -> None:
    # The binary model's own is a technical detail.
    page = page_of(lesion=shares(mel=0.3), malignancy=0.41)
    shown, technical = page.text.split("Technical details")
    assert "41%" not in shown
    assert "0.4100" in technical


def test_models_that_differ_show_the_higher_and_say_so() -> None:
    text = words(page_of(lesion=shares(mel=0.12), malignancy=0.41))
    assert "Our two models differ: 12% and 41%. We show the higher." in text
    assert "Suspicious: cancer can't be ruled out" in text


def test_bars_and_marks_stand_where_the_figures_are() -> None:
    text = html_of(lesion=shares(mel=0.3))
    assert '<i style="width:70.0%"></i>' in text
    assert '<i style="width:30.0%"></i>' in text
    assert 'style="--at:0.3000"' in text
    assert 'style="--low:0.2500;--high:0.6000"' in text


def test_diagnoses_are_ranked_with_a_tag_and_a_line() -> None:
    text = words(page_of()).split("Possible diagnoses")[1]
    names = ["Melanoma", "Mole (melanocytic nevus)", "Benign keratosis", "Basal cell carcinoma"]
    names += ["Actinic keratosis or Bowen's disease", "Dermatofibroma"]
    places = [text.index(name) for name in names]
    assert places == sorted(places)
    assert re.findall(r"(\d+%|under 1%)", text)[:7] == ["61%", "22%", "10%", "3%", "2%", "1%", "1%"]
    assert text.count(" malignant") >= 3
    assert "A harmless spot of pigment cells" in text
    # Of the seven, four have less than 5%.
    assert text.index("Benign keratosis") < text.index("Four less likely diagnoses")
    assert text.index("Four less likely diagnoses") < text.index("Basal cell carcinoma")


STATES: dict[str, tuple[dict[str, Any], str]] = {
    "evidence beside the lesion": (
        {"outside": True},
        "The AI looked beside the lesion. Be careful with this result.",
    ),
    "poor quality": (
        {"concerns": (Concern("blurred", "The image is blurred."),)},
        "The image is blurred.",
    ),
    "seen before": (
        {"concerns": (Concern("seen", "This image was used in training."),)},
        "This image was used in training.",
    ),
    "every class possible": (
        {"conformal": tuple(SEVEN), "conformal_level": 0.9},
        "It could also be",
    ),
    "disagreement": ({"malignancy": 0.2}, "Our two models differ: 20% and 66%."),
}
"""State -> the reading that has it, words of its note."""


@pytest.mark.parametrize("state", STATES)
def test_doubt_is_a_note_beside_the_zone(state: str) -> None:
    options, said = STATES[state]
    page = page_of(**options)
    text = words(page)
    assert said in text
    if state == "every class possible":
        assert text.index(said) > text.index("Possible diagnoses")
    else:
        assert text.index(said) < text.index("Highly suspicious for melanoma")
    assert "refused" not in " ".join(page.of("class"))
    assert any(value == "check" for value in page.of("data-do"))


def test_a_refusal_stands_in_front_and_offers_no_check() -> None:
    page = page_of(concerns=(Concern("not-dermatoscopic", "It resembles none."),))
    text = words(page)
    assert page.all("section", role="alert")
    assert text.index("This doesn't look like a dermatoscopic image") < text.index("Highly susp")
    assert "derm derm-answer derm-refused" in page.of("class")
    assert "anyway" in page.of("data-do")
    assert "check" not in page.of("data-do")
    said = "If it is one, the AI finds it highly suspicious."
    assert page.of("data-say") == [f"This doesn't look like a dermatoscopic image. {said}"]
    assert said in text


def read_by(binary: Path, lesion: Path, image: Path | bytes | Image.Image) -> Reading:
    """The reading of two model folders."""
    return Reading(Classifier(binary).explain_all(image), Classifier(lesion).explain_pairs(image))


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (draw(3, (96, 72)), "The image is too small (96 x 72 pixels)"),
        (draw(3).filter(ImageFilter.GaussianBlur(2)), "The image is blurred"),
        (draw(3).point(lambda value: value // 3), "The image is too dark"),
        (draw(3).point(lambda value: min(value * 2, 255)), "The image is overexposed"),
        (ImageOps.expand(draw(3), 40), "A dark rim covers"),
        (
            draw(3).crop((0, 0, 200, 20)).resize((200, 150)).effect_spread(2),
            "We couldn't find the outline of a lesion",
        ),
    ],
)
def test_a_poor_image_has_a_zone_and_a_note(
    tiny_binary_model: Path, tiny_lesion_model: Path, damaged: Image.Image, said: str
) -> None:
    poor = read_by(tiny_binary_model, tiny_lesion_model, damaged)
    text = words(page_of(poor))
    assert said in text.split("Possible diagnoses")[0]
    assert poor.assessment.title in text


def test_the_notice_goes_with_every_answer() -> None:
    for options in ({}, {"malignancy": 0.2}):
        page = page_of(**options)  # type: ignore[arg-type]
        assert html.NOTICE in page.text
        assert html.NOTICE in page.of("data-text")[0]
        assert json.loads(page.of("data-record")[0])["notice"] == html.NOTICE


def test_every_picture_is_embedded_and_readable() -> None:
    text = html_of()
    sources = [image["src"] for image in Page(text).all("img") if "src" in image]
    # The photograph, its outline, 7 x 7 maps of seven classes, and two of the binary model.
    assert len(sources) == 2 + 7 * 7 + 2
    for source in sources:
        kind, _, content = source.removeprefix("data:image/").partition(";base64,")
        assert (
            Image.open(io.BytesIO(base64.b64decode(content, validate=True))).format == kind.upper()
        )
    rest = re.sub(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"(https?:|//|url\(|file=|<script|<link|<iframe)", rest)
    named = [image for image in Page(text).all("img") if image["class"] != "derm-outline"]
    assert all(image["alt"] for image in named)


def test_hostile_words_stay_text() -> None:
    hostile = TrackRecord(TRACK_RECORD.tested, {}, {HOSTILE: (HOSTILE, HOSTILE)})
    given = reading(concerns=(Concern("seen", HOSTILE),))
    text = answer.answer(given, hostile, FAST)
    page = Page(text)
    assert "<script" not in text
    assert not any(name.startswith("on") for _, tag in page.tags for name in tag)
    # As a note, and as the name of a model.
    assert page.text.count(HOSTILE) >= 3


def test_what_a_photo_tells_about_its_owner_is_not_sent_back(
    tiny_binary_model: Path, tiny_lesion_model: Path
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    stream = io.BytesIO()
    draw(3, (90, 60), 0.5).save(
        stream, "JPEG", exif=exif, comment=b"SECRET comment", icc_profile=b"SECRET profile"
    )
    assert stream.getvalue().count(b"SECRET") == 3
    text = html_of(read_by(tiny_binary_model, tiny_lesion_model, stream.getvalue()))
    for content in re.findall(r"base64,([A-Za-z0-9+/=]+)", text):
        assert b"SECRET" not in base64.b64decode(content)


def test_answer_of_real_models(
    tiny_binary_model: Path, tiny_lesion_model: Path, photo: Path
) -> None:
    photo_reading = read_by(tiny_binary_model, tiny_lesion_model, photo)
    page = page_of(photo_reading)
    assert photo_reading.assessment.title in page.text
    assert f"{photo_reading.assessment.malignancy:.4f}" in page.text
    assert str(photo) not in page.text
    chosen = [option["value"] for option in page.all("option") if "selected" in option]
    assert chosen == [photo_reading.assessment.explained]
    assert {code for code in LESION.classes if code in page.text} == set(LESION.classes)


@pytest.mark.parametrize("size", [(32, 640), (640, 32), (33, 33)])
def test_answer_for_images_of_odd_shape(
    tiny_binary_model: Path, tiny_lesion_model: Path, size: tuple[int, int]
) -> None:
    page = page_of(read_by(tiny_binary_model, tiny_lesion_model, draw(1, size, 0.5)))
    assert len(page.all("img", alt="The image")) == 2
