"""What both models say of one image, and everything that speaks against saying it with
confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from demo.models import Pair
from demo.page.html import NOTICE
from dermhub.concern import NOT_DERMATOSCOPIC
from dermhub.images.photo import Photo
from dermhub.models.explanation import Explanation
from dermhub.models.prediction import Prediction

TITLES = {
    NOT_DERMATOSCOPIC: "No answer: this does not look like a dermatoscopic image",
    "quality": "No confident answer: the image is not good enough",
    "seen": "No fair answer: the models know this image",
    "disagreement": "No confident answer: the two models disagree",
    "undecided": "No confident answer: the diagnosis stays open",
    "elsewhere": "No confident answer: the evidence lies in the wrong place",
}
"""What replaces an answer, the gravest reason first. Every concern that has no title of its own is
one of quality.
"""


@dataclass(frozen=True)
class Reason:
    """Why there is no confident answer: a code of `TITLES`, and a sentence of the model or about
    it.
    """

    code: str
    sentence: str

    @property
    def title(self) -> str:
        """The headline that stands in place of an answer."""
        return TITLES[self.code]


@dataclass(frozen=True)
class Reading:
    """Both models' explanations of one image.

    `binary` has one for each class; `lesion` one for each class, (name, ""), and for each class
    against each other one.
    """

    binary: dict[str, Explanation]
    lesion: dict[tuple[str, str], Explanation]

    @property
    def first(self) -> Prediction:
        """What the binary model predicts; the probability of malignancy that the page shows is
        its.
        """
        return next(iter(self.binary.values())).prediction

    @property
    def second(self) -> Prediction:
        """What the seven-class model predicts."""
        return next(iter(self.lesion.values())).prediction

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why no confident answer must be shown, the gravest first; empty when there is one."""
        return reasons(self.first, self.second, self.lesion[self.second.label, ""])


def read(pair: Pair, content: bytes) -> Reading:
    """Both models' view of an image, which is decoded and measured once for both.

    Raises ImageError for bytes that are no usable image.
    """
    photo = Photo.open(content)
    return Reading(pair.binary.explain_all(photo), pair.lesion.explain_pairs(photo))


def record(pair: Pair, content: bytes) -> dict[str, object]:
    """What the API says of an image; one map is computed, to see where the evidence lies. Raises
    ImageError.
    """
    return as_record(*judged(pair, Photo.open(content)))


def judged(pair: Pair, photo: Photo) -> tuple[Prediction, Prediction, tuple[Reason, ...]]:
    """Both predictions of a photo, binary first, and why no confident answer must be shown."""
    why, first = pair.lesion.explain(photo), pair.binary.predict(photo)
    return first, why.prediction, reasons(first, why.prediction, why)


def reasons(
    first: Prediction, second: Prediction, why: Explanation | None = None
) -> tuple[Reason, ...]:
    """Why no confident answer must be shown for two predictions, the gravest first.

    `why` is the explanation of the most probable class, whose map may lie outside of the lesion.
    """
    found = list(_found(first, second, why))
    order = list(TITLES)
    # Both models say the same of an image that is blurred, or that is none of a skin lesion.
    once = {(one.code, one.sentence): one for one in found}
    return tuple(sorted(once.values(), key=lambda one: order.index(one.code)))


def _found(first: Prediction, second: Prediction, why: Explanation | None) -> Iterator[Reason]:
    told: set[str] = set()
    for concern in (*first.concerns, *second.concerns):
        if concern.code not in told:
            told.add(concern.code)
            yield Reason(concern.code if concern.code in TITLES else "quality", concern.sentence)
    if NOT_DERMATOSCOPIC in told:
        # What else the models make of it says nothing more.
        return
    if first.malignant != second.malignant:
        yield Reason("disagreement", _disagreement(second))
    # Where no lesion was found, a concern says so; where the map is empty, there is none that lies
    # anywhere.
    if why and why.judged and not why.trusted:
        yield Reason("elsewhere", why.verdict)
    yield from (Reason("undecided", one.abstention) for one in (second, first) if one.abstention)


def _disagreement(second: Prediction) -> str:
    side = "at or above" if second.malignant else "below"
    return (
        f"The seven-class model gives its malignant classes together {second.malignancy:.1%}, "
        f"which is {side} its own "
        f"operating threshold of {second.threshold:.1%}; the other model says the opposite. Rely "
        "on neither."
    )


def as_record(first: Prediction, second: Prediction, why: Iterable[Reason]) -> dict[str, object]:
    """Two predictions as the API gives them: plain values, with the notice that the page shows."""
    found = list(why)
    return {
        "label": second.label,
        "probabilities": second.probabilities,
        "malignancy": first.malignancy,
        "threshold": first.threshold,
        "malignant": first.malignant,
        "conformal": list(second.conformal),
        "concerns": [asdict(one) for one in dict.fromkeys(first.concerns + second.concerns)],
        "abstention": second.abstention or first.abstention,
        "confident": not found,
        "reasons": [
            {"code": one.code, "title": one.title, "sentence": one.sentence} for one in found
        ],
        "notice": NOTICE,
    }
