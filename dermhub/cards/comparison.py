"""Comparison of a model card with the one that its config.json and metrics.json give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dermhub.cards import render
from dermhub.errors import ModelError
from dermhub.layout import CARD, CONFIG, METRICS
from dermhub.models.config import ModelConfig

GARBLED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)
"""Errors that a missing or garbled figure raises where a card is made from it."""


def read_card(folder: Path) -> str:
    """Read the text of a model folder's card; raises ModelError."""
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{folder / CARD} can't be read ({error}): measure the model again."
        ) from error


def difference(text: str, config: ModelConfig, content: Any) -> str:
    """Find the first line in which a card is not what its figures give.

    Returns a sentence without its full stop, or "" where there is none. `content` is that of
    metrics.json, which anyone may have edited: a missing or garbled figure is a difference, too.
    """
    try:
        expected = render.render(config, content)
    except GARBLED as error:
        return garbled(error)
    lines = zip(text.splitlines(), expected.splitlines(), strict=False)
    for number, (line, due) in enumerate(lines, 1):
        if line != due:
            return f"{CARD} has in line {number} {line!r}, the figures give {due!r}"
    if text != expected:
        return f"{CARD} is longer or shorter than the card that the figures give"
    return ""


def garbled(error: Exception) -> str:
    """Word an error that a card's figures raised, as a sentence without its full stop."""
    return f"{METRICS} or {CONFIG} lacks or garbles {error}"
