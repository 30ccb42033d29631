"""The assessment of an image by two models: one rule for the page, the API and every list.

Zone and number come from the seven-class model: its malignant classes add up to the number, and its
diagnoses and maps are the ones that are shown beside it. On validation neither the binary model nor
the mean of the two told malignant from benign images better (`benchmarks/answers.py`). The binary
model is the second opinion. It can raise the number, and with it the zone, but lower neither.

All other doubt is a note beside the zone. Nothing but the gate refuses an image, and even then the
assessment is there for those who want to see it anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dermhub.errors import ConfigError, ModelError
from dermhub.images.concern import Concern
from dermhub.models.conformal import abstention_reason
from dermhub.models.explanation import Explanation
from dermhub.models.prediction import Prediction
from dermhub.tasks import BINARY, DESCRIPTIONS, EVERYDAY_NAMES, LESION, MALIGNANT, plain_name
from dermhub.zones import Zone, Zones

GAP = 0.15
"""Difference of two probabilities of malignancy above which models of different zones differ.

Of the validation images, 3 to 4 in 100 get the note that follows (`benchmarks/answers.py`).
"""

MELANOMA = "mel"
"""Code of the gravest class."""

NAMED = 0.1
"""Probability from which on melanoma is named behind another cancer that is likelier."""

NOTES = (
    *("seen", "too-small", "blurred", "compressed", "too-dark", "too-bright", "vignette"),
    *("no-lesion", "models-differ", "not-stable", "beside-lesion", "open"),
)
"""Codes of notes in the order in which they are shown; one that is not here comes last."""

BESIDE = Concern("beside-lesion", "The AI looked beside the lesion. Be careful with this result.")


@dataclass(frozen=True)
class Diagnosis:
    """A class of the seven-class model with its probability, 0 to 1.

    `name` is the medical name, `everyday` the name as it stands in a sentence ("a mole"), and
    `description` one plain line.
    """

    code: str
    name: str
    everyday: str
    description: str
    probability: float
    malignant: bool


@dataclass(frozen=True)
class Assessment:
    """Both models' answers to an image as one.

    `malignancy` is the one probability of malignancy to show, and `zone` its zone by the cuts
    `zones`. `refused` is the gate's concern where this is surely no dermatoscopic image, and None
    elsewhere; the rest is the same in both cases. `notes` are doubts in the order in which to show
    them, each a code and a sentence. `diagnoses` are the classes, the most probable first, and
    `explained` is the code of the one whose map (of the seven-class model) explains the zone.
    """

    malignancy: float
    zone: Zone
    zones: Zones
    refused: Concern | None
    notes: tuple[Concern, ...]
    diagnoses: tuple[Diagnosis, ...]
    explained: str

    @property
    def flagged(self) -> bool:
        """True from the lower cut on: the image is shown as suspicious or highly suspicious."""
        return self.zone > Zone.LOW

    @property
    def title(self) -> str:
        """The zone in a few words; above the lower cut it never names a benign class."""
        if self.zone is Zone.LOW:
            return "Low suspicion"
        cancer = self._likeliest(malignant=True).everyday
        if self.zone is Zone.HIGHLY_SUSPICIOUS:
            return f"Highly suspicious for {cancer}"
        # "Can't be ruled out" would play down a cancer that is the likeliest diagnosis.
        if self.diagnoses[0].malignant:
            return f"Suspicious: this may be {cancer}"
        return "Suspicious: cancer can't be ruled out"

    @property
    def summary(self) -> str:
        """The likeliest diagnosis in a sentence that fits the zone."""
        first = self.diagnoses[0]
        if self.zone is Zone.LOW:
            return f"Looks like {_with_percent(first)}."
        if first.malignant:
            melanoma = next(item for item in self.diagnoses if item.code == MELANOMA)
            if first == melanoma or melanoma.probability < NAMED:
                return f"Most likely {_with_percent(first)}."
            graver = _with_percent(melanoma, "is possible ")
            return f"Most likely {_with_percent(first)}, but {graver}."
        worst = _with_percent(self._likeliest(malignant=True), "is possible ")
        if self.zone is Zone.HIGHLY_SUSPICIOUS:
            return f"Cancer is likelier than {_with_percent(first)}: {worst}."
        return f"Most likely {_with_percent(first)}, but {worst}."

    def to_record(self) -> dict[str, Any]:
        """Return the assessment as plain values for JSON."""
        return {
            "malignancy": self.malignancy,
            "zone": self.zone.value,
            "cuts": {
                "suspicious": self.zones.suspicious.value,
                "highly_suspicious": self.zones.highly_suspicious.value,
            },
            "title": self.title,
            "summary": self.summary,
            "refused": self.refused.sentence if self.refused else "",
            "notes": [dataclasses.asdict(note) for note in self.notes],
            "diagnoses": [dataclasses.asdict(item) for item in self.diagnoses],
            "explained": self.explained,
        }

    def with_map(self, explanation: Explanation) -> Assessment:
        """Add a note where the map of the class `explained` prefers what lies beside the lesion.

        Raises ValueError for the map of another class.
        """
        if (explanation.target, explanation.versus) != (self.explained, ""):
            raise ValueError(
                f"The map is of {explanation.target!r}, expected that of {self.explained!r}."
            )
        if not explanation.judged or explanation.trusted:
            return self
        return self._with_note(BESIDE)

    def with_copies(self, copies: Sequence[Assessment]) -> Assessment:
        """Add a note where only some of an image and its altered copies are flagged."""
        if len({shown.flagged for shown in (self, *copies)}) == 1:
            return self
        return self._with_note(Concern("not-stable", stability(copies)))

    def _with_note(self, note: Concern) -> Assessment:
        return dataclasses.replace(self, notes=_ordered((*self.notes, note)))

    def _likeliest(self, malignant: bool) -> Diagnosis:
        return next(item for item in self.diagnoses if item.malignant == malignant)


def assess(binary: Prediction, lesion: Prediction) -> Assessment:
    """Make one answer of the predictions of a binary and a seven-class model for one image.

    `Assessment.with_map` adds what the map of the class `explained` tells. Raises ConfigError for
    predictions of other tasks, and ModelError where the seven-class model has no zones.
    """
    for given, task in ((binary, BINARY), (lesion, LESION)):
        if set(given.probabilities) != set(task.classes):
            raise ConfigError(
                f"A prediction has the classes {', '.join(given.probabilities)}, expected those of "
                f"the task {task.name!r}: give a binary model's first, then a seven-class model's."
            )
    zones = lesion.zones
    if zones is None:
        raise ModelError(
            "The model for the seven classes has no zones of suspicion: measure its folder again "
            "with 'python -m dermhub measure'."
        )
    differ = _differ(binary.malignancy, lesion.malignancy, zones)
    shown = max(binary.malignancy, lesion.malignancy) if differ else lesion.malignancy
    zone = zones.of(shown)
    diagnoses = _ranked(lesion.probabilities)
    of_zone = (item for item in diagnoses if zone is Zone.LOW or item.malignant)
    refused = lesion.rejected or binary.rejected
    return Assessment(
        malignancy=shown,
        zone=zone,
        zones=zones,
        refused=refused,
        notes=_ordered(_notes(binary, lesion, differ, refused)),
        diagnoses=diagnoses,
        explained=next(of_zone).code,
    )


def stability(copies: Sequence[Assessment]) -> str:
    """Say in a sentence how many altered copies of an image are flagged, and their range.

    Stable are copies that are all flagged, or all not; at least one copy is expected.
    """
    flagged = sum(copy.flagged for copy in copies)
    stable = flagged in (0, len(copies))
    word = {0: "none of the", len(copies): "all"}.get(flagged, f"{flagged} of")
    shown = [copy.malignancy for copy in copies]
    return (
        f"{'Stable' if stable else 'Not stable'}: flagged in {word} {len(copies)} copies "
        f"({100 * min(shown):.0f}-{max(shown):.0%})."
    )


def _differ(first: float, second: float, zones: Zones) -> bool:
    """Tell if two probabilities lie in different zones, by the same cuts, and far apart."""
    return zones.of(first) is not zones.of(second) and abs(first - second) > GAP


def _ranked(probabilities: dict[str, float]) -> tuple[Diagnosis, ...]:
    """List the classes, the most probable first."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return tuple(
        Diagnosis(
            code,
            plain_name(code),
            EVERYDAY_NAMES[code],
            DESCRIPTIONS[code],
            probability,
            code in MALIGNANT,
        )
        for code, probability in ranked
    )


def _notes(
    binary: Prediction, lesion: Prediction, differ: bool, refused: Concern | None
) -> Iterator[Concern]:
    """Yield what speaks against the answer; both models say the same of a blurred image."""
    for concern in dict.fromkeys(lesion.concerns + binary.concerns):
        # The refusal itself is no note.
        if concern != refused:
            yield concern
    if differ:
        low, high = sorted((binary.malignancy, lesion.malignancy))
        yield Concern(
            "models-differ", f"Our two models differ: {low:.0%} and {high:.0%}. We show the higher."
        )
    if _is_open(lesion):
        # The summary names the likeliest class.
        names = [EVERYDAY_NAMES[code] for code in lesion.conformal if code != lesion.label]
        names = [", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names
        text = (
            f"It could also be {' or '.join(names)}"
            if names
            else "It is typical of no class we know"
        )
        yield Concern("open", f"{text}.")


def _is_open(lesion: Prediction) -> bool:
    """Tell if the prediction set is no answer; see `conformal.abstention_reason`."""
    classes = len(lesion.probabilities)
    return bool(
        lesion.conformal_level and abstention_reason(lesion.conformal, classes, lesion.label)
    )


def _ordered(notes: Iterator[Concern] | Sequence[Concern]) -> tuple[Concern, ...]:
    """Order notes as `NOTES` does, one for each code."""
    by_code = {note.code: note for note in reversed(list(notes))}
    place = {code: index for index, code in enumerate(NOTES)}
    return tuple(sorted(by_code.values(), key=lambda note: place.get(note.code, len(NOTES))))


def _with_percent(diagnosis: Diagnosis, verb: str = "") -> str:
    return f"{diagnosis.everyday} {verb}({diagnosis.probability:.0%})"
