"""PNG figures of a run and of a model card.

By matplotlib's object interface: no global state, no window.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dermhub import files
from dermhub.arrays import Floats64, Ints
from dermhub.data.partition import SPLITS
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.tasks import Task

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe & Ito's palette, whose colours differ for any colour vision."""


def curves(path: Path, history: list[dict[str, Any]]) -> None:
    """Training and validation figures over the epochs."""
    table = pd.DataFrame(history)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epoch = table["epoch"]
    label = "training (all that is minimised)"
    left.plot(epoch, table["train_loss"], "-", color=PALETTE[0], label=label)
    label = "validation (cross-entropy, averaged weights)"
    left.plot(epoch, table["validation_nll"], "--", color=PALETTE[1], label=label)
    left.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
    names = ("accuracy", "balanced_accuracy", "malignancy_auroc")
    for name, style, colour in zip(names, ("-", "--", ":"), PALETTE[:3], strict=True):
        values = pd.to_numeric(table[f"validation_{name}"], errors="coerce")
        right.plot(epoch, values, style, color=colour, label=name.replace("_", " "))
    right.set(xlabel="epoch", ylabel="validation", ylim=(None, 1))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes)
    _save(path, figure)


def confusion(path: Path, matrix: list[list[int]], task: Task, title: str) -> None:
    """Confusion matrix with counts, shaded by the share of the true class."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.62 * len(task.classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    ticks = range(len(task.classes))
    sizes = counts.sum(axis=1)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.set_xticks(ticks, task.classes, rotation=45, ha="right")
    axes.set_yticks(ticks, [f"{name} (n={n})" for name, n in zip(task.classes, sizes, strict=True)])
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    _save(path, figure)


def roc(
    path: Path, probabilities: Floats64, targets: Ints, task: Task, thresholds: dict[str, float]
) -> None:
    """ROC curve of malignancy with the operating points, and of each class against the rest."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    score = prediction.malignancy(probabilities, task)
    malignant = np.isin(targets, task.positive_indices)
    fpr, tpr, _ = metrics.roc_curve(score, malignant)
    label = f"malignancy ({_auroc_text(score, malignant)})"
    axes.plot(fpr, tpr, color="black", linewidth=2.2, label=label)
    if len(task.classes) > 2:
        _roc_of_classes(axes, probabilities, targets, task)
    for (name, value), marker in zip(thresholds.items(), "osD^", strict=False):
        point = metrics.operating_point(score, malignant, value)
        if point["sensitivity"] is not None and point["specificity"] is not None:
            place = (1 - point["specificity"], point["sensitivity"])
            axes.plot(*place, marker, color="black", label=f"{name} ({value:.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    _finish(axes)
    _save(path, figure)


def _roc_of_classes(axes: Axes, probabilities: Floats64, targets: Ints, task: Task) -> None:
    styles = ("-", "--", "-.", ":")
    for index, name in enumerate(task.classes):
        score = probabilities[:, index]
        of_class = targets == index
        fpr, tpr, _ = metrics.roc_curve(score, of_class)
        label = f"{name} ({_auroc_text(score, of_class)}, n={of_class.sum()})"
        # The last colour of the palette is black, which malignancy has.
        colour = PALETTE[index] if index < 6 else "#999999"
        style = styles[index % len(styles)]
        axes.plot(fpr, tpr, style, color=colour, linewidth=1.1, label=label)


def _auroc_text(scores: Floats64, positive: NDArray[np.bool_]) -> str:
    area = metrics.auroc(scores, positive)
    return "AUROC undefined" if area is None else f"AUROC {area:.3f}"


def reliability(path: Path, probabilities: Floats64, targets: Ints, task: Task, title: str) -> None:
    """Reliability diagram of the top class and of malignancy.

    Mean probability against observed share above, number of images below.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    score = prediction.malignancy(probabilities, task)
    malignant = np.isin(targets, task.positive_indices)
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=0.9)
    cases = (
        ("top class: share correct", confidence, correct, "o-", PALETTE[0]),
        ("malignancy: share malignant", score, malignant, "s--", PALETTE[1]),
    )
    for label, scores, truth, style, colour in cases:
        mean_score, share, _ = zip(*metrics.reliability(scores, truth, 10), strict=True)
        upper.plot(mean_score, share, style, color=colour, label=label)
    upper.set(ylabel="observed share", ylim=(0, 1), title=title)
    bins = np.linspace(0, 1, 11)
    lower.hist([confidence, score], bins=bins.tolist(), color=list(PALETTE[:2]), edgecolor="white")
    lower.set(xlabel="probability", ylabel="images", xlim=(0, 1))
    _finish(upper)
    _save(path, figure)


def overview(path: Path, table: pd.DataFrame) -> None:
    """Distributions in each split: classes, age, sex, site, images a lesion."""
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    per_lesion = table.groupby("lesion_id")["image_id"].transform("size")
    shown = table.assign(images_per_lesion=per_lesion)
    if "age" in shown:
        decade = pd.to_numeric(shown["age"], errors="coerce") // 10 * 10
        shown["age_band"] = [
            "unknown" if pd.isna(age) else f"{int(age):02d}-{int(age) + 9:02d}" for age in decade
        ]
    columns = {
        "dx": "diagnosis",
        "age_band": "age (years)",
        "sex": "sex",
        "localization": "site",
        "dx_type": "ground truth",
    }
    names = [name for name in columns if name in shown]
    for axes, name in zip(panels, names, strict=False):
        values = shown[name].astype(str).where(shown[name].notna(), "unknown")
        _shares_of_splits(axes, values, shown["split"], columns[name])
    last = panels[len(names)]
    _shares_of_splits(last, per_lesion, shown["split"], "images of the same lesion")
    for axes in panels[len(names) + 1 :]:
        axes.remove()
    panels[0].legend()
    _save(path, figure)


def _shares_of_splits(axes: Axes, values: pd.Series, splits: pd.Series, title: str) -> None:
    """Draw a group of bars for each value, one for each split: its share of the split's images."""
    counts = pd.crosstab(values, splits).reindex(columns=list(SPLITS), fill_value=0)
    shares = counts / counts.sum()
    places = np.arange(len(shares))
    width = 0.27
    for index, split in enumerate(SPLITS):
        left = places + (index - 1) * width
        label = f"{split} ({counts[split].sum()})"
        axes.bar(left, shares[split], width, color=PALETTE[index], label=label)
    labels = [str(value) for value in shares.index]
    slanted = len(labels) > 4
    rotation = 60 if slanted else 0
    axes.set_xticks(places, labels, rotation=rotation, ha="right" if slanted else "center")
    axes.set(title=title, ylabel="share of the split's images")
    axes.grid(axis="y", alpha=0.25)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)


def _save(path: Path, figure: Figure) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    files.write_bytes(path, stream.getvalue())
