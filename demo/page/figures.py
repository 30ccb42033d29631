"""The figures tab: a model's headline figures and plots, from the model's own files."""

from __future__ import annotations

import base64
import functools
from html import escape
from pathlib import Path
from typing import Any

from demo.models import PICTURES, figures
from demo.page.html import table

HEADLINES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro-F1": "macro_f1",
    "AUROC, mean over classes": "macro_auroc",
    "AUROC of malignancy": "malignancy_auroc",
    "expected calibration error": "ece",
}

TITLES = {"lesion": "Seven classes", "binary": "Benign or malignant"}


def summary(model: Any) -> str:
    """Return the headline figures of a model on the test split, and its plots.

    The figures have their 95% intervals where the model states them.
    """
    test = figures(model)["test"]
    bounds = test.get("intervals", {}).get("bounds", {})
    point, threshold = next(iter(model.config.thresholds.items()))
    chosen = test["operating_points"][point]
    rows = [
        (title, _number(test.get(key)), _between(bounds.get(key)))
        for title, key in HEADLINES.items()
    ]
    rows += [
        (
            f"{name} for malignancy at the threshold of {threshold.value:.1%}",
            _number(chosen[name]),
            _between(bounds.get(name)),
        )
        for name in ("sensitivity", "specificity")
    ]
    caption = (
        f"{model.name}: {test['n']:,} test images, none of a lesion that was used for training or "
        "for any choice"
    )
    title = f"<h2>{TITLES[model.config.task.name]}</h2>"
    shown = title + table(escape(caption), ("figure", "value", "95% interval"), rows)
    return f'<div class="derm">{shown}</div>{plots(model)}'


def plots(model: Any) -> str:
    """Return the plots of a model, each with a caption that says what it is."""
    shown = "".join(
        f'<figure><img src="{_embedded(model.folder / file)}" '
        f'alt="{escape(f"{title} of {model.name}, test images")}">'
        f"<figcaption>{escape(f'{model.name}: {title} on test images')}</figcaption></figure>"
        for file, title in PICTURES.items()
    )
    return f'<div class="derm derm-plots">{shown}</div>'


@functools.lru_cache(maxsize=16)
def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _between(bounds: list[float] | None) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds and None not in bounds else ""
