"""The reporting checklist: what a model folder must hold before it is published.

The text of a card is generated, so that one item compares it with its figures. The other items
cover what can be missing from the figures or from the folder: train.py writes a card without a git
revision or lesion ids, too, and a folder can lose a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermhub import files
from dermhub.cards import comparison
from dermhub.errors import DataError, ModelError, some
from dermhub.layout import CARD, CONFIG, METRICS, WEIGHTS
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder

NEEDED = (CARD, CONFIG, WEIGHTS, METRICS)
"""Files without which there is nothing to check."""

RESAMPLES = 1000
"""Least number of resamples for the intervals in a published card."""

LEVEL = 0.95
"""Level of the intervals in a published card."""

PROVENANCE = {
    "data": (
        *("source", "ham10000_lesions", "images", "lesions"),
        *("table_sha256", "partition_sha256"),
    ),
    "code": ("dermhub", "revision"),
    "options": ("task", "model", "epochs", "seed"),
    "environment": ("python", "torch", "timm", "machine", "threads"),
}
"""Block of the provenance in config.json -> keys that it must hold, beside the date."""


@dataclass(frozen=True)
class Card:
    """A model folder as the checklist sees it: the card's text and the two files it is made of."""

    folder: Path
    text: str
    config: ModelConfig
    content: Any


@dataclass(frozen=True)
class Item:
    """One item: its name, and the check, which returns a sentence without its full stop or ""."""

    name: str
    problem: Callable[[Card], str]


@dataclass(frozen=True)
class Outcome:
    """The result of one item.

    `problem` is a sentence without its full stop, or "" when the item is met.
    """

    item: str
    problem: str


@dataclass(frozen=True)
class Report:
    """The results for a folder, in the order of `ITEMS`."""

    folder: Path
    outcomes: tuple[Outcome, ...]

    @property
    def missing(self) -> tuple[Outcome, ...]:
        """The items that are not met."""
        return tuple(outcome for outcome in self.outcomes if outcome.problem)

    @property
    def met(self) -> int:
        """The number of items that are met."""
        return len(self.outcomes) - len(self.missing)


def lint(folder: Path) -> Report:
    """Check a model folder against `ITEMS`.

    Raises ModelError when one of its four files is missing or can't be read: then there is nothing
    to check.
    """
    card = _read(folder)
    return Report(folder, tuple(Outcome(item.name, _problem(item, card)) for item in ITEMS))


def check(folder: Path) -> None:
    """Raise ModelError, naming what is missing, when a model folder does not meet every item."""
    report = lint(folder)
    if report.missing:
        first = "; ".join(f"{outcome.item} ({outcome.problem})" for outcome in report.missing[:3])
        rest = [outcome.item for outcome in report.missing[3:]]
        raise ModelError(
            f"{folder} meets {report.met} of {len(report.outcomes)} items of the reporting "
            f"checklist, expected all: {first}{f'; {some(rest)}' if rest else ''}. Train or "
            "measure the model again."
        )


def intervals(card: Card) -> str:
    """Require 95% intervals from at least 1,000 resamples."""
    stated = card.content["test"]["intervals"]
    if stated["resamples"] < RESAMPLES or stated["level"] != LEVEL:
        return (
            f"{METRICS} has {stated['resamples']} resamples at level {stated['level']}, expected "
            f"{RESAMPLES} at {LEVEL}"
        )
    return ""


def leak(card: Card) -> str:
    """Require lesion ids, and that no lesion stands in two splits."""
    overlap = card.content["overlap"]
    if overlap is None:
        return (
            "the data name no lesions, so that photographs of one may stand in training and in test"
        )
    return f"{overlap} lesions stand in more than one split, expected none" if overlap else ""


def weights(card: Card) -> str:
    """Require that the weight file is the one that was measured."""
    stated = {card.content["weights"]["sha256"], card.config.weights_sha256}
    sha256 = files.sha256(card.folder / WEIGHTS)
    if stated == {sha256}:
        return ""
    hashes = some(sorted(stated))
    return f"{WEIGHTS} has the sha256 {sha256}, but {METRICS} and {CONFIG} state {hashes}"


def processor(card: Card) -> str:
    """Require the name of the processor that the latency was measured on."""
    if card.content["latency"]["processor"].strip():
        return ""
    return f"{METRICS} names no processor for the latency"


def revision(card: Card) -> str:
    """Require the git revision of the code; train.py knows none outside of a checkout."""
    stated = card.config.provenance["code"]["revision"]
    if re.match("[0-9a-f]{40}", stated):
        return ""
    return f"the code revision is {stated!r} in {CONFIG}, expected that of a git commit"


def provenance(card: Card) -> str:
    """Require the keys of `PROVENANCE` in config.json."""
    stated = card.config.provenance
    # Data at the root of a drive have a source without a name.
    missing = [
        f"{block}.{key}"
        for block, keys in PROVENANCE.items()
        for key in keys
        if stated.get(block, {}).get(key, "") == ""
    ]
    missing += [] if "date" in stated else ["date"]
    return f"{CONFIG} lacks {some(missing)}" if missing else ""


def pictures(card: Card) -> str:
    """Require the files of all pictures that the card shows."""
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card.text)
    absent = [name for name in shown if not (card.folder / name).is_file()]
    return f"the card shows {some(absent)}, which the folder does not hold" if absent else ""


ITEMS = (
    Item(
        "card equal to its figures",
        lambda card: comparison.difference(card.text, card.config, card.content),
    ),
    Item("intervals over lesions", intervals),
    Item("no lesion in two splits", leak),
    Item("weights and their sha256", weights),
    Item("latency with hardware", processor),
    Item("code revision", revision),
    Item("config.json complete", provenance),
    Item("pictures", pictures),
)


def _read(folder: Path) -> Card:
    """Read a model folder; raises ModelError."""
    absent = [name for name in NEEDED if not (folder / name).is_file()]
    if absent:
        raise ModelError(
            f"{folder} can't be published: it lacks {some(absent)}; train.py writes them all into "
            "RUN/model."
        )
    try:
        config = ModelFolder(folder).config
        content = files.read_json(folder / METRICS)
    except DataError as error:
        raise ModelError(str(error)) from error
    return Card(folder, comparison.read_card(folder), config, content)


def _problem(item: Item, card: Card) -> str:
    """Check one item of a card; figures that lack or are garbled are a problem, not an error."""
    try:
        return item.problem(card)
    except comparison.GARBLED as error:
        # Anyone can edit the two JSON files: a key may be missing or hold anything.
        return comparison.garbled(error)
