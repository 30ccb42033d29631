"""Which images of a folder a model has learnt from, and which files are there twice. It imports no
torch.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from dermhub import files
from dermhub.errors import ImageError, ModelError
from dermhub.images.near_duplicates import SeenImages
from dermhub.images.photo import Photo
from dermhub.layout import SEEN
from dermhub.models.folder import ModelFolder

COPY, DUPLICATE, UNREADABLE = "copy", "duplicate", "unreadable"


@dataclass(frozen=True)
class Row:
    """One finding about an image, whose path is relative to the folder.

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
    """The manifest of a model folder; raises ModelError when it has none, or not the one that
    config.json states.
    """
    model = ModelFolder(folder)
    if SEEN not in model.config.files:
        raise ModelError(
            f"{folder} does not tell what the model has seen: it has no {SEEN}. It was made before "
            "there was one; `measure` adds it, given the training images."
        )
    return SeenImages.from_bytes(model.read(SEEN), str(folder / SEEN))


def examine(manifest: SeenImages, paths: Sequence[Path], root: Path) -> Iterator[Row]:
    """What there is to say about the images, in their order; nothing about one that is new and can
    be read.
    """
    first: dict[str, str] = {}
    for path in paths:
        image = path.relative_to(root).as_posix()
        try:
            # Decoded first: it refuses what can't be read to its end, such as a pipe.
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
    """The findings among `count` images in one line."""
    kinds, splits = (
        Counter(row.kind for row in rows),
        Counter(row.split for row in rows if row.kind == COPY),
    )
    known = (
        f"{kinds[COPY]:,} of {count:,} images look like copies of images that {model} has learnt "
        "from"
    )
    where = (
        f" ({splits['train']:,} training, {splits['validation']:,} validation)"
        if kinds[COPY]
        else ""
    )
    return (
        f"{known}{where}; {kinds[DUPLICATE]:,} have the bytes of an earlier one, "
        f"{kinds[UNREADABLE]:,} can't be read."
    )


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV with a heading."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    writer.writerows(astuple(row) for row in rows)
    return stream.getvalue()
