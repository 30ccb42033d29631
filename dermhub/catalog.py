"""Which models the repository ships, and where; no model is read for that."""

from __future__ import annotations

from pathlib import Path

MODEL_CARDS = Path(__file__).resolve().parent.parent / "model_cards"


def shipped() -> dict[str, Path]:
    """id -> folder of the models that the repository ships."""
    if not MODEL_CARDS.is_dir():
        return {}
    return {path.name: path for path in sorted(MODEL_CARDS.iterdir()) if (path / "config.json").is_file()}
