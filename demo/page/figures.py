"""The tab "How good is it?": what a model's own files say of it, at the cut in use.

All figures are of the seven-class model, whose probability of malignancy the page shows.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.models import PICTURES, Pair, card_text
from demo.page.html import fill
from demo.page.view import alarm_level
from dermhub import Zone

SUBGROUPS = {"sex": "Sex", "age": "Age", "localization": "Body site"}
"""Key in metrics.json -> what the groups differ in."""


def summary(pair: Pair) -> str:
    """Return what the model flags, of the test images and of another hospital's, as HTML."""
    test = pair.metrics["test"]
    return fill(
        "figures.html.jinja",
        alarm_level=alarm_level(pair.lesion.config.thresholds[pair.point].value),
        images=test["n"],
        tested=flagged(pair.tested, test["intervals"]["bounds"]),
        rows=[*_rows(pair)],
        zones=[*_zones(pair)],
    )


def details(pair: Pair) -> str:
    """Return subgroups, skin tone, curves and model cards, all folded, as HTML."""
    test = pair.metrics["test"]
    rest = [
        ("AUROC of malignancy", _number(test, "malignancy_auroc")),
        ("Accuracy of the seven diagnoses", _number(test, "accuracy")),
        ("Balanced accuracy", _number(test, "balanced_accuracy")),
        ("Macro-F1", _number(test, "macro_f1")),
        ("Expected calibration error", _number(test, "ece")),
    ]
    return fill(
        "details.html.jinja",
        subgroups=[*_subgroups(test["subgroups"])],
        skin=_skin(test.get("skin", {})),
        rest=rest,
        plots=[
            (title, _embedded(pair.lesion.folder / file, "image/png"))
            for file, title in PICTURES.items()
        ],
        cards=[
            (model.name, _as_address(card_text(model).encode(), "text/markdown;charset=utf-8"))
            for model in (pair.lesion, pair.binary)
        ],
    )


def flagged(counts: dict[str, Any], bounds: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of an operating point in words: cancers and harmless lesions flagged.

    `counts` has tp, fn, fp and tn, and `bounds` the intervals of sensitivity and specificity.
    """
    sick, healthy = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    false = bounds.get("specificity")
    return {
        "cancers": sick,
        "found": counts["tp"],
        "found_share": _of_100(counts["tp"], sick, bounds.get("sensitivity")),
        "harmless": healthy,
        "alarms": counts["fp"],
        "alarms_share": _of_100(
            counts["fp"], healthy, [1 - false[1], 1 - false[0]] if false else None
        ),
    }


def _rows(pair: Pair) -> Iterator[tuple[str, dict[str, Any]]]:
    metrics = pair.metrics
    bounds = metrics["test"]["intervals"]["bounds"]
    yield "All test images", flagged(pair.tested, bounds)
    biopsied = metrics["test"]["subgroups"].get("dx_type", {}).get("histo")
    if biopsied and biopsied["sensitivity"] is not None:
        yield "Only those that were biopsied", flagged(_counts(biopsied), biopsied["intervals"])
    external = metrics.get("external")
    if external:
        counts = external["operating_points"][pair.point]
        yield "Another hospital (PH2, Portugal)", flagged(counts, counts["bounds"])


def _zones(pair: Pair) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield each data set with zone, cancers of 100 images in it, and the interval of that number.

    A data set whose zones were not counted is left out.
    """
    for title, figures in (
        ("Test images", pair.metrics["test"]),
        ("Another hospital (PH2)", pair.metrics.get("external", {})),
    ):
        counts = figures.get("zones")
        if counts:
            yield title, [(zone.value, *_cancers_of_100(counts[zone.value])) for zone in Zone]


def _cancers_of_100(counts: dict[str, Any]) -> tuple[str, str]:
    if not counts["n"]:
        return "no image", ""
    bounds = counts.get("bounds") or [None]
    interval = "" if None in bounds else f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f}"
    return f"{100 * counts['malignant'] / counts['n']:.0f}", interval


def _subgroups(subgroups: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    for key, title in SUBGROUPS.items():
        groups = subgroups.get(key, {}).items()
        enough = [
            (name, flagged(_counts(group), group["intervals"]))
            for name, group in groups
            if group["sensitivity"] is not None and group["specificity"] is not None
        ]
        if enough:
            yield title, enough


def _counts(group: dict[str, Any]) -> dict[str, int]:
    """Return the counts of a group from its shares, which metrics.json states in full."""
    sick, healthy = group["malignant"], group["n"] - group["malignant"]
    found, right = round(group["sensitivity"] * sick), round(group["specificity"] * healthy)
    return {"tp": found, "fn": sick - found, "fp": healthy - right, "tn": right}


def _skin(bands: dict[str, int]) -> dict[str, Any] | None:
    if not bands:
        return None
    dark = bands.get("brown", 0) + bands.get("dark", 0)
    measured = sum(count for band, count in bands.items() if band != "unknown")
    light = bands.get("very light", 0) + bands.get("light", 0)
    return {"light": light, "dark": dark, "measured": measured, "unknown": bands.get("unknown", 0)}


def _of_100(part: int, whole: int, bounds: list[float] | None) -> str:
    """Return a share in whole percent, with its interval where there is one: "96%, 93-98"."""
    if not whole:
        return "none"
    shown = f"{part / whole:.0%}"
    if not bounds or None in bounds:
        return shown
    return f"{shown}, 95% interval {100 * bounds[0]:.0f} to {bounds[1]:.0%}"


def _number(test: dict[str, Any], key: str) -> str:
    value, bounds = test.get(key), test.get("intervals", {}).get("bounds", {}).get(key)
    if value is None:
        return "not defined"
    shown = f"{value:.3f}"
    return (
        shown if not bounds or None in bounds else f"{shown} ({bounds[0]:.3f} to {bounds[1]:.3f})"
    )


@functools.lru_cache(maxsize=16)
def _embedded(path: Path, kind: str) -> str:
    return _as_address(path.read_bytes(), kind)


def _as_address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
