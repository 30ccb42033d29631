"""The answer as HTML: the right figures, and nothing from an upload or from outside."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter, ImageOps

from demo.page import answer, html
from demo.reading import Reading
from dermhub.concern import Concern
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from dermhub.tasks import LESION, plain_name
from dermhub.zones import Threshold
from tests.support.readings import HOSTILE, SEVEN, Page, reading

POINT = Threshold(0.25, "at least 95% sensitivity for malignancy")
TESTED = {"tp": 190, "fn": 10, "fp": 1055, "tn": 245}


def page_of(given: Reading | None = None, **options: Any) -> Page:
    """The answer for a reading, as a browser sees it."""
    return Page(answer.as_html(given or reading(**options), POINT, TESTED))


def test_before_and_while_an_image_is_read() -> None:
    assert Page(answer.EMPTY).text.startswith("The answer appears here.")
    assert (
        "a close-up through a dermatoscope, not an ordinary photograph" in Page(answer.EMPTY).text
    )
    assert "Reading the image" in Page(answer.waiting(True)).text
    assert "Loading the models" in Page(answer.waiting(False)).text
    assert Page(answer.waiting(True)).all("p", role="status")
    assert "confirm that this is research software" in Page(answer.ASK).text


def test_problem_is_announced_and_escaped() -> None:
    page = Page(html.problem(f"There is no file {HOSTILE}."))
    assert [tag for tag, _ in page.tags] == ["div", "strong"]
    assert page.all("div", role="alert")
    assert page.text == f"No answer. There is no file {HOSTILE}."
    assert page.of("data-say") == [page.text]


def test_malignant_answer() -> None:
    page = page_of()
    assert "Probability of malignancy: 73.4%" in page.text
    assert "At or above the operating threshold of 25.0%: called malignant." in page.text
    assert (
        "The threshold stands for at least 95% sensitivity for malignancy, chosen on validation "
        "images. On test images, the model called 1,055 of 1,300 images of benign lesions "
        "malignant."
    ) in page.text
    assert page.of("data-say") == [
        "Probability of malignancy 73.4%. At or above the operating threshold of 25.0%: called "
        "malignant."
    ]


def test_benign_answer() -> None:
    page = page_of(malignancy=0.2494, second=0.1)
    assert "Probability of malignancy: 24.9%" in page.text
    assert "Below the operating threshold of 25.0%: called benign." in page.text
    assert (
        "On test images, the model called 10 of 200 images of malignant lesions benign."
        in page.text
    )
    assert "called malignant" not in page.text


def test_at_the_operating_threshold_is_malignant() -> None:
    assert "called malignant" in page_of(malignancy=0.25).text


def test_bars_show_the_probability_and_the_threshold() -> None:
    text = answer.as_html(reading(), POINT, TESTED)
    assert '<i style="width:73.40%"></i><b style="left:calc(25.00% - 1px)"></b>' in text
    assert '<i style="width:61.20%"></i></span>' in text


def test_seven_classes_are_ranked_with_their_names() -> None:
    text = page_of().text
    classes = re.findall(r"([a-z /-]+?)(akiec|bcc|bkl|df|mel|nv|vasc)(\d+\.\d%)", text)
    ranked = ["mel", "nv", "bkl", "bcc", "akiec", "df", "vasc"]
    assert [code for _, code, _ in classes] == ranked
    assert [share for *_, share in classes] == [
        "61.2%",
        "22.0%",
        "10.0%",
        "3.0%",
        "2.0%",
        "1.0%",
        "0.8%",
    ]
    assert [name.strip() for name, *_ in classes][1:] == [plain_name(code) for code in ranked][1:]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("mel",), "What remains possible: melanoma (mel)."),
        (("mel", "nv"), "What remains possible: melanoma or melanocytic nevus (mel or nv)."),
        (("nv", "mel", "df"), ": melanocytic nevus, melanoma or dermatofibroma (nv, mel or df)."),
        ((), "What remains possible: none of the seven classes."),
    ],
)
def test_the_prediction_set_in_words(names: tuple[str, ...], words: str) -> None:
    page = page_of(conformal=names, conformal_level=0.9)
    assert words in page.text
    assert "the right class of 90% of the lesions of each class" in page.text
    assert "remains possible" not in page_of().text


STATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "evidence beside the lesion": (
        {"outside": True},
        "No confident answer: the evidence lies in the wrong place",
        "The model looked outside the lesion: only",
    ),
    "another kind of image": (
        {"concerns": (Concern("not-dermatoscopic", "It resembles no dermatoscopic image."),)},
        "No answer: this does not look like a dermatoscopic image",
        "It resembles no dermatoscopic image.",
    ),
    "poor quality": (
        {"concerns": (Concern("blurred", "The image is blurred: take a sharp one."),)},
        "No confident answer: the image is not good enough",
        "The image is blurred: take a sharp one.",
    ),
    "seen before": (
        {"concerns": (Concern("seen", "A training image looks the same."),)},
        "No fair answer: the models know this image",
        "A training image looks the same.",
    ),
    "every class possible": (
        {"conformal": tuple(SEVEN), "conformal_level": 0.9},
        "No confident answer: the diagnosis stays open",
        "The model can't rule out any class.",
    ),
    "no class possible": (
        {"conformal": (), "conformal_level": 0.9},
        "No confident answer: the diagnosis stays open",
        "The image is not typical of any class that the model knows.",
    ),
    "disagreement": (
        {"second": 0.2},
        "No confident answer: the two models disagree",
        "gives its malignant classes together 20.0%, which is below its own operating threshold of "
        "25.0%",
    ),
}
"""State -> the reading that has it, the headline, words of the reason."""


@pytest.mark.parametrize("state", STATES)
def test_a_worded_state_replaces_the_answer(state: str) -> None:
    options, headline, words = STATES[state]
    text = answer.as_html(reading(**options), POINT, TESTED)
    shown, folded = text.split("<details", 1)
    page = Page(shown)
    assert page.all("section", role="alert")
    assert headline in page.text
    assert words in page.text
    assert page.of("data-say") == [headline]
    # Nothing beside the headline says what the image is; what was computed is folded away.
    assert not re.search(r"Probability|called|melanoma|%\s*</h2>", page.text.replace(words, ""))
    assert "open" not in Page("<details" + folded).tags[0][1]
    assert "Probability of malignancy: 73.4%" in folded
    assert not re.search("called (malignant|benign)", folded)


def test_the_gravest_reason_is_the_headline_and_the_others_follow() -> None:
    concerns = (
        Concern("seen", "A copy."),
        Concern("too-dark", "Too dark."),
        Concern("blurred", "Blurred."),
    )
    page = page_of(second=0.2, concerns=concerns)
    order = [
        "the image is not good enough",
        "Too dark.",
        "Blurred.",
        "the models know this image",
        "A copy.",
        "disagree",
    ]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert page.text.count("Too dark.") == page.text.count("the image is not good enough") == 1


@pytest.mark.parametrize(
    ("damaged", "words"),
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
def test_a_poor_image_has_no_confident_answer(
    tiny_binary_model: Path, tiny_lesion_model: Path, damaged: Image.Image, words: str
) -> None:
    poor_reading = read_by(tiny_binary_model, tiny_lesion_model, damaged)
    poor = [reason for reason in poor_reading.reasons if reason.code == "quality"]
    assert [reason.sentence[: len(words)] for reason in poor] == [words]
    page = page_of(poor_reading)
    assert page.of("data-say") == ["No confident answer: the image is not good enough"]
    assert poor[0].sentence in page.text


def test_an_image_of_another_kind_needs_no_other_reason() -> None:
    page = page_of(second=0.2, concerns=(Concern("not-dermatoscopic", "A cat."),))
    assert "A cat." in page.text
    assert "disagree" not in page.text


def test_the_notice_stands_beside_every_answer() -> None:
    for options in ({}, {"second": 0.2}):
        assert "Research software, not a medical device." in page_of(**options).text  # type: ignore[arg-type]


def test_every_picture_is_embedded_and_readable() -> None:
    text = answer.as_html(reading(), POINT, TESTED)
    sources = [image["src"] for image in Page(text).all("img")]
    assert len(sources) == 1 + 7 * 7 + 2
    for source in sources:
        kind, _, content = source.removeprefix("data:image/").partition(";base64,")
        assert (
            Image.open(io.BytesIO(base64.b64decode(content, validate=True))).format == kind.upper()
        )
    rest = re.sub(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"(https?:|//|url\(|file=|<script|<link|<iframe)", rest)
    assert all(image["alt"] for image in Page(text).all("img"))


def test_hostile_class_names_stay_text() -> None:
    names = {HOSTILE: 0.6, "' onload='x": 0.4}
    for blank in ((), tuple(names)):
        text = answer.as_html(
            reading(lesion=names, blank=blank, conformal=(HOSTILE,), conformal_level=0.9),
            POINT,
            TESTED,
        )
        page = Page(text)
        assert "<script" not in text
        assert not any(name.startswith("on") for _, a in page.tags for name in a)
        assert page.text.count(HOSTILE) >= 2
    text = answer.as_html(reading(), Threshold(0.5, HOSTILE, HOSTILE), TESTED)
    assert "<script" not in text
    assert Page(text).text.count(HOSTILE) == 2
    text = answer.as_html(reading(concerns=(Concern("seen", HOSTILE),)), POINT, TESTED)
    assert "<script" not in text
    assert Page(text).text.count(HOSTILE) == 1


def read_by(binary: Path, lesion: Path, image: Path | bytes | Image.Image) -> Reading:
    """The reading of two model folders."""
    return Reading(Classifier(binary).explain_all(image), Classifier(lesion).explain_pairs(image))


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
    text = answer.as_html(
        read_by(tiny_binary_model, tiny_lesion_model, stream.getvalue()), POINT, TESTED
    )
    for content in re.findall(r"base64,([A-Za-z0-9+/=]+)", text):
        assert b"SECRET" not in base64.b64decode(content)


def test_answer_of_real_models(
    tiny_binary_model: Path, tiny_lesion_model: Path, photo: Path
) -> None:
    photo_reading = read_by(tiny_binary_model, tiny_lesion_model, photo)
    page = page_of(photo_reading)
    assert f"Probability of malignancy: {100 * photo_reading.first.malignancy:.1f}%" in page.text
    assert str(photo) not in page.text
    assert [o["value"] for o in page.all("option") if "selected" in o] == [
        photo_reading.second.label
    ]
    assert {code for code in LESION.classes if code in page.text} == set(LESION.classes)


@pytest.mark.parametrize("size", [(32, 640), (640, 32), (33, 33)])
def test_answer_for_images_of_odd_shape(
    tiny_binary_model: Path, tiny_lesion_model: Path, size: tuple[int, int]
) -> None:
    page = page_of(read_by(tiny_binary_model, tiny_lesion_model, draw(1, size, 0.5)))
    assert page.all("img", alt="The uploaded image")
