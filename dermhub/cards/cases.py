"""Rows of the card's tables on similar cases, from the block `cases` of metrics.json."""

from __future__ import annotations

from typing import Any

from dermhub.cards.figures import number, signed, with_interval
from dermhub.cards.tables import Row
from dermhub.models.beside.similar_cases import CONFIRMATIONS

RANKED = {
    "precision_1": "the nearest case has the right class",
    "precision_5": "share of the nearest 5 that have it",
    "precision_10": "share of the nearest 10 that have it",
    "map": "mean average precision over all cases",
}
"""Figure of a ranking -> what it is."""

PARTS = {"test": "test", "external": "PH2"}
"""Part of the block that a card reports -> its name."""


def parts(cases: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of each part that was measured, by its name in the card."""
    return {name: cases[key] for key, name in PARTS.items() if key in cases}


def rankings(cases: dict[str, Any]) -> list[Row]:
    """A row for each figure of the ranking, of each part, beside a search among all images."""
    rows: list[Row] = []
    for name, block in parts(cases).items():
        compared = block["all_images"] or {}
        rows += [
            (
                f"{name}: {text}",
                with_interval(block[key], block["bounds"][key]),
                number(compared.get(key)),
            )
            for key, text in RANKED.items()
        ]
    return rows


def votes(cases: dict[str, Any]) -> list[Row]:
    """A row for the model's probabilities, for each vote, and for both together, of each part."""
    chosen = cases["chosen"]
    rows: list[Row] = []
    for name, block in parts(cases).items():
        answers = {"the model's probabilities": block["softmax"]}
        answers |= {f"vote of the nearest {count}": row for count, row in block["votes"].items()}
        keys = ("accuracy", "balanced_accuracy", "malignancy_auroc")
        rows += [
            (f"{name}: {text}", *(number(row[key]) for key in keys))
            for text, row in answers.items()
        ]
        both = block["both"]
        rows.append(
            (
                f"{name}: both together (vote of {chosen['voters']}, weight {chosen['weight']:g})",
                "",
                "",
                number(both["malignancy_auroc"]),
            )
        )
    return rows


def gain(block: dict[str, Any]) -> str:
    """The AUROC that the vote adds to the probabilities, with its interval."""
    difference = block["both"]["malignancy_auroc"] - block["softmax"]["malignancy_auroc"]
    return signed(difference, block["both"]["gain_bounds"])


def contradictions(cases: dict[str, Any]) -> list[Row]:
    """A row for validation and each part: the images with the note, and how many are right."""
    blocks = {"validation": cases["validation"], **parts(cases)}
    rows: list[Row] = []
    for name, block in blocks.items():
        note = block["note"]
        rows.append(
            (
                name,
                str(note["n"]),
                _share(note["right"], note["n"]),
                str(note["others"]),
                _share(note["others_right"], note["others"]),
            )
        )
    return rows


def proofs(cases: dict[str, Any]) -> str:
    """The lesions of an index by the kind of their proof, in words."""
    return ", ".join(
        f"{count} {CONFIRMATIONS.get(name, name)}" for name, count in cases["confirmations"].items()
    )


def _share(part: int, whole: int) -> str:
    return number(part / whole) if whole else "-"
