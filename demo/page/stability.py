"""Does the answer hold? The same image turned, mirrored, zoomed and lit differently, which changes
no diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance

from demo.models import Pair
from demo.page.html import BAR_HEAD, bar, table
from demo.reading import judged
from dermhub.images.decode import ImageInput
from dermhub.images.photo import Photo
from dermhub.tasks import plain_name


@dataclass(frozen=True)
class Trial:
    """What both models say of one variant of an image."""

    name: str
    malignancy: float
    malignant: bool
    label: str


def variants(image: Image.Image) -> dict[str, Image.Image]:
    """The RGB image itself and ten variants of it: name -> image."""
    turn = Image.Transpose
    return {
        "as it is": image,
        "turned by 90°": image.transpose(turn.ROTATE_90),
        "turned by 180°": image.transpose(turn.ROTATE_180),
        "turned by 270°": image.transpose(turn.ROTATE_270),
        "mirrored": image.transpose(turn.FLIP_LEFT_RIGHT),
        "zoomed by 10%": zoomed(image, 1.1),
        "zoomed by 25%": zoomed(image, 1.25),
        "darker by 10%": ImageEnhance.Brightness(image).enhance(0.9),
        "brighter by 10%": ImageEnhance.Brightness(image).enhance(1.1),
        "less contrast by 10%": ImageEnhance.Contrast(image).enhance(0.9),
        "more contrast by 10%": ImageEnhance.Contrast(image).enhance(1.1),
    }


def zoomed(image: Image.Image, factor: float) -> Image.Image:
    """The middle of an image, enlarged to the image's own size."""
    width, height = image.size
    x, y = width * (1 - 1 / factor) / 2, height * (1 - 1 / factor) / 2
    return image.resize(image.size, Image.Resampling.BICUBIC, box=(x, y, width - x, height - y))


def check(pair: Pair, content: bytes) -> tuple[tuple[Trial, ...], str]:
    """`trials` and `withheld` of an image, which is decoded once and of which each variant is
    measured once. Raises ImageError for what is no image.
    """
    photo = Photo.open(content)
    return trials(pair, photo), withheld(pair, photo)


def trials(pair: Pair, content: ImageInput | Photo) -> tuple[Trial, ...]:
    """Both models' answers to every variant, the image as it is first. Raises ImageError for what
    is no image.
    """
    original = Photo.open(content)
    names, images = zip(*variants(original.rgb).items(), strict=True)
    photos = (original, *(Photo(image) for image in images[1:]))
    both = zip(pair.binary.predict(photos), pair.lesion.predict(photos), strict=True)
    return tuple(
        Trial(name, first.malignancy, first.malignant, second.label)
        for name, (first, second) in zip(names, both, strict=True)
    )


def withheld(pair: Pair, content: ImageInput | Photo) -> str:
    """Why there is no confident answer that could hold, in a headline; "" where there is one.
    Raises ImageError.
    """
    *_, why = judged(pair, Photo.open(content))
    return why[0].title if why else ""


def holds(found: Sequence[Trial]) -> bool:
    """Whether the call and the most probable class are the same for every variant."""
    return len({(one.malignant, one.label) for one in found}) == 1


def verdict(found: Sequence[Trial], no_answer: str = "") -> str:
    """One sentence: whether the answer holds, and in which variants it does not.

    With `no_answer` (see `withheld`), agreement of the variants is not called an answer that holds.
    """
    original, *others = found
    low, high = min(one.malignancy for one in found), max(one.malignancy for one in found)
    span = f"The probability of malignancy lies between {low:.1%} and {high:.1%}."
    call = [one.name for one in others if one.malignant != original.malignant]
    label = [one.name for one in others if one.label != original.label]
    if no_answer and holds(found):
        return (
            f"{no_answer}. That all {len(others)} variants give the same does not change this. "
            f"{span}"
        )
    if holds(found):
        return f"The answer holds in all {len(others)} variants. {span}"
    told = []
    if call:
        told.append(f"the call changes when the image is {', '.join(call)}")
    if label:
        told.append(f"the most probable class changes when it is {', '.join(label)}")
    start = (
        f"{no_answer}; nor does it hold"
        if no_answer
        else "The answer does not hold, do not rely on it"
    )
    return f"{start}: {'; '.join(told)}. {span}"


def as_html(found: Sequence[Trial], threshold: float, no_answer: str = "") -> str:
    """The verdict, and a table of the variants; `no_answer` as for `verdict`."""
    original = found[0]
    rows = [
        (
            one.name,
            f"{one.malignancy:.1%}",
            bar(one.malignancy, threshold),
            _changed(
                "malignant" if one.malignant else "benign", one.malignant != original.malignant
            ),
            _changed(plain_name(one.label), one.label != original.label),
        )
        for one in found
    ]
    head = ("variant", "malignancy", BAR_HEAD, "called", "most probable class")
    kind = "derm-head" if holds(found) and not no_answer else "derm-head derm-withheld"
    text = verdict(found, no_answer)
    headline = f"<h2>Does the answer hold?</h2><p>{text}</p>"
    return (
        f'<div class="derm" data-say="{text}"><section class="{kind}">{headline}</section>'
        f"{table('The same image in variants that change no diagnosis.', head, rows)}</div>"
    )


def _changed(text: str, changed: bool) -> str:
    return f"<strong>{text} (changed)</strong>" if changed else text
