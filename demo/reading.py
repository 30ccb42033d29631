"""A reading: what both models say of one image, and the reasons not to say it with confidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from demo.models import Pair
from demo.page.html import NOTICE
from dermhub import Explanation, Photo, Prediction

TITLES = {
    "not-dermatoscopic": "No answer: this does not look like a dermatoscopic image",
    "quality": "No confident answer: the image is not good enough",
    "seen": "No fair answer: the models know this image",
    "disagreement": "No confident answer: the two models disagree",
    "undecided": "No confident answer: the diagnosis stays open",
    "elsewhere": "No confident answer: the evidence lies in the wrong place",
}
"""Headlines that replace an answer, the gravest reason first.

Every concern without a title of its own is one of quality.
"""


@dataclass(frozen=True)
class Reason:
    """A reason why there is no confident answer: a code of `TITLES`, and a sentence."""

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
        """The binary model's prediction, with the probability of malignancy that the page shows."""
        return next(iter(self.binary.values())).prediction

    @property
    def second(self) -> Prediction:
        """The seven-class model's prediction."""
        return next(iter(self.lesion.values())).prediction

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons against a confident answer, the gravest first; empty when there is one."""
        return reasons(self.first, self.second, self.lesion[self.second.label, ""])


def read(pair: Pair, content: bytes | Photo) -> Reading:
    """Read an image with both models; it is decoded and measured once for both.

    Raises ImageError for bytes that are no usable image.
    """
    photo = Photo.open(content)
    return Reading(pair.binary.explain_all(photo), pair.lesion.explain_pairs(photo))


def record(pair: Pair, content: bytes | Photo) -> dict[str, object]:
    """Return what the API says of an image. Raises ImageError.

    One map is computed, to see where the evidence lies.
    """
    return as_record(*judged(pair, Photo.open(content)))


def judged(pair: Pair, photo: Photo) -> tuple[Prediction, Prediction, tuple[Reason, ...]]:
    """Return both predictions of a photo, binary first, and what `reasons` says of them."""
    why, first = pair.lesion.explain(photo), pair.binary.predict(photo)
    return first, why.prediction, reasons(first, why.prediction, why)


def reasons(
    first: Prediction, second: Prediction, why: Explanation | None = None
) -> tuple[Reason, ...]:
    """List the reasons against a confident answer for two predictions, the gravest first.

    `why` is the explanation of the most probable class, whose map may lie outside of the lesion.
    """
    order = list(TITLES)
    # Both models say the same of an image that is blurred, or that shows no skin lesion.
    distinct = dict.fromkeys(_all_reasons(first, second, why))
    return tuple(sorted(distinct, key=lambda reason: order.index(reason.code)))


def _all_reasons(
    first: Prediction, second: Prediction, why: Explanation | None
) -> Iterator[Reason]:
    codes: set[str] = set()
    for concern in (*first.concerns, *second.concerns):
        if concern.code not in codes:
            codes.add(concern.code)
            yield Reason(concern.code if concern.code in TITLES else "quality", concern.sentence)
    if first.rejected or second.rejected:
        # Then no other reason matters.
        return
    if first.malignant != second.malignant:
        yield Reason("disagreement", _disagreement(second))
    # A missing lesion has its own concern, and an empty map lies nowhere.
    if why and why.judged and not why.trusted:
        yield Reason("elsewhere", why.verdict)
    for prediction in (second, first):
        if prediction.abstention:
            yield Reason("undecided", prediction.abstention)


def _disagreement(second: Prediction) -> str:
    side = "at or above" if second.malignant else "below"
    return (
        f"The seven-class model gives its malignant classes together {second.malignancy:.1%}, "
        f"which is {side} its own operating threshold of {second.threshold:.1%}; the other model "
        "says the opposite. Rely on neither."
    )


def as_record(first: Prediction, second: Prediction, why: Iterable[Reason]) -> dict[str, object]:
    """Return two predictions as the API gives them: plain values, with the page's notice."""
    given_reasons = list(why)
    return {
        "label": second.label,
        "probabilities": second.probabilities,
        "malignancy": first.malignancy,
        "threshold": first.threshold,
        "malignant": first.malignant,
        "conformal": list(second.conformal),
        "concerns": [asdict(item) for item in dict.fromkeys(first.concerns + second.concerns)],
        "abstention": second.abstention or first.abstention,
        "confident": not given_reasons,
        "reasons": [
            {"code": reason.code, "title": reason.title, "sentence": reason.sentence}
            for reason in given_reasons
        ],
        "notice": NOTICE,
    }
