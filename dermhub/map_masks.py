"""A model's class maps against the lesion masks that people made: the table maps.csv, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub import files, gradcam, map_quality, partition, passes, summary, verify
from dermhub.cascade import cascade, predicted_maps
from dermhub.classifier import Classifier
from dermhub.config import InputSpec
from dermhub.errors import DataError, some
from dermhub.lesion_mask import SUFFIX, Mask, read_mask
from dermhub.preprocess import to_rgb, view_box
from dermhub.sources import same_weights


@dataclass(frozen=True)
class Kept:
    """What was measured of a model's maps: the bytes of maps.csv, and the block `cascade` of metrics.json."""

    table: bytes
    cascade: dict[str, Any]


def check(masks: Path, table: pd.DataFrame) -> None:
    """Raise DataError, naming them, when test images of a table have no mask in a folder."""
    names = table["image_id"][table["split"] == "test"]
    missing = [name for name in names if not (masks / f"{name}{SUFFIX}").is_file()]
    if missing:
        raise DataError(
            f"{masks} lacks the masks of {len(missing)} of the {len(names)} test images ({some(missing)}): expected "
            f"<image_id>{SUFFIX} for each, as in HAM10000's lesion segmentations."
        )


def kept(folder: Path) -> Kept | None:
    """What a folder tells of its model's maps, if it was measured with the weights that are there."""
    try:
        told = files.read_json(folder / verify.METRICS)["maps"]
        if same_weights(folder) and told:
            return Kept((folder / map_quality.MAPS).read_bytes(), told["cascade"])
    except (DataError, LookupError, TypeError, OSError):
        pass
    return None


def write(
    folder: Path,
    saved: Classifier,
    test: pd.DataFrame,
    called: NDArray[np.int64],
    masks: Path | None,
    before: Kept | None,
    workers: int = 0,
) -> dict[str, Any] | None:
    """Write maps.csv for the test rows of a table, whose answers are the classes `called`; returns the block `cascade`.

    Without `masks`, both are what was kept `before`; without either, there is no such file and the result is None.
    Raises DataError for a mask that can't be used.
    """
    path = folder / map_quality.MAPS
    path.unlink(missing_ok=True)
    if masks:
        files.write_text(path, summary.to_csv(against_masks(saved, test, called, masks, workers)))
        return cascade(saved, test, workers)
    if before:
        files.write_bytes(path, before.table)
    return before.cascade if before else None


def against_masks(
    saved: Classifier, test: pd.DataFrame, called: NDArray[np.int64], masks: Path, workers: int = 0
) -> pd.DataFrame:
    """The rows of maps.csv for the rows of a table, whose answers are the classes `called` (N,); see `map_quality`."""
    spec, paths = saved.config.input, list(test["path"])
    seen = [seen_mask(masks, name, path, spec) for name, path in zip(test["image_id"], paths, strict=True)]
    maps = np.concatenate([predicted_maps(saved.engine, one.numpy()) for one in passes.batches(spec, paths, workers)])
    other = alike(called, partition.canonical(test["lesion_id"]).to_numpy(str))
    columns: dict[str, Any] = {"image_id": list(test["image_id"]), "lesion_share": [mask.mean() for mask in seen]}
    for name, source in (("", np.arange(len(maps))), ("_other", other)):
        pairs = [(maps[index] if index >= 0 else None, mask) for index, mask in zip(source, seen, strict=True)]
        columns[f"inside{name}"] = [
            np.nan if one is None or not one.any() else gradcam.inside(one, mask) for one, mask in pairs
        ]
        columns[f"hit{name}"] = [np.nan if one is None else int(gradcam.hit(one, mask)) for one, mask in pairs]
    return pd.DataFrame(columns)[["image_id", *map_quality.COLUMNS]]


def alike(called: NDArray[np.int64], lesions: NDArray[np.str_]) -> NDArray[np.int64]:
    """(N,) for each image the index of one of another lesion that got the same answer; -1 where there is none.

    Maps of one class resemble each other, wherever the lesion is, so that the map of an image with another answer would
    tell how classes differ. Half of the class's rows away, or next to it, so that all of them serve about as often.
    """
    found = np.full(len(called), -1)
    for target in np.unique(called):
        rows = np.flatnonzero(called == target)
        for place, row in enumerate(rows):
            order = np.roll(rows, -(place + len(rows) // 2))
            found[row] = next((one for one in order if lesions[one] != lesions[row]), -1)
    return found


def seen_mask(masks: Path, image_id: str, path: str, spec: InputSpec) -> Mask:
    """The mask of an image over the part of it that the model sees, (GRID, GRID); raises DataError."""
    size = to_rgb(path).size
    return gradcam.seen(read_mask(masks, image_id, size), view_box(size, spec))
