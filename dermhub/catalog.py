"""Which models there are: those the repository ships, and those that were published, each pinned to its bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dermhub.errors import ConfigError

MODEL_CARDS = Path(__file__).resolve().parent.parent / "model_cards"

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""The two files without which a folder is no model; timm reads the same names."""

GRAPH = "model.onnx"
"""The file beside the weights that holds them as a graph, in models that have one."""

PATTERNS = ("*.safetensors", GRAPH, "*.json", "*.md", "figures/*.png")
"""All that is ever fetched from a hub or pushed to one: no pickle and no code."""


class Stated(NamedTuple):
    """The sha256 (64 hexadecimal digits) and size in bytes that a file must have."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Entry:
    """A published model as a value: repository "org/name", commit, and every file with its hash and size.

    Raises ConfigError for a revision that is no commit (a branch can move) and for hashes that are none.
    """

    id: str
    repository: str
    revision: str
    files: Mapping[str, tuple[str, int]]
    task: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            raise ConfigError(
                f"{self.id}: revision is {self.revision!r}, expected the 40 hexadecimal digits of a commit."
            )
        if missing := {WEIGHTS, CONFIG} - self.files.keys():
            raise ConfigError(f"{self.id}: the entry does not state {', '.join(sorted(missing))}.")
        for name, (sha256, size) in self.files.items():
            if not re.fullmatch("[0-9a-f]{64}", sha256) or size < 0:
                raise ConfigError(f"{self.id}: {name} needs a sha256 of 64 hexadecimal digits and a size in bytes.")


CATALOGUE: dict[str, Entry] = {}
"""id -> published model. `python -m dermhub push` prints the entry of what it has sent."""


def shipped() -> dict[str, Path]:
    """id -> folder of the models that the repository ships."""
    if not MODEL_CARDS.is_dir():
        return {}
    return {path.name: path for path in sorted(MODEL_CARDS.iterdir()) if (path / CONFIG).is_file()}
