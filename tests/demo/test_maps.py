"""The maps of an answer: one for every class and pair, the right one shown, words for each."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from demo.page import maps
from tests.support.readings import SEVEN, Page, reading


def page_of(**options: object) -> Page:
    """The maps of a reading, as a browser sees them."""
    return Page(maps.maps(reading(**options)))  # type: ignore[arg-type]


def test_every_class_and_every_pair_has_its_map() -> None:
    keys = [image["data-of"] for image in page_of().all("img") if "data-of" in image]
    pairs = [f"{a}|{b}" for a in SEVEN for b in SEVEN if a != b]
    assert keys == [*(f"{a}|" for a in SEVEN), *pairs, "benign|", "malignant|"]


def test_the_map_of_the_predicted_class_is_shown() -> None:
    page = page_of()
    shown = [a["data-of"] for _, a in page.tags if "on" in a.get("class", "").split()]
    assert shown == ["mel|", "mel|"]  # the picture, and the line below it
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["mel"]


def test_what_can_be_chosen() -> None:
    page = page_of()
    ranked = ["mel", "nv", "bkl", "bcc", "akiec", "df", "vasc"]
    assert [option["value"] for option in page.all("option")] == [
        *ranked,
        "benign",
        "malignant",
        "",
        *ranked,
    ]
    assert "melanoma (61%)" in page.text
    assert "malignant (73%)" in page.text


def test_alternative_texts_state_the_result() -> None:
    texts = {image.get("data-of", ""): image["alt"] for image in page_of().all("img")}
    verdict = (
        "36% of the evidence lies inside the central lesion, which covers 25% of what the model "
        "saw."
    )
    assert texts["mel|"] == f"Heat map of the evidence for melanoma, probability 61%. {verdict}"
    assert (
        texts["mel|nv"]
        == f"Heat map of what speaks for melanoma and against melanocytic nevus. {verdict}"
    )
    assert (
        texts["malignant|"] == f"Heat map of the evidence for malignant, probability 73%. {verdict}"
    )
    assert texts[""] == "The uploaded image"


def test_what_is_said_below_a_map_judges_it() -> None:
    assert "Not to be relied on." not in page_of().text
    assert (
        page_of().text.count(
            "lies inside the central lesion, which covers 25% of what the model saw."
        )
        == 7 * 7 + 2
    )
    text = page_of(outside=True).text
    assert text.count("Not to be relied on. Shown: ") == 7 * 7 + 2
    # The page shows one answer of each model; every other map is only a map.
    assert text.count("do not rely on this answer.") == 2
    assert text.count("do not rely on this map.") == 7 * 7


def test_a_map_without_evidence_says_so() -> None:
    page = page_of(blank=("df", "nv"))
    assert not [
        image for image in page.all("img") if image.get("data-of", "").startswith(("df|", "nv|"))
    ]
    assert "Nothing in this image speaks for dermatofibroma." in page.text
    assert "Nothing in this image speaks for melanocytic nevus rather than melanoma." in page.text
    assert page.text.count("Nothing in this image speaks for") == 2 * 7


@pytest.mark.parametrize(
    ("key", "size"), [("", (640, 427)), ("mel|", (160, 107)), ("mel|nv", (64, 43))]
)
def test_sizes_of_the_pictures(key: str, size: tuple[int, int]) -> None:
    (image,) = [image for image in page_of().all("img") if image.get("data-of", "") == key]
    content = base64.b64decode(image["src"].partition(";base64,")[2])
    assert Image.open(io.BytesIO(content)).size == size


def test_controls_have_labels() -> None:
    page = page_of()
    assert len(page.all("select")) == 2
    assert page.all("input", type="range")[0]["aria-label"] == "Opacity of the map in percent"
