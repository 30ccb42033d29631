"""A model's class maps against the lesion masks that people made: the table maps.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermhub import files, layout
from dermhub.arrays import Mask
from dermhub.data import partition
from dermhub.errors import DataError, some
from dermhub.evaluation import class_maps, predictions
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec, view_box
from dermhub.models import explanation
from dermhub.models.classifier import Classifier
from dermhub.release.randomisation import predicted_maps
from dermhub.scoring import inference


def check_masks(masks: Path, table: pd.DataFrame) -> None:
    """Raise DataError, naming them, when test images of a table have no mask in a folder."""
    names = table["image_id"][table["split"] == "test"]
    missing = [name for name in names if not (masks / f"{name}{MASK_SUFFIX}").is_file()]
    if missing:
        raise DataError(
            f"{masks} lacks the masks of {len(missing)} of the {len(names)} test images "
            f"({some(missing)}): expected <image_id>{MASK_SUFFIX} for each, as in HAM10000's "
            "lesion segmentations."
        )


def write(
    folder: Path,
    saved: Classifier,
    test: pd.DataFrame,
    called: NDArray[np.int64],
    masks: Path | None,
    kept: bool = False,
    workers: int = 0,
) -> None:
    """Write maps.csv for the test rows of a table, whose answers are the classes `called`; without
    `masks`, the one that is there stays if it is to be `kept`, and goes otherwise.

    Raises DataError for a mask that can't be used.
    """
    if masks:
        table = against_masks(saved, test, called, masks, workers)
        files.write_text(folder / layout.MAPS, predictions.to_csv(table))
    elif not kept:
        (folder / layout.MAPS).unlink(missing_ok=True)


def against_masks(
    saved: Classifier, test: pd.DataFrame, called: NDArray[np.int64], masks: Path, workers: int = 0
) -> pd.DataFrame:
    """The rows of maps.csv for the rows of a table, whose answers are the classes `called` (N,);
    see `map_quality`.
    """
    spec, paths = saved.config.input, list(test["path"])
    seen = [
        mask_in_view(masks, name, path, spec)
        for name, path in zip(test["image_id"], paths, strict=True)
    ]
    maps = np.concatenate(
        inference.run(lambda images: predicted_maps(saved.engine, images), spec, paths, workers)
    )
    other = partner_of_other_lesion(called, partition.canonical(test["lesion_id"]).to_numpy(str))
    columns: dict[str, Any] = {
        "image_id": list(test["image_id"]),
        "lesion_share": [mask.mean() for mask in seen],
    }
    for name, source in (("", np.arange(len(maps))), ("_other", other)):
        pairs = [
            (maps[index] if index >= 0 else None, mask)
            for index, mask in zip(source, seen, strict=True)
        ]
        columns[f"inside{name}"] = [
            np.nan if one is None or not one.any() else explanation.energy_inside(one, mask)
            for one, mask in pairs
        ]
        columns[f"hit{name}"] = [
            np.nan if one is None else int(explanation.peak_inside(one, mask))
            for one, mask in pairs
        ]
    return pd.DataFrame(columns)[["image_id", *class_maps.MAP_COLUMNS]]


def partner_of_other_lesion(
    called: NDArray[np.int64], lesions: NDArray[np.str_]
) -> NDArray[np.int64]:
    """(N,) for each image the index of one of another lesion that got the same answer; -1 where
    there is none.

    Maps of one class resemble each other, wherever the lesion is, so that the map of an image with
    another answer would tell how classes differ. Half of the class's rows away, or next to it, so
    that all of them serve about as often.
    """
    found = np.full(len(called), -1)
    for target in np.unique(called):
        rows = np.flatnonzero(called == target)
        for place, row in enumerate(rows):
            order = np.roll(rows, -(place + len(rows) // 2))
            found[row] = next((one for one in order if lesions[one] != lesions[row]), -1)
    return found


def mask_in_view(masks: Path, image_id: str, path: str, spec: InputSpec) -> Mask:
    """The mask of an image over the part of it that the model sees, (GRID, GRID); raises
    DataError.
    """
    size = to_rgb(path).size
    return explanation.mask_in_view(read_mask(masks, image_id, size), view_box(size, spec))


MASK_SUFFIX = "_segmentation.png"
"""What follows the id of an image in the name of the mask that people made of it."""


def read_mask(folder: Path, image_id: str, size: tuple[int, int]) -> Mask:
    """The mask (height, width) that people made of an image, `<image_id>_segmentation.png`, for
    that (width, height).

    Raises DataError when there is none, when it can't be read, when it has another shape than the
    image, and when it is empty.
    """
    path = folder / f"{image_id}{MASK_SUFFIX}"
    try:
        with Image.open(path) as image:
            levels = image.convert("L")
    # Pillow raises SyntaxError and ValueError for some damaged files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} can't be read ({error}): expected a PNG in which the lesion of {image_id} is "
            "white."
        ) from error
    # A mask may be larger or smaller than its image, but must show the same frame, but for a pixel
    # that was rounded.
    if min(levels.size) < 16 or abs(levels.width * size[1] - levels.height * size[0]) > max(
        *levels.size, *size
    ):
        raise DataError(
            f"{path} has {levels.width} x {levels.height} pixels, but {image_id} {size[0]} x "
            f"{size[1]}: expected a mask of the whole image, in its shape."
        )
    mask = np.asarray(levels.resize(size, Image.Resampling.BOX)) > 127
    if not mask.any():
        raise DataError(
            f"{path} is empty: expected a PNG in which the lesion of {image_id} is white."
        )
    return mask
