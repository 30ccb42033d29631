"""Images to try: the project's own, or those of a folder that the operator names."""

from __future__ import annotations

from pathlib import Path

from dermhub import ImageError

SHIPPED = Path(__file__).parent / "examples"
"""Six images, whose README.md says where they come from and under which licence."""


def listed(folder: Path) -> list[str]:
    """List the first twelve images of a folder, by name.

    Raises ImageError where the folder holds none.
    """
    kinds = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
    paths = [str(path) for path in sorted(folder.glob("*")) if path.suffix.lower() in kinds]
    if not paths:
        raise ImageError(
            f"{folder} holds no image to try: expected .jpg, .png, .tif or .webp files."
        )
    return paths[:12]


def label_of(path: str) -> str:
    """Return the label of an image from its name: "3-basal-cell-carcinoma.jpg" has the third one.

    >>> label_of("3-basal-cell-carcinoma.jpg")
    'Basal cell carcinoma'
    """
    return Path(path).stem.partition("-")[2].replace("-", " ").capitalize()
