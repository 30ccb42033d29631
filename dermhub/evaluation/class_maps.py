"""Localisation of class maps: do they lie on the lesion? The figures of the table maps.csv.

The table has a row for each test image: `image_id`; `lesion_share`, the share of the model's view
that the lesion covers in the mask that people made; `inside`, the share of the energy of the
predicted class's map in that mask (empty where the map is blank), and `hit`, whether its peak lies
there (`heatmap.energy_inside`, `heatmap.peak_inside`); and `inside_other` and `hit_other`,
the same for the map of a test image of another lesion with the same answer (both empty where there
is none), because lesions lie in the centre, so that a map of any lesion hits many.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermhub.arrays import Floats64
from dermhub.data import partition
from dermhub.errors import DataError, some
from dermhub.evaluation import metrics, predictions
from dermhub.evaluation.bootstrap import FEWEST, Resamples, bounds
from dermhub.models import prediction
from dermhub.models.config import ModelConfig
from dermhub.models.explanation import WHOLE

MAP_COLUMNS = ("lesion_share", "inside", "hit", "inside_other", "hit_other")
"""Columns of maps.csv beside image_id."""

MAP_FIGURES = (*MAP_COLUMNS, "ratio")
"""Means of the columns, and the ratio of `inside` to `lesion_share`."""


def map_figures(table: pd.DataFrame, test: pd.DataFrame, config: ModelConfig) -> dict[str, Any]:
    """Return the block `maps` of metrics.json.

    `table` is that of `read_maps`, `test` the test rows of predictions in the same order. Images
    whose view the lesion does not reach, or fills by 95 % or more, leave nothing to judge and are
    left out; a blank map counts as one with no energy inside and no hit. `right`, `wrong` and
    `per_class` (by the true class) are parts of `all`; `_row` has the figures of each.
    """
    true = prediction.class_indices(test["dx"], config.task)
    probabilities = prediction.calibrated(predictions.logits_of(test, config.task), config)
    right = probabilities.argmax(axis=1) == true
    share = table["lesion_share"].to_numpy(float)
    judged = (share > 0) & (share < WHOLE)
    # A blank map has nothing inside; without another map both of its cells stay empty.
    filled = table[list(MAP_COLUMNS)].fillna({"inside": 0.0, "inside_other": 0.0})
    filled["inside_other"] = filled["inside_other"].where(filled["hit_other"].notna())
    values = filled.to_numpy(float)
    lesions = partition.canonical(test["lesion_id"]).to_numpy(str)
    parts = {"all": judged, "right": judged & right, "wrong": judged & ~right}
    return {
        "images": len(table),
        "outside_view": int((share == 0).sum()),
        "whole_view": int((share >= WHOLE).sum()),
        "blank": int(table["inside"].isna()[judged].sum()),
        **{name: _row(values[rows], lesions[rows]) for name, rows in parts.items()},
        "per_class": {
            name: _row(values[judged & (true == index)], lesions[judged & (true == index)])
            for index, name in enumerate(config.task.classes)
        },
    }


def read_maps(path: Path, test: pd.DataFrame) -> pd.DataFrame:
    """Read maps.csv, whose rows are those of `test` in the same order.

    Raises DataError when it is damaged or belongs to other images.
    """
    try:
        table = predictions.with_text(pd.read_csv(path, dtype={"image_id": str}))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} can't be read ({' '.join(str(error).split())}): measure the model again."
        ) from error
    if missing := [name for name in ("image_id", *MAP_COLUMNS) if name not in table]:
        raise DataError(f"{path} lacks the column(s) {some(missing)}: measure the model again.")
    if list(table["image_id"]) != list(test["image_id"]):
        raise DataError(
            f"{path} is not of the {len(test)} test images, in their order: measure the model "
            "again."
        )
    numbers = table[list(MAP_COLUMNS)].apply(pd.to_numeric, errors="coerce")
    wrong = ~(table[list(MAP_COLUMNS)].isna() | numbers.ge(0) & numbers.le(1)).all(axis=1)
    wrong |= numbers[["lesion_share", "hit"]].isna().any(axis=1)
    wrong |= numbers["hit_other"].isna() & numbers["inside_other"].notna()
    if wrong.any():
        raise DataError(
            f"{path} has line(s) {some(table.index[wrong] + 2)} with something else than a number "
            "from 0 to 1: measure the model again."
        )
    return table


def rank_correlation(left: NDArray[np.floating], right: NDArray[np.floating]) -> Floats64:
    """(N,) Spearman correlations of the rows of two arrays (N, P), ties ranked by their mean.

    NaN where a row of `left` is constant, so that it has no order; 0 where only that of `right` is.
    """
    a = _centred_ranks(left)
    b = _centred_ranks(right)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    correlation = np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0)
    return np.asarray(np.where(a.any(axis=1), correlation, np.nan))


def _centred_ranks(values: NDArray[np.floating]) -> Floats64:
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy()
    return np.asarray(ranks - ranks.mean(axis=1, keepdims=True))


def _row(values: Floats64, lesions: Any) -> dict[str, Any]:
    """Number of images and lesions, the figures of `MAP_FIGURES`, and their `bounds`.

    None for a figure that rests on fewer than `FEWEST` images. Chance gives a hit as often as
    `lesion_share`.
    """
    row: dict[str, Any] = {"n": len(values), "lesions": len(np.unique(lesions))}
    if len(values) < FEWEST:
        undefined = dict.fromkeys(MAP_FIGURES)
        return row | undefined | {"bounds": dict(undefined)}
    means = _means(np.ones((1, len(values))), values)
    parts = [_means(weights, values) for weights in Resamples.draw(lesions).chunks]
    for name in MAP_FIGURES:
        mean = means[name][0]
        row[name] = float(mean) if np.isfinite(mean) else None
    row["bounds"] = {
        name: bounds(np.concatenate([part[name] for part in parts])) for name in MAP_FIGURES
    }
    return row


def _means(weights: Floats64, values: Floats64) -> dict[str, Floats64]:
    """Column -> (B,) means of the values that are not NaN, for B rows of image weights (B, N).

    NaN where there is no value.
    """
    means = metrics.ratio(weights @ np.nan_to_num(values), weights @ np.isfinite(values))
    by_column = dict(zip(MAP_COLUMNS, means.T, strict=True))
    return by_column | {"ratio": by_column["inside"] / by_column["lesion_share"]}
