"""Which models there are: those that the repository ships, and those that are pinned on the hub. Nothing is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL_CARDS = Path(__file__).resolve().parent.parent / "model_cards"


@dataclass(frozen=True)
class Entry:
    """A model on the hub, pinned: `dermhub.load(entry)` accepts these very bytes and no others.

    `revision` is a full commit of 40 hexadecimal digits, `files` maps a file's name to its sha256 (64 hexadecimal
    digits) and its size in bytes, `task` is the name of its task.
    """

    repository: str
    revision: str
    files: Mapping[str, tuple[str, int]]
    task: str


CATALOGUE: dict[str, Entry] = {}
"""id -> model on the hub that `load` knows by that id. Empty until the models are published."""


def shipped() -> dict[str, Path]:
    """id -> folder of the models that the repository ships."""
    if not MODEL_CARDS.is_dir():
        return {}
    return {path.name: path for path in sorted(MODEL_CARDS.iterdir()) if (path / "config.json").is_file()}
