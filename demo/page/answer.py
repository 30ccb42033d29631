"""The answer to one image: a reading becomes a view, and the view HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from demo.models import NAMES, TrackRecord
from demo.page import cases, maps
from demo.page.html import NOTICE, fill
from demo.page.view import Row, Scale, View
from demo.reading import Reading, as_record
from dermhub import Assessment, Diagnosis, Zone, __version__

UNLIKELY = 0.05
"""Probability below which a diagnosis is folded away, unless the zone's map is of it."""

MOST_NOTES = 2
"""Notes that stand above the zone; any others are among the technical details."""

OPEN = "open"
"""Code of the note on other diagnoses, which stands beside the diagnoses."""


def answer(reading: Reading, track_record: TrackRecord, kind: str) -> str:
    """Return all that the page says of an image, as HTML."""
    return fill("answer.html.jinja", view=view_of(reading, track_record, kind), notice=NOTICE)


def view_of(reading: Reading, track_record: TrackRecord, kind: str) -> View:
    """Return the view of a reading by models of a kind with their record on test images."""
    assessment = reading.assessment
    rows = [(item, row(item)) for item in assessment.diagnoses]
    folded = [
        shown
        for item, shown in rows
        if item.probability < UNLIKELY and item.code != assessment.explained
    ]
    scale = Scale(
        assessment.malignancy,
        assessment.zones.suspicious.value,
        assessment.zones.highly_suspicious.value,
    )
    notes = tuple(note.sentence for note in assessment.notes)
    above = tuple(note.sentence for note in assessment.notes if note.code != OPEN)
    model = NAMES[kind]
    photo, size = maps.photograph(reading)
    record = as_record(reading.first, reading.second, assessment)
    # Of a refused image, nobody has seen them when the answer is saved or copied.
    similar = None if assessment.refused else reading.similar
    shown_cases = {"similar": similar.to_dict()} if similar else {}
    content = {
        "dermhub": __version__,
        "kind": kind,
        "models": track_record.models,
        **record,
        **shown_cases,
    }
    return View(
        refused=assessment.refused is not None,
        zone=str(assessment.zone),
        title=assessment.title,
        sentence=assessment.summary,
        scale=scale,
        record=None if assessment.refused else record_of(assessment, track_record.of_100),
        meaning=tuple(_meaning(track_record.tested, scale)),
        notes=above[:MOST_NOTES],
        also=next((note.sentence for note in assessment.notes if note.code == OPEN), ""),
        likely=tuple(shown for _, shown in rows if shown not in folded),
        unlikely=tuple(folded),
        gallery=cases.gallery(reading),
        photo=photo,
        size=size,
        outline=maps.outline(reading),
        maps=tuple(maps.class_maps(reading, assessment)),
        choices=tuple((item.code, f"{shown.name} ({shown.percent})") for item, shown in rows),
        two=(("malignant", "malignant"), ("benign", "benign")),
        model=model,
        version=__version__,
        technical=tuple(_technical(reading, track_record)),
        text=as_text(assessment, scale, (*notes, *cases.as_line(similar)), model),
        record_json=json.dumps(content),
    )


def row(item: Diagnosis) -> Row:
    """Return a diagnosis as a line of the list: "Mole (melanocytic nevus)"."""
    # Not `capitalize`, which would make Bowen small.
    bare = item.everyday.removeprefix("a ")
    name = bare[0].upper() + bare[1:]
    # "Benign keratosis" needs no "(benign keratosis-like lesion)" behind it.
    formal = "" if item.name.split()[0] == name.split()[0].lower() else item.name
    return Row(name, formal, item.probability, item.malignant, item.description)


def as_text(assessment: Assessment, scale: Scale, notes: tuple[str, ...], model: str) -> str:
    """Return an answer as plain text to copy; the browser adds the date and the file's name."""
    listed = ", ".join(
        f"{row(item).name}{' (malignant)' if item.malignant else ''} {row(item).percent}"
        for item in assessment.diagnoses
    )
    refused = ["This doesn't look like a dermatoscopic image."] if assessment.refused else []
    lines = [
        *refused,
        f"{assessment.title}. {assessment.summary}",
        f"Estimated probability of cancer: {scale.percent} (alarm level {scale.alarm_level}).",
        f"Diagnoses: {listed}.",
        *notes,
        f"dermhub {__version__}, {model}. {NOTICE}",
    ]
    return "\n".join(lines)


def record_of(assessment: Assessment, counts: dict[str, int]) -> tuple[str, str, str] | None:
    """Say how many of 100 test images in this zone were cancer, in three parts; None if unknown."""
    if assessment.zone not in counts:
        return None
    number = counts[assessment.zone]
    rest = {zone: counts[zone] for zone in Zone if zone in counts and zone != assessment.zone}
    others = ", ".join(f"{zone}: {count}" for zone, count in rest.items())
    middle = f"{number} {'was' if number == 1 else 'were'} cancer"
    return "Of 100 test images in this zone,", middle, f" ({others})."


def _meaning(tested: dict[str, Any], scale: Scale) -> Iterator[str]:
    sick, healthy = tested["tp"] + tested["fn"], tested["fp"] + tested["tn"]
    yield (
        f"From the alarm level ({scale.alarm_level}) on, an image is flagged. On test images that "
        f"caught {100 * tested['tp'] / sick:.0f} of 100 cancers. The price: "
        f"{100 * tested['fp'] / healthy:.0f} of 100 harmless lesions were flagged, too."
    )
    yield (
        f"Of these test images, {100 * sick / (sick + healthy):.0f} of 100 were cancer. Where "
        'cancer is rarer, fewer alarms are true: see "How good is it?".'
    )


def _technical(reading: Reading, track_record: TrackRecord) -> Iterator[tuple[str, str]]:
    first, second = reading.first, reading.second
    assessment = reading.assessment
    zones = assessment.zones
    yield "Probability of malignancy", f"{assessment.malignancy:.4f}"
    yield "Seven-class model, malignant classes together", f"{second.malignancy:.4f}"
    yield "Second model, benign or malignant", f"{first.malignancy:.4f}"
    yield "Zones begin at", f"{zones.suspicious.value:.4f}, {zones.highly_suspicious.value:.4f}"
    shares = (f"{name} {share:.4f}" for name, share in second.probabilities.items())
    yield "Probabilities", ", ".join(shares)
    if second.conformal_level:
        names = ", ".join(second.conformal) or "none"
        yield (
            "In tests, the right diagnosis was on this list "
            f"{10 * second.conformal_level:.0f} times out of 10",
            names,
        )
    yield "The map", reading.lesion[assessment.explained, ""].verdict
    for note in [note for note in assessment.notes if note.code != OPEN][MOST_NOTES:]:
        yield "Also", note.sentence
    for task, (name, weights) in track_record.models.items():
        yield f"Model ({task})", f"{name}, weights {weights[:12]}"
