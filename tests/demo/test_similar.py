"""Similar cases on the page and in the API: folded, escaped, credited, and none of a refusal."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from demo.api import Api
from demo.models import FAST, Pair
from demo.page import answer
from demo.page.html import NOTICE
from demo.read_upload import Uploads
from demo.reading import Reading, read
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.images.drawn_lesions import draw
from dermhub.models.beside.similar_cases import HAM10000, Case, SimilarCases
from dermhub.models.classifier import Classifier
from tests.support.one_pair import OnePair
from tests.support.readings import HOSTILE, TRACK_RECORD, Page, reading, shares

CASES = (
    Case("ISIC_0024306", "HAM_1", "mel", "histo", 0.3, b"picture"),
    Case("ISIC_0024307", "HAM_2", "nv", "follow_up", 0.4, b"picture"),
    Case(HOSTILE, "HAM_3", HOSTILE, HOSTILE, 0.5, b"picture"),
)


def with_cases(cases: tuple[Case, ...] = CASES, **options: object) -> Reading:
    """A reading of a mole with similar cases."""
    given = reading(shares(mel=0.3), **options)  # type: ignore[arg-type]
    return dataclasses.replace(given, similar=SimilarCases(given.second, cases, HAM10000))


def page_of(given: Reading) -> Page:
    """The answer for a reading, as a browser sees it."""
    return Page(answer.answer(given, TRACK_RECORD, FAST))


def test_cases_are_folded_and_named_in_words() -> None:
    page = page_of(with_cases(CASES[:2]))
    text = re.sub(r"\s+", " ", page.text)
    assert "Similar cases: 1 of 2 is a melanoma, 1 is a mole" in text
    assert "1 of the 2 is biopsy-proven." in text
    assert "Melanoma malignant" in text
    assert "unchanged at follow-up" in text
    assert f"Pictures: {HAM10000}." in text
    # Half of them: a contradiction, which is seen without a click.
    assert "Only 1 of the 2 most similar cases is a mole, the likeliest diagnosis here" in text
    assert page.all("a", target="_blank", rel="noopener noreferrer")[0]["href"] == (
        "https://api.isic-archive.com/images/ISIC_0024306/"
    )
    buttons = [tag for tag in page.all("button") if "data-case" in tag]
    assert [button["aria-label"] for button in buttons] == [
        "Enlarge case 1: Melanoma, biopsy-proven",
        "Enlarge case 2: Mole, unchanged at follow-up",
    ]
    (copied,) = page.of("data-text")
    assert "Similar cases: 1 of 2 is a melanoma, 1 is a mole." in copied
    (saved,) = page.of("data-record")
    assert json.loads(saved)["similar"]["counts"] == {"mel": 1, "nv": 1}


def test_texts_of_an_index_are_escaped() -> None:
    page = page_of(with_cases())
    assert page.all("script") == []
    assert HOSTILE in page.text


def test_without_an_index_there_is_no_fold() -> None:
    for given in (reading(shares(mel=0.3)), with_cases(())):
        page = page_of(given)
        assert "Similar cases" not in page.text
        (copied,) = page.of("data-text")
        assert "Similar cases" not in copied


def test_a_refused_image_keeps_its_cases_behind_the_button() -> None:
    given = with_cases(CASES[:2], concerns=(Concern(NOT_DERMATOSCOPIC, "No."),))
    page = page_of(given)
    # The style sheet hides all beside the refusal until "Show the result anyway".
    assert page.all("article", **{"class": "derm derm-answer derm-refused"})
    (copied,) = page.of("data-text")
    assert "Similar cases" not in copied
    assert "similar" not in json.loads(page.of("data-record")[0])


@pytest.fixture(scope="module")
def pair(tiny_binary_model: Path, indexed_model: Path) -> Pair:
    """Two tiny models, the second with an index."""
    return Pair(Classifier(tiny_binary_model), Classifier(indexed_model))


def test_the_page_finds_what_the_classifier_finds(pair: Pair) -> None:
    image = draw(20, (72, 64), 0.6)
    given = read(pair, image)  # type: ignore[arg-type]
    expected = pair.lesion.similar(image)
    assert given.similar is not None
    assert given.similar.summary == expected.summary
    assert [case.image_id for case in given.similar.cases] == [
        case.image_id for case in expected.cases
    ]
    # PyTorch may round another forward pass otherwise, and a code of 8 bits then moves by one.
    assert [case.distance for case in given.similar.cases] == pytest.approx(
        [case.distance for case in expected.cases], abs=0.02
    )


def test_the_api_gives_plain_values(pair: Pair, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    draw(20, (72, 64), 0.6).save(photo)
    api = Api(OnePair(pair), Uploads(tmp_path))
    expected = pair.lesion.similar(photo, 3)
    # A whole number may come as a float.
    for number in (3, 3.0):
        record = api.similar(str(photo), number)
        assert record == {**expected.to_dict(), "notice": NOTICE}
    pictures = api.similar(str(photo), 3, pictures=True)["cases"]
    assert [case["thumbnail"] for case in pictures] == [case.data_uri for case in expected.cases]
    for wrong in (0, 51, 2.5, None):
        said = api.similar(str(photo), wrong)["error"]  # type: ignore[arg-type]
        assert said.endswith("expected a whole number from 1 to 50.")
    assert "error" in api.similar(None)


def test_the_api_says_that_a_model_has_no_index(
    tiny_binary_model: Path, tiny_lesion_model: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    draw(20, (72, 64), 0.6).save(photo)
    bare = Pair(Classifier(tiny_binary_model), Classifier(tiny_lesion_model))
    record = Api(OnePair(bare), Uploads(tmp_path)).similar(str(photo))
    assert "has no index of similar cases" in record["error"]
    assert record["notice"] == NOTICE
