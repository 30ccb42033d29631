"""The answer of the demo as HTML: the right figures, nothing that an upload can smuggle in, nothing from outside."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo import answer as words
from dermhub.classifier import Classifier, Explanation, Prediction
from dermhub.config import Threshold
from dermhub.drawings import draw
from dermhub.labels import LESION, plain_name

POINT = Threshold(0.25, "at least 95% sensitivity for malignancy")
TESTED = {"tp": 190, "fn": 10, "fp": 55, "tn": 245}
HOSTILE = "\"><script>alert('1')</script>&amp;"


class Page(HTMLParser):
    """What a browser makes of a piece of HTML: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of every tag that has the given ones."""
        return [a for t, a in self.tags if t == tag and attributes.items() <= a.items()]


def explanations(
    probabilities: dict[str, float], malignancy: float, threshold: float = 0.25, blank: tuple[str, ...] = ()
) -> dict[str, Explanation]:
    """What `Classifier.explain_all` gives, with chosen figures; the maps of the classes in `blank` are empty."""
    label = max(probabilities, key=lambda name: probabilities[name])
    prediction = Prediction(label, probabilities, malignancy, threshold, "sensitivity_95")
    image = draw(3, (60, 40), 0.5)
    evidence = np.eye(3, dtype=np.float32)
    return {
        name: Explanation(prediction, name, "", evidence * (name not in blank), image, (10, 0, 50, 40))
        for name in probabilities
    }


SEVEN = {"akiec": 0.02, "bcc": 0.03, "bkl": 0.1, "df": 0.01, "mel": 0.612, "nv": 0.22, "vasc": 0.008}


def answer(
    malignant: float = 0.734, lesion: dict[str, float] = SEVEN, second: float = 0.662, **options: Any
) -> tuple[str, Page]:
    """The answer for chosen probabilities, as it is sent and as a browser reads it."""
    binary = explanations({"benign": 1 - malignant, "malignant": malignant}, malignant)
    html = words.answer(binary, explanations(lesion, second, **options), POINT, TESTED)
    return html, Page(html)


def test_page_is_whole_before_and_while_an_image_is_read() -> None:
    assert Page(words.EMPTY).text == "The answer appears here."
    assert Page(words.WAITING).text == "Reading the image ..."
    assert Page(words.WAITING).all("p", role="status")


def test_problem_is_announced_and_escaped() -> None:
    html = words.problem(f"There is no file {HOSTILE}.")
    page = Page(html)
    assert [tag for tag, _ in page.tags] == ["div", "strong"]
    assert page.all("div", role="alert")
    assert page.text == f"No answer. There is no file {HOSTILE}."


def test_malignant_answer() -> None:
    _, page = answer()
    assert "Probability of malignancy: 73.4%" in page.text
    assert "At or above the operating point: called malignant." in page.text
    assert (
        "The operating point is 25.0% (at least 95% sensitivity for malignancy, chosen on validation images). "
        "On test images, the model also called 55 of 300 benign ones malignant."
    ) in page.text


def test_benign_answer() -> None:
    _, page = answer(malignant=0.2494)
    assert "Probability of malignancy: 24.9%" in page.text
    assert "Below the operating point: called benign." in page.text
    assert "On test images, the model called 10 of 200 malignant ones benign." in page.text
    assert "called malignant" not in page.text


def test_at_the_operating_point_is_malignant() -> None:
    assert "called malignant" in answer(malignant=0.25)[1].text


def test_bars_show_the_probability_and_the_operating_point() -> None:
    html, _ = answer()
    assert '<i style="width:73.40%"></i><b style="left:calc(25.00% - 1px)"></b>' in html
    assert '<i style="width:61.20%"></i></span>' in html


def test_seven_classes_are_ranked_with_their_names() -> None:
    _, page = answer()
    found = re.findall(r"([a-z /-]+?)(akiec|bcc|bkl|df|mel|nv|vasc)(\d+\.\d%)", page.text)
    ranked = ["mel", "nv", "bkl", "bcc", "akiec", "df", "vasc"]
    assert [code for _, code, _ in found] == ranked
    assert [share for *_, share in found] == ["61.2%", "22.0%", "10.0%", "3.0%", "2.0%", "1.0%", "0.8%"]
    assert [name.strip() for name, *_ in found][1:] == [plain_name(code) for code in ranked][1:]
    assert "melanoma" in page.text


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.7, 0.6, None),
        (0.1, 0.2, None),
        (0.7, 0.2, "gives its malignant classes together 20%, which is below its own operating point of 25%"),
        (0.1, 0.6, "gives its malignant classes together 60%, which is at or above its own operating point of 25%"),
        (0.1, 0.25, "which is at or above its own operating point of 25%"),
    ],
)
def test_disagreement_is_told_if_there_is_one(first: float, second: float, expected: str | None) -> None:
    _, page = answer(malignant=first, second=second)
    assert ("The two models disagree." in page.text) == (expected is not None)
    assert bool(page.all("div", role="alert")) == (expected is not None)
    assert (expected or "") in page.text


def test_map_of_the_predicted_class_is_chosen() -> None:
    _, page = answer()
    radios = page.all("input", type="radio")
    assert [radio["value"] for radio in radios] == [*LESION.classes, "benign", "malignant"]
    assert [radio["value"] for radio in radios if "checked" in radio] == ["mel", "malignant"]
    # Two groups: choosing among seven classes leaves the other choice alone.
    assert len({radio["name"] for radio in radios[:7]}) == len({radio["name"] for radio in radios[7:]}) == 1
    assert radios[0]["name"] != radios[-1]["name"]
    assert "melanoma (61%)" in page.text
    assert "malignant (73%)" in page.text


def test_every_class_has_a_map_and_a_rule_that_shows_it() -> None:
    _, page = answer()
    for name in (*LESION.classes, "benign", "malignant"):
        assert len(page.all("img", **{"class": f"heat of-{name}"})) == 1
        assert f'.derm-map:has(input[value="{name}"]:checked) .of-{name} {{display: block}}' in words.CSS


def test_class_without_evidence_says_so() -> None:
    _, page = answer(blank=("df", "nv"))
    assert not page.all("img", **{"class": "heat of-df"})
    assert page.all("p", **{"class": "blank of-df"})
    assert "Nothing in this image speaks for dermatofibroma." in page.text
    assert page.text.count("Nothing in this image speaks for") == 2


def test_every_picture_is_embedded_and_readable() -> None:
    html, page = answer()
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 7 + 1 + 2 + 1
    for source in sources:
        kind, _, content = source.removeprefix("data:image/").partition(";base64,")
        picture = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
        assert picture.format == kind.upper()
        assert picture.size == ((640, 427) if kind == "jpeg" else (320, 213))
    rest = re.sub(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"(https?:|//|url\(|file=|<script|<link|<iframe)", rest)
    assert all(image["alt"] for image in page.all("img"))


def test_hostile_class_names_stay_text() -> None:
    probabilities = {HOSTILE: 0.6, "' onload='x": 0.4}
    for blank in ((), tuple(probabilities)):
        html, page = answer(lesion=probabilities, blank=blank)
        assert "<script" not in html
        assert not any(name.startswith("on") and name != "oninput" for _, a in page.tags for name in a)
        assert [radio["value"] for radio in page.all("input", type="radio")][:2] == list(probabilities)
        assert page.text.count(HOSTILE) >= 2
    html = words.answer(
        explanations({"benign": 0.6, "malignant": 0.4}, 0.4),
        explanations(SEVEN, 0.6),
        Threshold(0.5, HOSTILE, HOSTILE),
        TESTED,
    )
    assert "<script" not in html
    assert Page(html).text.count(HOSTILE) == 2


def test_what_a_photo_tells_about_its_owner_is_not_sent_back(tiny_lesion_model: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    stream = io.BytesIO()
    draw(3, (90, 60), 0.5).save(stream, "JPEG", exif=exif, comment=b"SECRET comment", icc_profile=b"SECRET profile")
    assert stream.getvalue().count(b"SECRET") == 3
    lesion = Classifier(tiny_lesion_model).explain_all(stream.getvalue())
    # The photograph is taken from the first argument, the maps from both.
    html = words.answer(lesion, lesion, POINT, TESTED)
    for content in re.findall(r"base64,([A-Za-z0-9+/=]+)", html):
        assert b"SECRET" not in base64.b64decode(content)


def test_answer_of_real_models(tiny_binary_model: Path, tiny_lesion_model: Path, photo: Path) -> None:
    binary, lesion = (Classifier(folder).explain_all(photo) for folder in (tiny_binary_model, tiny_lesion_model))
    page = Page(words.answer(binary, lesion, POINT, TESTED))
    first, second = binary["benign"].prediction, lesion["mel"].prediction
    assert f"Probability of malignancy: {100 * first.malignancy:.1f}%" in page.text
    assert [r["value"] for r in page.all("input", type="radio") if "checked" in r] == [second.label, first.label]
    assert str(photo) not in page.text
    # Seven and two maps or a note for each without evidence, and the photo twice.
    assert len(page.all("img")) + page.text.count("Nothing in this image speaks for") == 7 + 2 + 2


@pytest.mark.parametrize("size", [(32, 640), (640, 32), (33, 33)])
def test_answer_for_images_of_odd_shape(tiny_binary_model: Path, size: tuple[int, int]) -> None:
    binary = Classifier(tiny_binary_model).explain_all(draw(1, size, 0.5))
    page = Page(words.answer(binary, explanations(SEVEN, 0.6), POINT, TESTED))
    assert page.all("img", alt="The uploaded image")
