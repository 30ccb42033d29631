"""Images to try: our own drawings, or those of a folder that the operator names."""

from __future__ import annotations

from pathlib import Path

from dermhub import ImageError

DRAWN = ((18, 0.0), (7, 0.5), (32, 0.5))
"""Seed and darkness of the drawings: chosen to show a benign answer, a malignant one, and none."""


def listed(examples: Path | list[str]) -> list[str]:
    """List the first twelve images of a folder, by name; a list of paths stays as it is.

    Raises ImageError where the folder holds none.
    """
    if isinstance(examples, list):
        return examples
    kinds = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
    paths = [str(path) for path in sorted(examples.glob("*")) if path.suffix.lower() in kinds]
    if not paths:
        raise ImageError(
            f"{examples} holds no image to try: expected .jpg, .png, .tif or .webp files."
        )
    return paths[:12]


def draw_into(folder: Path) -> list[str]:
    """Write three drawn lesions into a folder and return their paths."""
    from dermhub import draw

    paths = [folder / f"drawing-{number}.png" for number in (1, 2, 3)]
    for path, (seed, darkness) in zip(paths, DRAWN, strict=True):
        draw(seed, darkness=darkness).save(path)
    return [str(path) for path in paths]
