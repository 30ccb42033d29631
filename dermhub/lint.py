"""Whether a model folder is fit to be published."""

from __future__ import annotations

from pathlib import Path

from dermhub.errors import ModelError

NEEDED = ("README.md", "config.json", "model.safetensors", "metrics.json")


def check(folder: Path) -> None:
    """Raise ModelError naming what a model folder lacks before it can be published."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} can't be published: it lacks {', '.join(missing)}.")
