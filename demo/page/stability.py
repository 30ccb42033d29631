"""The check of an answer: the same image turned, mirrored, zoomed and lit differently.

None of this changes a diagnosis, so an answer that changes is not to be relied on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance

from demo.models import Pair
from demo.page.html import fill
from demo.page.view import whole_percent
from dermhub import Assessment, Photo, assess, stability


@dataclass(frozen=True)
class Trial:
    """The assessment of one variant of an image."""

    name: str
    assessment: Assessment

    @property
    def label(self) -> str:
        """The code of the most probable diagnosis."""
        return self.assessment.diagnoses[0].code

    @property
    def record(self) -> dict[str, str | float | bool]:
        """The trial as the API gives it."""
        return {
            "name": self.name,
            "zone": str(self.assessment.zone),
            "malignancy": self.assessment.malignancy,
            "malignant": self.assessment.flagged,
            "label": self.label,
        }


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


def trials(pair: Pair, content: bytes | Photo) -> tuple[Trial, ...]:
    """Return the assessments of every variant, the image as it is first.

    The image is decoded once, and each variant is measured once. Raises ImageError for bytes that
    are no usable image.
    """
    original = Photo.open(content)
    names, images = zip(*variants(original.rgb).items(), strict=True)
    photos = (original, *(Photo(image) for image in images[1:]))
    both = zip(pair.binary.predict(photos), pair.lesion.predict(photos), strict=True)
    return tuple(
        Trial(name, assess(first, second))
        for name, (first, second) in zip(names, both, strict=True)
    )


def holds(results: Sequence[Trial]) -> bool:
    """Tell whether the call and the most probable class are the same for every variant."""
    return len({(trial.assessment.flagged, trial.label) for trial in results}) == 1


def verdict(results: Sequence[Trial]) -> str:
    """Say in a sentence how many altered copies are flagged, and whether the diagnosis changed."""
    original, *copies = results
    said = stability([trial.assessment for trial in copies])
    changed = sum(trial.label != original.label for trial in copies)
    if not changed:
        return said
    return f"{said} The likeliest diagnosis changed in {changed} of {len(copies)}."


def as_html(results: Sequence[Trial]) -> str:
    """Return the verdict, and a table of the variants."""
    original = results[0]
    zones = original.assessment.zones
    cuts = (zones.suspicious.value, zones.highly_suspicious.value)
    rows = [
        {
            "name": trial.name,
            "zone": str(trial.assessment.zone),
            "word": str(trial.assessment.zone).replace(" ", "-"),
            "percent": whole_percent(trial.assessment.malignancy, cuts),
            "top": trial.assessment.diagnoses[0].everyday,
            "zone_changed": trial.assessment.zone != original.assessment.zone,
            "top_changed": trial.label != original.label,
        }
        for trial in results
    ]
    return fill("stability.html.jinja", verdict=verdict(results), rows=rows)
