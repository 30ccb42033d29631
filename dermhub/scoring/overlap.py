"""Overlap of a folder with the images that a model has learnt from, and files that occur twice.

It needs no PyTorch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from dermhub import files
from dermhub.errors import ImageError, ModelError
from dermhub.images.near_duplicates import SeenImages
from dermhub.images.photo import Photo
from dermhub.layout import SEEN
from dermhub.models.model_folder import ModelFolder
from dermhub.scoring import resumable_csv

COPY = "copy"

DUPLICATE = "duplicate"

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Row:
    """A finding about an image, whose path is relative to the folder.

    `kind` is "copy" (of the image `match` of the model's `split`, with `distance` of 377 bits
    different), "duplicate" (the same bytes as the earlier file `match` of the folder) or
    "unreadable" (`problem` says why).
    """

    image: str
    kind: str
    match: str = ""
    split: str = ""
    distance: int | None = None
    problem: str = ""


def manifest_of(folder: Path) -> SeenImages:
    """Read the hashes of the images that the model in a folder has seen.

    Raises ModelError when the folder has no such file, or not the file that config.json states.
    """
    model = ModelFolder(folder)
    if SEEN not in model.config.files:
        raise ModelError(
            f"{folder} does not tell what the model has seen: it has no {SEEN}. It was made before "
            "there was one; `measure` adds it, given the training images."
        )
    return SeenImages.from_bytes(model.read(SEEN), str(folder / SEEN))


def examine(manifest: SeenImages, paths: Sequence[Path], root: Path) -> Iterator[Row]:
    """Yield the findings about the images, in their order.

    There is none about an image that is new and can be read.
    """
    # sha256 of a file -> the first image with it.
    first: dict[str, str] = {}
    for path in paths:
        image = path.relative_to(root).as_posix()
        try:
            # Decoded first, which refuses files that can't be read to their end, such as a pipe.
            match = manifest.find(Photo.open(path).hashes)
            earlier = first.setdefault(files.sha256(path), image)
        except (ImageError, OSError) as error:
            yield Row(image, UNREADABLE, problem=str(error))
            continue
        if earlier != image:
            yield Row(image, DUPLICATE, earlier)
        if match is not None:
            yield Row(image, COPY, match.image_id, match.split, match.distance)


def summary(rows: Sequence[Row], count: int, model: str) -> str:
    """Sum the findings among `count` images up in one line."""
    kinds = Counter(row.kind for row in rows)
    splits = Counter(row.split for row in rows if row.kind == COPY)
    of_splits = f" ({splits['train']:,} training, {splits['validation']:,} validation)"
    return (
        f"{kinds[COPY]:,} of {count:,} images look like copies of images that {model} has learnt "
        f"from{of_splits if kinds[COPY] else ''}; {kinds[DUPLICATE]:,} have the bytes of an "
        f"earlier one, {kinds[UNREADABLE]:,} can't be read."
    )


def to_csv(rows: Sequence[Row]) -> str:
    """Format the rows as CSV with a heading, so that no spreadsheet computes a file name."""
    records = [[field.name for field in fields(Row)], *map(astuple, rows)]
    lines = (
        resumable_csv.to_line("" if cell is None else cell for cell in record) for record in records
    )
    return b"".join(lines).decode("utf-8", "surrogateescape")
