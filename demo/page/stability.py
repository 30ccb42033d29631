"""The check of an answer: the same image turned, mirrored, zoomed and lit differently.

None of this changes a diagnosis, so an answer that changes is not to be relied on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance

from demo.models import Pair
from demo.page.html import BAR_HEAD, bar, table
from demo.reading import judged
from dermhub import Photo, plain_name


@dataclass(frozen=True)
class Trial:
    """Both models' answers to one variant of an image."""

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


def check(pair: Pair, content: bytes | Photo) -> tuple[tuple[Trial, ...], str]:
    """Return `trials` and `withheld` of an image.

    The image is decoded once, and each variant is measured once. Raises ImageError for bytes that
    are no usable image.
    """
    photo = Photo.open(content)
    return trials(pair, photo), withheld(pair, photo)


def trials(pair: Pair, content: bytes | Photo) -> tuple[Trial, ...]:
    """Return both models' answers to every variant, the image as it is first.

    Raises ImageError for bytes that are no usable image.
    """
    original = Photo.open(content)
    names, images = zip(*variants(original.rgb).items(), strict=True)
    photos = (original, *(Photo(image) for image in images[1:]))
    both = zip(pair.binary.predict(photos), pair.lesion.predict(photos), strict=True)
    return tuple(
        Trial(name, first.malignancy, first.malignant, second.label)
        for name, (first, second) in zip(names, both, strict=True)
    )


def withheld(pair: Pair, content: bytes | Photo) -> str:
    """Say in a headline why there is no confident answer; "" where there is one.

    Raises ImageError for bytes that are no usable image.
    """
    *_, why = judged(pair, Photo.open(content))
    return why[0].title if why else ""


def holds(results: Sequence[Trial]) -> bool:
    """Tell whether the call and the most probable class are the same for every variant."""
    return len({(trial.malignant, trial.label) for trial in results}) == 1


def verdict(results: Sequence[Trial], no_answer: str = "") -> str:
    """Say in one sentence whether the answer holds, and in which variants it does not.

    With `no_answer` (see `withheld`), agreement of the variants is not called an answer that holds.
    """
    original, *others = results
    low, high = (
        min(trial.malignancy for trial in results),
        max(trial.malignancy for trial in results),
    )
    span = f"The probability of malignancy lies between {low:.1%} and {high:.1%}."
    call = [trial.name for trial in others if trial.malignant != original.malignant]
    label = [trial.name for trial in others if trial.label != original.label]
    if no_answer and holds(results):
        return (
            f"{no_answer}. That all {len(others)} variants give the same does not change this. "
            f"{span}"
        )
    if holds(results):
        return f"The answer holds in all {len(others)} variants. {span}"
    changes = []
    if call:
        changes.append(f"the call changes when the image is {', '.join(call)}")
    if label:
        changes.append(f"the most probable class changes when it is {', '.join(label)}")
    start = (
        f"{no_answer}; nor does it hold"
        if no_answer
        else "The answer does not hold, do not rely on it"
    )
    return f"{start}: {'; '.join(changes)}. {span}"


def as_html(results: Sequence[Trial], threshold: float, no_answer: str = "") -> str:
    """Return the verdict, and a table of the variants; `no_answer` as for `verdict`."""
    original = results[0]
    rows = [
        (
            trial.name,
            f"{trial.malignancy:.1%}",
            bar(trial.malignancy, threshold),
            _changed(
                "malignant" if trial.malignant else "benign", trial.malignant != original.malignant
            ),
            _changed(plain_name(trial.label), trial.label != original.label),
        )
        for trial in results
    ]
    head = ("variant", "malignancy", BAR_HEAD, "called", "most probable class")
    kind = "derm-head" if holds(results) and not no_answer else "derm-head derm-withheld"
    text = verdict(results, no_answer)
    headline = f"<h2>Does the answer hold?</h2><p>{text}</p>"
    return (
        f'<div class="derm" data-say="{text}"><section class="{kind}">{headline}</section>'
        f"{table('The same image in variants that change no diagnosis.', head, rows)}</div>"
    )


def _changed(text: str, changed: bool) -> str:
    return f"<strong>{text} (changed)</strong>" if changed else text
