"""Pictures of an answer: the photograph once, a small heat map for each choice, the outline.

There is a map for each class and for each pair of classes. The browser lays the chosen one over the
photograph (answer.js), so that the server keeps nothing of a visit and is asked no second time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from demo.page.html import data_uri, palette_uri
from demo.page.view import ClassMap
from demo.reading import Reading
from dermhub import Assessment, Explanation

SHOWN_WIDTH = 640
"""Width, in pixels, to which a photograph is scaled before it is embedded; a tall one gets less."""

WIDE_ENOUGH = 480
"""Width, in pixels, from which on a smaller photograph is embedded as it is.

It is shown at most 420 wide (`answer.css`).
"""

HEAT_WIDTH, PAIR_WIDTH = 64, 32
"""Width, in pixels, of the map of a class and of a pair.

A map has some 7 x 7 values, and the browser smooths what it enlarges: more pixels look the same.
"""

TALLEST = 1.5
"""Height of a picture, at most, as a multiple of these widths; a strip gets narrower instead."""

BUTTONS = {
    "akiec": "an actinic keratosis",
    "bcc": "a carcinoma",
    "bkl": "a keratosis",
    "df": "a fibroma",
    "mel": "melanoma",
    "nv": "a mole",
    "vasc": "a vessel mark",
}
"""Names of classes that are short enough for a button on a phone."""

OUTLINE = np.array([(0, 0, 0, 0), (0, 0, 0, 170), (255, 255, 255, 255)], np.uint8)
"""RGBA colours of the picture of an outline: nothing, the dark edge, and the white line."""

MOST = 0.5
"""Share of a map on the lesion from which on "most of it" lies there."""


def shrunk(image: Image.Image) -> Image.Image:
    """Scale a photograph to the width of the page, unless it has about that.

    A small one is enlarged, so that every answer looks the same, and a very tall one gets narrower.
    """
    size = shown_size(image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (width, height) at which a photograph of another size is embedded."""
    width, height = size
    if WIDE_ENOUGH <= width <= SHOWN_WIDTH and height <= TALLEST * SHOWN_WIDTH:
        return size
    shown = bounded(SHOWN_WIDTH, size)
    return shown, max(round(height * shown / width), 1)


def bounded(width: int, size: tuple[int, int]) -> int:
    """Return the width of a picture in the proportions of `size`, at most `TALLEST` times as tall.

    The height is bounded by the `width` that was asked for, and the picture gets narrower.
    """
    return max(min(width, round(TALLEST * width * size[0] / size[1])), 1)


def photograph(reading: Reading) -> tuple[str, tuple[int, int]]:
    """Return the photograph of a reading as an address that holds it, and its size in pixels."""
    image = shrunk(_any(reading).image)
    return data_uri(image, "JPEG"), image.size


def outline(reading: Reading) -> str:
    """Return the outline of the lesion as a transparent picture; "" where none was found.

    A white line with a dark edge is seen on every skin and every colour of a map.
    """
    lesion, photo = _any(reading).lesion, _any(reading).photo
    width, height = shown_size(photo.size)
    mask = lesion.over((width // 4, height // 4))
    if not mask.any():
        return ""
    small = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(2))
    inside = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)) > 127
    line = inside & _widened(~inside)
    return palette_uri(_widened(line).astype(np.uint8) + line, OUTLINE)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Widen a mask (h, w) by two pixels to all sides, corners included."""
    # Pillow's filters do the same in a hundred times the time.
    for axis in (0, 1):
        wide = mask.copy()
        for step in (1, 2):
            later, earlier = slice(step, None), slice(None, -step)
            if axis == 0:
                wide[later] |= mask[earlier]
                wide[earlier] |= mask[later]
            else:
                wide[:, later] |= mask[:, earlier]
                wide[:, earlier] |= mask[:, later]
        mask = wide
    return mask


def class_maps(reading: Reading, assessment: Assessment) -> Iterator[ClassMap]:
    """Yield the maps of a reading: those with a button first, then all others.

    The first explains the verdict. The second, where the likeliest class is another one, explains
    that.
    """
    everyday = {item.code: item.everyday for item in assessment.diagnoses}
    names = everyday | {"benign": "benign", "malignant": "malignant"}
    first = (assessment.explained, "")
    second = (assessment.diagnoses[0].code, "")
    why = "Why suspicious?" if assessment.flagged else f"Why {BUTTONS[first[0]]}?"
    buttons = {second: f"Why {BUTTONS[second[0]]}?", first: why}
    for key in dict.fromkeys((first, second, *reading.lesion)):
        yield _class_map(reading.lesion[key], names, buttons.get(key, ""))
    for explanation in reading.binary.values():
        yield _class_map(explanation, names)


def caption(explanation: Explanation, name: str, other: str = "") -> str:
    """Say in two short sentences what a map shows and where it lies.

    `name` and `other` are the classes for people.
    """
    if explanation.blank:
        return f"Nothing in this image speaks for {name}{' rather than ' + other if other else ''}."
    what = f"for {name} and against {other}" if other else f"for {name}"
    return f"Yellow: what counted most {what}. {_place(explanation)}"


def _place(explanation: Explanation) -> str:
    if explanation.prediction.rejected:
        return "That means little in an image of another kind."
    if not explanation.lesion_share:
        return "No outline of a lesion was found."
    if not explanation.judged:
        return "The lesion (white line) fills the view."
    if not explanation.trusted:
        return "Most of it lies beside the lesion (white line): be careful."
    if explanation.inside >= MOST:
        return "Most of it lies on the lesion (white line)."
    return "It lies on the lesion (white line) and around it."


def _class_map(explanation: Explanation, names: dict[str, str], button: str = "") -> ClassMap:
    name, other = names[explanation.target], names.get(explanation.versus, "")
    width = bounded(PAIR_WIDTH if other else HEAT_WIDTH, explanation.image.size)
    said = caption(explanation, name, other)
    picture = (
        "" if explanation.blank else palette_uri(explanation.levels(width), explanation.palette)
    )
    key = f"{explanation.target}|{explanation.versus}"
    return ClassMap(key, said, picture, f"Map over the image. {said}", button)


def _any(reading: Reading) -> Explanation:
    return next(iter(reading.lesion.values()))
