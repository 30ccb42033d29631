"""Readings with chosen figures, and HTML as a browser sees it, for the tests of the demo."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np

from demo.models import TrackRecord
from demo.reading import Reading
from dermhub.images.concern import Concern
from dermhub.images.drawn_lesions import draw
from dermhub.images.lesion import Lesion
from dermhub.images.photo import Photo
from dermhub.models.explanation import Explanation
from dermhub.models.prediction import Prediction
from dermhub.tasks import MALIGNANT
from dermhub.zones import Threshold, Zones

SEVEN = {
    "akiec": 0.02,
    "bcc": 0.03,
    "bkl": 0.1,
    "df": 0.01,
    "mel": 0.612,
    "nv": 0.22,
    "vasc": 0.008,
}

CENTRE, CORNER = np.zeros((40, 60), bool), np.zeros((40, 60), bool)

CENTRE[10:30, 20:40] = CORNER[:15, 35:50] = True
"""Where a lesion may be in a drawing: under the diagonal, or beside it."""

ZONES = Zones(Threshold(0.25, "at least 95% sensitivity"), Threshold(0.6, "at least 70%"))
"""Cuts of the seven-class model of a reading."""

TRACK_RECORD = TrackRecord(
    {"tp": 190, "fn": 10, "fp": 520, "tn": 780},
    {"low": 2, "suspicious": 19, "highly suspicious": 74},
    {"seven classes": ("lesion", "ab" * 32), "benign or malignant": ("binary", "cd" * 32)},
)
"""What is known of the models of a reading."""

HOSTILE = "\"><script>alert('1')</script>&amp;"


class Page(HTMLParser):
    """A piece of HTML as a browser sees it: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of every tag that has the given ones."""
        return [a for t, a in self.tags if t == tag and attributes.items() <= a.items()]

    def of(self, name: str) -> list[str]:
        """The values of an attribute, in order."""
        return [a[name] for _, a in self.tags if name in a]


def prediction(
    probabilities: dict[str, float], malignancy: float, threshold: float = 0.25, **more: Any
) -> Prediction:
    """A prediction with chosen figures."""
    label = max(probabilities, key=lambda name: probabilities[name])
    return Prediction(label, probabilities, malignancy, threshold, "sensitivity_95", **more)


def shares(**malignant: float) -> dict[str, float]:
    """Probabilities of the seven classes with chosen ones; a mole has the rest."""
    return dict.fromkeys(SEVEN, 0.0) | {"nv": 1 - sum(malignant.values())} | malignant


def predictions(
    lesion: dict[str, float] = SEVEN,
    malignancy: float | None = None,
    concerns: tuple[Concern, ...] = (),
    **more: Any,
) -> tuple[Prediction, Prediction]:
    """Both predictions of an image: binary and of seven classes, whose malignant ones add up.

    `malignancy` is that of the binary model, by default the same.
    """
    total = sum(share for name, share in lesion.items() if name in MALIGNANT)
    first = total if malignancy is None else malignancy
    two = {"benign": 1 - first, "malignant": first}
    return (
        prediction(two, first, concerns=concerns),
        prediction(lesion, total, concerns=concerns, zones=ZONES, **more),
    )


def explanation(
    predicted: Prediction, target: str, versus: str = "", blank: bool = False, outside: bool = False
) -> Explanation:
    """An explanation of a drawing: the map is a diagonal or empty, the lesion under it or not."""
    evidence = np.eye(3, dtype=np.float32) * (not blank)
    lesion = Lesion(CORNER if outside else CENTRE, np.zeros((40, 60), bool), 0.5)
    photo = Photo(draw(3, (60, 40), 0.5))
    return Explanation(predicted, target, versus, evidence, photo, (10, 0, 50, 40), lesion)


def reading(
    lesion: dict[str, float] = SEVEN,
    malignancy: float | None = None,
    blank: tuple[str, ...] = (),
    concerns: tuple[Concern, ...] = (),
    outside: bool = False,
    **more: Any,
) -> Reading:
    """A reading with chosen figures, as `predictions` has them; `more` goes to the second."""
    first, seven = predictions(lesion, malignancy, concerns, **more)
    pairs = [(a, "") for a in lesion] + [(a, b) for a in lesion for b in lesion if a != b]
    return Reading(
        {name: explanation(first, name, outside=outside) for name in first.probabilities},
        {(a, b): explanation(seven, a, b, a in blank, outside) for a, b in pairs},
    )
