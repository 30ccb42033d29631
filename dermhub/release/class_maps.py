"""A model's class maps against lesion masks that people drew: the table maps.csv."""

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
from dermhub.images import heatmap
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec, view_box
from dermhub.models.classifier import Classifier
from dermhub.release.randomisation import predicted_maps
from dermhub.scoring import inference

MASK_SUFFIX = "_segmentation.png"
"""End of the name of a mask, after the id of its image."""


def check_masks(masks: Path, table: pd.DataFrame) -> None:
    """Check that a folder has a mask of every test image of a table; raises DataError."""
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
    """Write maps.csv for the test rows of a table.

    `called` (N,) has the class that the model predicts for each row. Without `masks`, an earlier
    maps.csv stays if it is to be `kept`, and is removed otherwise. Raises DataError for a mask that
    can't be used.
    """
    if masks:
        table = against_masks(saved, test, called, masks, workers)
        files.write_text(folder / layout.MAPS, predictions.to_csv(table))
    elif not kept:
        (folder / layout.MAPS).unlink(missing_ok=True)


def against_masks(
    saved: Classifier, test: pd.DataFrame, called: NDArray[np.int64], masks: Path, workers: int = 0
) -> pd.DataFrame:
    """Compare the class map of each row with the mask of its lesion.

    `called` (N,) has the class that the model predicts for each row. Returns the table maps.csv;
    `dermhub.evaluation.class_maps` describes its columns. Raises DataError for a mask that can't be
    used.
    """
    spec = saved.config.input
    paths = list(test["path"])
    in_view = [
        mask_in_view(masks, name, path, spec)
        for name, path in zip(test["image_id"], paths, strict=True)
    ]
    batches = inference.run(
        lambda images: predicted_maps(saved.engine, images), spec, paths, workers
    )
    maps = np.concatenate(batches)
    lesions = partition.canonical(test["lesion_id"]).to_numpy(str)
    columns: dict[str, Any] = {
        "image_id": list(test["image_id"]),
        "lesion_share": [mask.mean() for mask in in_view],
    }
    # Each mask is held against the map of its image, then against that of another lesion.
    partners = partner_of_other_lesion(called, lesions)
    for suffix, indices in (("", np.arange(len(maps))), ("_other", partners)):
        pairs = [
            (maps[index] if index >= 0 else None, mask)
            for index, mask in zip(indices, in_view, strict=True)
        ]
        columns[f"inside{suffix}"] = [
            np.nan if heat is None or not heat.any() else heatmap.energy_inside(heat, mask)
            for heat, mask in pairs
        ]
        columns[f"hit{suffix}"] = [
            np.nan if heat is None else int(heatmap.peak_inside(heat, mask)) for heat, mask in pairs
        ]
    return pd.DataFrame(columns)[["image_id", *class_maps.MAP_COLUMNS]]


def partner_of_other_lesion(
    called: NDArray[np.int64], lesions: NDArray[np.str_]
) -> NDArray[np.int64]:
    """Choose for each image one of another lesion that got the same answer.

    Returns indices (N,), -1 where there is no such image. The answer is the same because maps of
    one class resemble each other wherever the lesion is: the map of another class would show how
    classes differ.
    """
    partners = np.full(len(called), -1)
    for target in np.unique(called):
        rows = np.flatnonzero(called == target)
        for place, row in enumerate(rows):
            # Search from half of the class's rows away, so that all of them serve about as often.
            candidates = np.roll(rows, -(place + len(rows) // 2))
            others = (index for index in candidates if lesions[index] != lesions[row])
            partners[row] = next(others, -1)
    return partners


def mask_in_view(masks: Path, image_id: str, path: str, spec: InputSpec) -> Mask:
    """Cut the mask of an image to the part that the model sees: (GRID, GRID).

    Raises DataError for a mask that can't be used.
    """
    size = to_rgb(path).size
    return heatmap.mask_in_view(read_mask(masks, image_id, size), view_box(size, spec))


def read_mask(folder: Path, image_id: str, size: tuple[int, int]) -> Mask:
    """Read an image's mask `<image_id>_segmentation.png`, scaled to `size` (width, height).

    Returns (height, width). Raises DataError when there is none, when it can't be read, when it has
    another shape than the image, and when it is empty.
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
    stretched = abs(levels.width * size[1] - levels.height * size[0])
    if min(levels.size) < 16 or stretched > max(*levels.size, *size):
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
