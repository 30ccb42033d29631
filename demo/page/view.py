"""The view of an answer: every text and figure that the page shows of one image, as plain values.

The page, the copied text, the print sheet and the saved JSON all show this one view.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A probability of malignancy and the two cuts on its scale, from 0 to 1."""

    malignancy: float
    suspicious: float
    highly_suspicious: float

    @property
    def percent(self) -> str:
        """The probability in whole percent, on the same side of each cut as the probability."""
        return whole_percent(self.malignancy, (self.suspicious, self.highly_suspicious))

    @property
    def alarm_level(self) -> str:
        """The lower cut in whole percent."""
        return alarm_level(self.suspicious)

    @property
    def upper_level(self) -> str:
        """The upper cut in whole percent."""
        return alarm_level(self.highly_suspicious)


@dataclass(frozen=True)
class Row:
    """A class in the list of possible diagnoses.

    `formal` is its medical name, "" where `name` is that; `line` says in one sentence what it is.
    """

    name: str
    formal: str
    share: float
    malignant: bool
    line: str

    @property
    def percent(self) -> str:
        """The probability in whole percent."""
        return whole_percent(self.share)


@dataclass(frozen=True)
class ClassMap:
    """A map that can be laid over the photograph; `picture` is "" where nothing speaks for it.

    `key` is "class|" or "class|other class"; `button` is the text of its button, "" for a map that
    is only in the list.
    """

    key: str
    caption: str
    picture: str
    alt: str
    button: str = ""


@dataclass(frozen=True)
class CaseView:
    """A similar case: what it is and how it was proven, its picture, and whose it is.

    `identity` is the id of its image, and `page` the address of that image's page, "" for none.
    """

    name: str
    proof: str
    malignant: bool
    picture: str
    identity: str
    page: str


@dataclass(frozen=True)
class Gallery:
    """The similar cases: their counts in a line, a note where they contradict the answer, "" else.

    `caution` says what they prove, and `credit` whose images they are.
    """

    summary: str
    note: str
    caution: str
    credit: str
    items: tuple[CaseView, ...]


@dataclass(frozen=True)
class View:
    """All that the page shows of one image.

    `zone` is "low", "suspicious" or "highly suspicious". Where `refused`, a refusal stands in
    front, and the rest is shown on demand. `record` is a sentence in three parts, the middle one
    stressed. `notes` stand above the zone, and `also` with the diagnoses, "" for nothing. `shown`
    is the key of the map that is shown first; `choices` are the classes whose maps can be chosen
    (code, text), and `two` the same for benign and malignant. `size` is the width and height of
    `photo` in pixels. `gallery` is None where the model has no similar cases.
    """

    refused: bool
    zone: str
    title: str
    sentence: str
    scale: Scale
    record: tuple[str, str, str] | None
    meaning: tuple[str, ...]
    notes: tuple[str, ...]
    also: str
    likely: tuple[Row, ...]
    unlikely: tuple[Row, ...]
    gallery: Gallery | None
    photo: str
    size: tuple[int, int]
    outline: str
    maps: tuple[ClassMap, ...]
    choices: tuple[tuple[str, str], ...]
    two: tuple[tuple[str, str], ...]
    model: str
    version: str
    technical: tuple[tuple[str, str], ...]
    text: str
    record_json: str

    @property
    def word(self) -> str:
        """The zone as a word for a class of the style sheet.

        A low zone is no good news of an image that is none of a lesion: "none".
        """
        return "none" if self.refused and self.zone == "low" else self.zone.replace(" ", "-")

    @property
    def shown(self) -> str:
        """The key of the map that is shown first: the one that explains the zone."""
        return self.maps[0].key

    @property
    def said(self) -> str:
        """The answer in a breath, for screen readers."""
        if self.refused:
            return f"This doesn't look like a dermatoscopic image. {self.behind}".rstrip()
        return f"{self.title}. {self.sentence}"

    @property
    def behind(self) -> str:
        """A sentence on the zone behind a refusal, which must not hide suspicion; "" for low."""
        return behind_refusal(self.zone)

    @property
    def less_likely(self) -> str:
        """The heading of the folded list."""
        count = len(self.unlikely)
        words = ("", "One", "Two", "Three", "Four", "Five", "Six", "Seven")
        return f"{words[count]} less likely {'diagnosis' if count == 1 else 'diagnoses'}"


def whole_percent(share: float, cuts: tuple[float, ...] = ()) -> str:
    """Write a share from 0 to 1 in whole percent: "12%", "under 1%", "over 99%".

    A share below one of `cuts` is never written as that cut or more, nor one above it as less: with
    a cut of 0.077, which is written 8%, 0.0765 is 7% and 0.0775 is 8%.
    """
    percent = round(100 * share)
    for cut in cuts:
        level = round(100 * cut)
        percent = min(percent, level - 1) if share < cut else max(percent, level)
    if percent <= 0:
        return "under 1%" if share > 0 else "0%"
    return "over 99%" if percent >= 100 and share < 1 else f"{percent}%"


def behind_refusal(zone: str) -> str:
    """Say of which zone a refused image would be; "" for low."""
    return "" if zone == "low" else f"If it is one, the AI finds it {zone}."


def alarm_level(cut: float) -> str:
    """Write a cut in whole percent."""
    return f"{round(100 * cut)}%"
