"""The maps of an answer: one for every class and pair, the right one shown, words for each."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from demo.page import maps
from demo.page.view import ClassMap
from demo.reading import Reading
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.models.explanation import Explanation
from tests.support.readings import SEVEN, reading, shares


def maps_of(**options: object) -> dict[str, ClassMap]:
    """The maps of a reading by their keys, in order."""
    given = reading(**options)  # type: ignore[arg-type]
    return {one.key: one for one in maps.class_maps(given, given.assessment)}


def opened(address: str) -> Image.Image:
    """The picture that an address holds."""
    return Image.open(io.BytesIO(base64.b64decode(address.partition(";base64,")[2])))


def test_every_class_and_every_pair_has_its_map() -> None:
    pairs = [f"{a}|{b}" for a in SEVEN for b in SEVEN if a != b]
    expected = [*(f"{a}|" for a in SEVEN), *pairs, "benign|", "malignant|"]
    assert sorted(maps_of()) == sorted(expected)


def test_the_first_map_explains_the_zone_and_the_second_the_likeliest_class() -> None:
    suspicious = maps_of(lesion=shares(mel=0.3))
    assert [(one.key, one.button) for one in list(suspicious.values())[:2]] == [
        ("mel|", "Why suspicious?"),
        ("nv|", "Why a mole?"),
    ]
    low = maps_of(lesion=shares(mel=0.1))
    assert [one.key for one in low.values() if one.button] == ["nv|"]
    assert low["nv|"].button == "Why a mole?"
    high = maps_of(lesion=shares(bcc=0.9))
    assert [(one.key, one.button) for one in high.values() if one.button] == [
        ("bcc|", "Why suspicious?")
    ]


def test_what_is_said_below_a_map_tells_where_it_lies() -> None:
    # The diagonal has a third of its energy on the lesion, which covers a quarter of the view.
    lies = "It lies on the lesion (white line) and around it."
    assert maps_of()["mel|"].caption == f"Yellow: what counted most for melanoma. {lies}"
    assert maps_of()["mel|nv"].caption == (
        f"Yellow: what counted most for melanoma and against a mole. {lies}"
    )
    beside = maps_of(outside=True)["mel|"].caption
    assert beside.endswith("Most of it lies beside the lesion (white line): be careful.")
    assert maps_of()["mel|"].alt == f"Map over the image. {maps_of()['mel|'].caption}"


def test_a_map_without_evidence_says_so() -> None:
    blank = maps_of(blank=("df", "nv"))
    assert (blank["df|"].picture, blank["nv|mel"].picture) == ("", "")
    assert blank["df|"].caption == "Nothing in this image speaks for a dermatofibroma."
    assert blank["nv|mel"].caption == (
        "Nothing in this image speaks for a mole rather than melanoma."
    )


@pytest.mark.parametrize(("key", "size"), [("mel|", (64, 43)), ("mel|nv", (32, 21))])
def test_sizes_of_the_pictures(key: str, size: tuple[int, int]) -> None:
    assert opened(maps_of()[key].picture).size == size


def test_the_photograph_is_as_wide_as_every_other() -> None:
    address, size = maps.photograph(reading())
    assert size == opened(address).size == (640, 427)


@pytest.mark.parametrize(
    ("size", "shown", "heat"),
    [
        # The longest side is 1.5 times the width of others: 960 and about 96 pixels.
        ((40, 800), (48, 960), (5, 100)),
        ((800, 40), (640, 32), (64, 3)),
        # A phone's photograph, upright, is as wide as every other.
        ((300, 400), (640, 853), (64, 85)),
    ],
)
def test_strips_are_no_larger_than_other_photographs(
    size: tuple[int, int], shown: tuple[int, int], heat: tuple[int, int]
) -> None:
    given = resized(reading(), size)
    assert maps.photograph(given)[1] == shown
    assert opened(maps.outline(given)).size == shown
    (first, *_) = maps.class_maps(given, given.assessment)
    assert opened(first.picture).size == heat


def resized(given: Reading, size: tuple[int, int]) -> Reading:
    """A reading of an image of another size, all of which its models saw."""

    def of_size(each: Explanation) -> Explanation:
        return replace(each, photo=Photo(draw(3, size, 0.5)), view=(0, 0, *size))

    return Reading(
        {key: of_size(each) for key, each in given.binary.items()},
        {key: of_size(each) for key, each in given.lesion.items()},
    )


def test_a_photograph_of_about_the_width_is_not_scaled() -> None:
    shown = {(479, 300): (640, 401), (480, 300): (480, 300), (640, 9): (640, 9), (641, 2): (640, 2)}
    assert {size: maps.shown_size(size) for size in shown} == shown
    image = Image.new("RGB", (600, 450))
    assert maps.shrunk(image) is image


def test_the_outline_runs_around_the_lesion() -> None:
    line = np.asarray(opened(maps.outline(reading())).convert("LA"))[..., 1] > 200
    # The lesion of the drawing, 20 x 20 of 60 x 40, from (20, 10) on, in a picture of 640 x 427.
    ys, xs = np.nonzero(line)
    assert (xs.min(), xs.max()) == (pytest.approx(213, abs=8), pytest.approx(427, abs=8))
    assert (ys.min(), ys.max()) == (pytest.approx(107, abs=8), pytest.approx(320, abs=8))
    # Nothing is drawn in its middle.
    assert not line[180:250, 280:360].any()
