"""Similar cases: the training lesions that look most like an image, as the model sees it."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dermhub.errors import ConfigError
from dermhub.images.decode import to_rgb
from dermhub.models.prediction import Prediction
from dermhub.tasks import EVERYDAY_NAMES, MALIGNANT, PLURAL_NAMES, plain_name

SHOWN = 6
"""Cases that are shown where nobody asks for another number."""

MOST = 50
"""Cases that can be asked for at once."""

AGREEING = 0.5
"""Largest share of the cases with the diagnosis of the answer at which they contradict it.

Chosen with the model that was shipped first: of its 1,203 validation images 146 had at most 3 of 6
such cases. The likeliest diagnosis was right for 44 % of these, and for 85 % of the others. A zone
is never raised for the cases: of 657 images in the low zone, 6 had a malignant case among 6, and
one of these was malignant. Cards state both for each model.
"""

CONFIRMATIONS = {
    "histo": "biopsy-proven",
    "follow_up": "unchanged at follow-up",
    "consensus": "agreed by experts",
    "confocal": "seen by confocal microscopy",
}
"""Kind of proof, as in HAM10000's column dx_type -> the same in words."""

NO_PROOF = "proof not stated"

HAM10000 = (
    "HAM10000 (Tschandl, Rosendahl and Kittler, Scientific Data 5, 180161, 2018, "
    "doi:10.7910/DVN/DBW86T), CC BY-NC 4.0"
)
"""The credit that goes with each gallery of HAM10000's images."""

PAGE = "https://api.isic-archive.com/images/{}/"
"""The page of the ISIC archive about an image, by its id."""

CAUTION = (
    "These are the training lesions that look most alike to the AI. It learned from them, and "
    "where it errs they mostly err with it: they are no independent proof."
)
"""Stands beside each gallery: of 290 wrong answers to test images, cases contradicted 110."""


@dataclass(frozen=True)
class Case:
    """A training lesion that looks like an image.

    `diagnosis` is its code, and `confirmation` says how it was proven: "histo", "follow_up",
    "consensus", "confocal" or another word of the data, "" where nobody knows. `distance` is 0 for
    the same direction of the features and 2 for the opposite one. `thumbnail` holds its central
    square as the bytes of a WebP file, 96 pixels wide.
    """

    image_id: str
    lesion_id: str
    diagnosis: str
    confirmation: str
    distance: float
    thumbnail: bytes

    @property
    def malignant(self) -> bool:
        """True where the diagnosis is a malignant one."""
        return self.diagnosis in MALIGNANT or self.diagnosis == "malignant"

    @property
    def name(self) -> str:
        """The diagnosis as a heading: "Melanoma", "Mole"."""
        bare = EVERYDAY_NAMES.get(self.diagnosis, self.diagnosis).removeprefix("a ")
        # Not `capitalize`, which would make Bowen small.
        return bare[0].upper() + bare[1:]

    @property
    def proof(self) -> str:
        """The kind of proof in words: "biopsy-proven", "unchanged at follow-up"."""
        return CONFIRMATIONS.get(self.confirmation, self.confirmation or NO_PROOF)

    @property
    def page(self) -> str:
        """The address of the image's page in the ISIC archive; "" for an image of other data."""
        known = re.fullmatch(r"ISIC_\d{7}", self.image_id, re.ASCII)
        return PAGE.format(self.image_id) if known else ""

    @property
    def picture(self) -> Image.Image:
        """The thumbnail as an RGB image."""
        return to_rgb(self.thumbnail)

    @property
    def data_uri(self) -> str:
        """The thumbnail as an address that holds the picture itself."""
        return f"data:image/webp;base64,{base64.b64encode(self.thumbnail).decode()}"

    def to_dict(self, picture: bool = False) -> dict[str, Any]:
        """Return the case as plain values; with `picture`, the thumbnail as a data URI, too."""
        values: dict[str, Any] = {
            "image_id": self.image_id,
            "lesion_id": self.lesion_id,
            "diagnosis": self.diagnosis,
            "name": self.name,
            "malignant": self.malignant,
            "confirmation": self.confirmation,
            "proof": self.proof,
            "distance": self.distance,
            "page": self.page,
        }
        return values | ({"thumbnail": self.data_uri} if picture else {})


@dataclass(frozen=True)
class SimilarCases:
    """The training lesions that look most like an image, the most similar first.

    `prediction` is the model's answer to the image. No case is of the image's own lesion: where
    the model has seen the image, the lesion of that photograph is left out. `credit` says whose
    images these are, "" where that is not known.
    """

    prediction: Prediction
    cases: tuple[Case, ...]
    credit: str

    @property
    def counts(self) -> dict[str, int]:
        """Code of a diagnosis -> number of cases that have it, the most frequent first."""
        return dict(Counter(case.diagnosis for case in self.cases).most_common())

    @property
    def summary(self) -> str:
        """The counts in a line: "4 of 6 are melanomas, 2 are moles"; "" without cases."""
        total = len(self.cases)
        parts = [counted(code, number) for code, number in self.counts.items()]
        if not parts:
            return ""
        if len(parts) == 1:
            return f"All {total} {_verb(total)} {parts[0]}" if total > 1 else f"It is {parts[0]}"
        (code, number), *rest = self.counts.items()
        first = f"{number} of {total} {_verb(number)} {counted(code, number)}"
        others = [f"{count} {_verb(count)} {counted(name, count)}" for name, count in rest]
        return ", ".join([first, *others])

    @property
    def proofs(self) -> str:
        """The number of cases that histology proved, in a sentence; "" without cases."""
        proven = sum(case.confirmation == "histo" for case in self.cases)
        if not self.cases:
            return ""
        if len(self.cases) == 1:
            return "It is biopsy-proven." if proven else "It is not biopsy-proven."
        if proven == len(self.cases):
            return f"All {proven} are biopsy-proven."
        number = str(proven or "None")
        return f"{number} of the {len(self.cases)} {_verb(proven)} biopsy-proven."

    @property
    def note(self) -> str:
        """A sentence where the cases contradict the answer, "" where they do not.

        They do where at most half of them have the likeliest diagnosis (see `AGREEING`). A note
        changes neither the probability nor the zone.
        """
        agreeing = sum(self._class_of(case) == self.prediction.label for case in self.cases)
        if not self.cases or agreeing > AGREEING * len(self.cases):
            return ""
        number = f"Only {agreeing}" if agreeing else "None"
        verb = "is" if agreeing == 1 else "are"
        what = counted(self.prediction.label, agreeing)
        return (
            f"{number} of the {len(self.cases)} most similar cases {verb} {what}, the likeliest "
            "diagnosis here: it is less certain than the number says."
        )

    @property
    def caution(self) -> str:
        """A sentence on what the cases prove."""
        return CAUTION

    def to_dict(self, pictures: bool = False) -> dict[str, Any]:
        """Return the cases as plain values; with `pictures`, thumbnails as data URIs, too."""
        return {
            "cases": [case.to_dict(pictures) for case in self.cases],
            "counts": self.counts,
            "summary": self.summary,
            "proofs": self.proofs,
            "note": self.note,
            "caution": self.caution,
            "credit": self.credit,
        }

    def _class_of(self, case: Case) -> str:
        """The class of the prediction that a case belongs to."""
        if case.diagnosis in self.prediction.probabilities:
            return case.diagnosis
        return "malignant" if case.malignant else "benign"


def check_number(k: object, most: int = MOST) -> None:
    """Raise ConfigError unless `k` is a whole number of cases from 1 to `most`."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= most:
        raise ConfigError(
            f"The number of similar cases is {k!r:.80}, expected a whole number from 1 to {most}."
        )


def counted(code: str, number: int) -> str:
    """Return a diagnosis as it stands behind a number: "a mole", "melanomas"."""
    if number == 1:
        # "1 is melanoma" would say more of the case than "1 is a melanoma".
        return {"mel": "a melanoma", "bcc": "a basal cell carcinoma"}.get(
            code, EVERYDAY_NAMES.get(code, plain_name(code))
        )
    return PLURAL_NAMES.get(code, plain_name(code))


def _verb(number: int) -> str:
    return "is" if number == 1 else "are"
