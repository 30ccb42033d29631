"""Odd and hostile files against the library: each is read, or refused in the sentence it states."""

from __future__ import annotations

import pytest

from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb
from tests.support import odd_files

SLOW = {
    "GIF of a million frames",
    "JPEG of a thousand scans",
    "PNG, 400 megapixels",
    "PNG, 200 MB of comment",
}
"""Kinds of files that take long to make."""


def test_there_are_enough_of_them() -> None:
    assert len(odd_files.REFUSED) >= 30
    assert len(odd_files.ACCEPTED) >= 20


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in odd_files.REFUSED]
)
def test_refused_in_the_sentence_it_states(kind: str) -> None:
    case = odd_files.REFUSED[kind]
    with pytest.raises(ImageError) as caught:
        to_rgb(case.make())
    text = str(caught.value).replace("the uploaded data", "The file")
    assert text.startswith(case.expected)
    assert text.count("\n") == 0


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in odd_files.ACCEPTED]
)
def test_read_like_any_other_image(kind: str) -> None:
    rgb = to_rgb(odd_files.ACCEPTED[kind].make())
    assert (rgb.mode, sorted(rgb.size)) == ("RGB", [150, 200])
