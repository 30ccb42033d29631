"""A reading: what both models say of one image, as one assessment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property

from demo.models import Pair
from demo.page.html import NOTICE
from dermhub import Assessment, Explanation, Photo, Prediction, SimilarCases, assess

TITLES = {
    "not-dermatoscopic": "This does not look like a dermatoscopic image",
    "quality": "The image is not good enough",
    "seen": "The models know this image",
    "disagreement": "The two models differ",
    "undecided": "The diagnosis stays open",
    "elsewhere": "The AI looked beside the lesion",
}
"""Code of a reason for doubt in the API -> its title, the gravest first."""

CODES = {
    "not-dermatoscopic": "not-dermatoscopic",
    "seen": "seen",
    "models-differ": "disagreement",
    "open": "undecided",
    "beside-lesion": "elsewhere",
}
"""Code of a note of an assessment -> code of the API's reason; all others are of quality."""


@dataclass(frozen=True)
class Reading:
    """Both models' explanations of one image.

    `binary` has one for each class; `lesion` one for each class, (name, ""), and for each class
    against each other one. `similar` are the training lesions that look most like it, None where
    the model has no index of them.
    """

    binary: dict[str, Explanation]
    lesion: dict[tuple[str, str], Explanation]
    similar: SimilarCases | None = None

    @property
    def first(self) -> Prediction:
        """The binary model's prediction."""
        return next(iter(self.binary.values())).prediction

    @property
    def second(self) -> Prediction:
        """The seven-class model's prediction."""
        return next(iter(self.lesion.values())).prediction

    @cached_property
    def assessment(self) -> Assessment:
        """Both models' answers as one, with a note on the map where it lies beside the lesion."""
        assessment = assess(self.first, self.second)
        return assessment.with_map(self.lesion[assessment.explained, ""])


def read(pair: Pair, content: bytes | Photo) -> Reading:
    """Read an image with both models; it is decoded and measured once for both.

    Raises ImageError for bytes that are no usable image.
    """
    photo = Photo.open(content)
    lesion = pair.lesion.explain_pairs(photo)
    # Of any explanation: all come from the same forward pass.
    similar = pair.lesion.similar(next(iter(lesion.values()))) if pair.lesion.cases else None
    return Reading(pair.binary.explain_all(photo), lesion, similar)


def record(pair: Pair, content: bytes | Photo) -> dict[str, object]:
    """Return what the API says of an image. Raises ImageError.

    One map is computed, to see where the evidence lies.
    """
    return as_record(*judged(pair, Photo.open(content)))


def judged(pair: Pair, photo: Photo) -> tuple[Prediction, Prediction, Assessment]:
    """Return both predictions of a photo, binary first, and their assessment with its map's note.

    The likeliest class, whose map is computed first, is in most images the one that is explained.
    """
    why, first = pair.lesion.explain(photo), pair.binary.predict(photo)
    assessment = assess(first, why.prediction)
    if why.target != assessment.explained:
        why = pair.lesion.explain(photo, assessment.explained)
    return first, why.prediction, assessment.with_map(why)


def as_record(first: Prediction, second: Prediction, assessment: Assessment) -> dict[str, object]:
    """Return an assessment as the API gives it: plain values, with the page's notice."""
    reasons = list(_reasons(assessment))
    return {
        "zone": str(assessment.zone),
        "title": assessment.title,
        "summary": assessment.summary,
        "label": second.label,
        "explained": assessment.explained,
        "probabilities": second.probabilities,
        "malignancy": assessment.malignancy,
        "threshold": assessment.zones.suspicious.value,
        "highly_suspicious": assessment.zones.highly_suspicious.value,
        "malignant": assessment.flagged,
        "conformal": list(second.conformal),
        "concerns": [asdict(item) for item in dict.fromkeys(first.concerns + second.concerns)],
        "abstention": second.abstention or first.abstention,
        "refused": assessment.refused is not None,
        "confident": not reasons,
        "reasons": reasons,
        "notice": NOTICE,
    }


def _reasons(assessment: Assessment) -> Iterator[dict[str, str]]:
    refused = (assessment.refused,) if assessment.refused else ()
    for note in (*refused, *assessment.notes):
        code = CODES.get(note.code, "quality")
        yield {"code": code, "title": TITLES[code], "sentence": note.sentence}
