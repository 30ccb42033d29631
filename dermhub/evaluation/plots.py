"""PNG figures of a run and of a model card. matplotlib's object interface: no global state, no
window.
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

from dermhub import files
from dermhub.arrays import Floats64, Ints
from dermhub.data.partition import SPLITS
from dermhub.evaluation import metrics
from dermhub.models import prediction
from dermhub.tasks import Task

# Okabe & Ito's palette: told apart with any colour vision.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


def curves(path: Path, history: list[dict[str, Any]]) -> None:
    """Training and validation figures over the epochs."""
    table = pd.DataFrame(history)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        table["epoch"],
        table["train_loss"],
        color=PALETTE[0],
        label="training (all that is minimised)",
    )
    left.plot(
        table["epoch"],
        table["validation_nll"],
        color=PALETTE[1],
        linestyle="--",
        label="validation (cross-entropy, averaged weights)",
    )
    left.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
    styles = ("-", "--", ":")
    for index, name in enumerate(("accuracy", "balanced_accuracy", "malignancy_auroc")):
        values = pd.to_numeric(table[f"validation_{name}"], errors="coerce")
        right.plot(
            table["epoch"],
            values,
            color=PALETTE[index],
            linestyle=styles[index],
            label=name.replace("_", " "),
        )
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
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.set_xticks(ticks, task.classes, rotation=45, ha="right")
    axes.set_yticks(
        ticks, [f"{name} (n={n})" for name, n in zip(task.classes, counts.sum(axis=1), strict=True)]
    )
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    _save(path, figure)


def roc(
    path: Path, probabilities: Floats64, targets: Ints, task: Task, thresholds: dict[str, float]
) -> None:
    """ROC curve of malignancy with the operating points, and of each class against the rest."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    score, sick = (
        prediction.malignancy(probabilities, task),
        np.isin(targets, task.positive_indices),
    )
    area = metrics.auroc(score, sick)
    fpr, tpr, _ = metrics.roc_curve(score, sick)
    axes.plot(fpr, tpr, color="black", linewidth=2.2, label=f"malignancy ({_area(area)})")
    if len(task.classes) > 2:
        styles = ("-", "--", "-.", ":")
        for index, name in enumerate(task.classes):
            own = targets == index
            fpr, tpr, _ = metrics.roc_curve(probabilities[:, index], own)
            label = f"{name} ({_area(metrics.auroc(probabilities[:, index], own))}, n={own.sum()})"
            colour = PALETTE[index % len(PALETTE)] if index < 6 else "#999999"
            axes.plot(
                fpr, tpr, color=colour, linestyle=styles[index % 4], linewidth=1.1, label=label
            )
    for (name, value), marker in zip(thresholds.items(), "osD^", strict=False):
        point = metrics.operating_point(score, sick, value)
        if point["sensitivity"] is not None and point["specificity"] is not None:
            axes.plot(
                1 - point["specificity"],
                point["sensitivity"],
                marker,
                color="black",
                label=f"{name} ({value:.3f})",
            )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    _finish(axes)
    _save(path, figure)


def reliability(path: Path, probabilities: Floats64, targets: Ints, task: Task, title: str) -> None:
    """Reliability diagram of the top class and of malignancy: mean probability against observed
    share, and n.
    """
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    score, sick = (
        prediction.malignancy(probabilities, task),
        np.isin(targets, task.positive_indices),
    )
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=0.9)
    cases = (
        ("top class: share correct", top, right, "o-"),
        ("malignancy: share malignant", score, sick, "s--"),
    )
    for index, (label, values, truth, style) in enumerate(cases):
        rows = metrics.reliability(values, truth, 10)
        upper.plot(
            [r[0] for r in rows], [r[1] for r in rows], style, color=PALETTE[index], label=label
        )
    upper.set(ylabel="observed share", ylim=(0, 1), title=title)
    bins = np.linspace(0, 1, 11)
    lower.hist([top, score], bins=bins.tolist(), color=list(PALETTE[:2]), edgecolor="white")
    lower.set(xlabel="probability", ylabel="images", xlim=(0, 1))
    _finish(upper)
    _save(path, figure)


def overview(path: Path, table: pd.DataFrame) -> None:
    """What the data are, for each split: classes, age, sex, site, images a lesion."""
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    per_lesion = table.groupby("lesion_id")["image_id"].transform("size")
    shown = table.assign(images_per_lesion=per_lesion)
    if "age" in shown:
        decade = pd.to_numeric(shown["age"], errors="coerce") // 10 * 10
        shown["age_band"] = [
            f"{int(v):02d}-{int(v) + 9:02d}" if v == v else "unknown" for v in decade
        ]
    columns = {
        "dx": "diagnosis",
        "age_band": "age (years)",
        "sex": "sex",
        "localization": "site",
        "dx_type": "ground truth",
    }
    names = [c for c in columns if c in shown]
    for axes, name in zip(panels, [*names, "images_per_lesion"], strict=False):
        values = (
            shown[name].astype(str).where(shown[name].notna(), "unknown")
            if name in columns
            else shown[name]
        )
        counts = pd.crosstab(values, shown["split"]).reindex(columns=list(SPLITS), fill_value=0)
        shares = counts / counts.sum()
        places = np.arange(len(shares))
        for index, split in enumerate(SPLITS):
            offset = (index - 1) * 0.27
            axes.bar(
                places + offset,
                shares[split],
                0.27,
                color=PALETTE[index],
                label=f"{split} ({counts[split].sum()})",
            )
        labels = [str(v) for v in shares.index]
        axes.set_xticks(
            places,
            labels,
            rotation=60 if len(labels) > 4 else 0,
            ha="right" if len(labels) > 4 else "center",
        )
        axes.set(
            title=columns.get(name, "images of the same lesion"),
            ylabel="share of the split's images",
        )
        axes.grid(axis="y", alpha=0.25)
    for axes in panels[len(names) + 1 :]:
        axes.remove()
    panels[0].legend()
    _save(path, figure)


def _area(value: float | None) -> str:
    return "AUROC undefined" if value is None else f"AUROC {value:.3f}"


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)


def _save(path: Path, figure: Figure) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    files.write_bytes(path, stream.getvalue())
