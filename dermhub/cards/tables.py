"""Rows of those tables of a model card that need more than one loop over metrics.json.

A row is a tuple of cells. The other tables stand in the template.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dermhub.cards.figures import HEADLINES, fine, number, signed, with_interval
from dermhub.models.config import ModelConfig
from dermhub.zones import Zone, Zones

Row = tuple[str, ...]

GROUPS = {"sex": "sex", "age": "age", "localization": "site", "dx_type": "ground truth"}
"""Column of the data -> name of its subgroups in the card."""

COUNTED = {
    "image_sizes": "pixels",
    "dx": "diagnosis",
    "dx_type": "ground truth",
    "sex": "sex",
    "localization": "site",
}
"""Property that is counted in each split -> its name in the card."""

COMPARED = ("logits", "probabilities", "heat map")
"""Answers that the proof of parity compares; for ONNX files it has no logits."""


def lines(rows: Iterable[Row]) -> str:
    """Rows as lines of a Markdown table."""
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows)


def headlines(content: dict[str, Any]) -> list[Row]:
    """The heading, and a row for each headline figure.

    The columns are test with intervals, validation, and, where the data name it, the test images
    whose diagnosis histology proved.
    """
    test = content["test"]
    validation = content["validation"]
    bounds = test["intervals"]["bounds"]
    proven = test.get("histology_only")
    rows: list[Row] = [("", f"test (n = {test['n']})", f"validation (n = {validation['n']})")]
    rows += [
        (text, with_interval(test[key], bounds[key]), number(validation[key]))
        for key, (_, text) in HEADLINES.items()
    ]
    if proven:
        more = [number(proven.get(key)) for key in HEADLINES]
        more.insert(0, f"test, histology only (n = {proven['n']})")
        rows = [(*row, cell) for row, cell in zip(rows, more, strict=True)]
    return rows


def operating_points(config: ModelConfig, test: dict[str, Any]) -> list[Row]:
    """A row for each threshold of malignancy; only the default point, the first, has intervals."""
    rows: list[Row] = []
    for name, threshold in config.thresholds.items():
        point = test["operating_points"][name]
        bounds = {} if rows else test["intervals"]["bounds"]
        rows.append(
            (
                f"`{name}`: {threshold.aim}",
                f"{threshold.value:.4f}",
                threshold.split,
                with_interval(point["accuracy"], bounds.get("call_accuracy")),
                with_interval(point["sensitivity"], bounds.get("sensitivity")),
                f"{point['tp']} of {point['tp'] + point['fn']}",
                with_interval(point["specificity"], bounds.get("specificity")),
                f"{point['tn']} of {point['tn'] + point['fp']}",
                number(point["ppv"]),
                number(point["npv"]),
            )
        )
    return rows


def zones(figures: dict[str, Any], cuts: Zones) -> list[Row]:
    """A row for each zone of suspicion, from the lowest: where it begins, and what lies in it.

    `figures` is the block `test` or `external` of metrics.json.
    """
    starts = {
        Zone.LOW: "0",
        Zone.SUSPICIOUS: f"{cuts.suspicious.value:.4f}",
        Zone.HIGHLY_SUSPICIOUS: f"{cuts.highly_suspicious.value:.4f}",
    }
    rows: list[Row] = []
    for zone, start in starts.items():
        row = figures["zones"][zone]
        rows.append(
            (
                zone.value,
                start,
                str(row["n"]),
                str(row["malignant"]),
                with_interval(row["share"], row["bounds"]),
                number(row["of_malignant"]),
                number(row["of_benign"]),
            )
        )
    return rows


def refusals(block: dict[str, Any]) -> list[Row]:
    """A row for malignant and for benign images, and for each diagnosis."""
    parts = {"malignant": block["malignant"], "benign": block["benign"]}
    parts |= {f"`{name}`": row for name, row in block["diagnoses"].items()}
    return [(name, str(row["n"]), str(row["refused"])) for name, row in parts.items()]


def prevalences(test: dict[str, Any]) -> list[Row]:
    """A row for each operating point at each prevalence."""
    return [
        (
            f"`{name}` where {share} are malignant",
            fine(there["ppv"]),
            fine(there["npv"]),
            f"{there['missed']:.1f}",
            f"{there['false_alarms']:.1f}",
        )
        for name, point in test["operating_points"].items()
        for share, there in point["at_prevalence"].items()
    ]


def prediction_sets(sets: dict[str, Any]) -> list[Row]:
    """A row for all test images and for each class."""
    parts = {"all": sets} | {f"`{name}`": row for name, row in sets["per_class"].items()}
    keys = ("coverage", "coverage_of_lesions", "mean_size", "abstention_rate")
    return [
        (name, str(row["n"]), str(row["lesions"]), *(number(row[key]) for key in keys))
        for name, row in parts.items()
    ]


def subgroups(test: dict[str, Any]) -> list[Row]:
    """A row for each subgroup by sex, age, site and ground truth; none where the data lack them."""
    keys = ("accuracy", "malignancy_auroc", "sensitivity", "specificity")
    return [
        (
            f"{GROUPS[column]}: {value}",
            *(str(row[name]) for name in ("n", "lesions", "malignant")),
            *(with_interval(row[key], row["intervals"][key]) for key in keys),
        )
        for column, values in test["subgroups"].items()
        for value, row in values.items()
    ]


def class_maps(maps: dict[str, Any]) -> list[Row]:
    """A row for all test images, for right and wrong answers, and for each class."""
    parts = {"all": maps["all"], "right answers": maps["right"], "wrong answers": maps["wrong"]}
    parts |= {f"`{name}`": row for name, row in maps["per_class"].items()}
    return [
        (
            name,
            str(row["n"]),
            *(
                with_interval(row[key], row["bounds"][key])
                for key in ("inside", "lesion_share", "ratio")
            ),
            number(row["inside_other"]),
            with_interval(row["hit"], row["bounds"]["hit"]),
            number(row["hit_other"]),
        )
        for name, row in parts.items()
    ]


def external(figures: dict[str, Any]) -> list[Row]:
    """The rows of the external test; a binary model has no AUROC of melanoma."""
    bounds = figures["bounds"]
    curve = figures["calibration"]
    rows: list[Row] = [
        (f"AUROC of {name}", with_interval(figures[key], bounds[key]), "")
        for key, name in (("malignancy_auroc", "malignancy"), ("melanoma_auroc", "melanoma"))
        if figures[key] is not None
    ]
    for name, point in figures["operating_points"].items():
        for key, hit, other in (("sensitivity", "tp", "fn"), ("specificity", "tn", "fp")):
            value = with_interval(point[key], point["bounds"][key])
            rows.append(
                (f"{key} at `{name}`", value, f"{point[hit]} of {point[hit] + point[other]}")
            )
    for key, ideal in (("slope", 1), ("intercept", 0)):
        value = signed(curve[key], curve["bounds"][key])
        rows.append((f"calibration {key} (ideal: {ideal})", value, ""))
    return rows


def parity(block: dict[str, Any]) -> list[str]:
    """The lines of largest differences on s390x, one for each runtime."""
    runtimes = (
        (f"PyTorch {block['torch'][1]}", block["largest_difference"]["pytorch"]),
        (f"ONNX Runtime {block['onnxruntime']}", block["largest_difference"]["onnx"]),
    )
    return [
        f"| {name} | {' | '.join(f'{far[key]:.1e}' if key in far else '' for key in COMPARED)} |"
        for name, far in runtimes
    ]


def splits(content: dict[str, Any]) -> list[Row]:
    """Counts of images, lesions and properties in each split, as far as the data have them."""
    parts = list(content["data"].values())
    lesions = "files that differ" if content["overlap"] is None else "lesions"
    rows: list[Row] = [
        ("images", *(str(part["images"]) for part in parts)),
    ]
    if all("patients" in part for part in parts):
        rows.append(("patients", *(str(part["patients"]) for part in parts)))
    else:
        rows.append((lesions, *(str(part["lesions"]) for part in parts)))
    for column, text in COUNTED.items():
        for value in sorted({value for part in parts for value in part.get(column, {})}):
            counts = (str(part.get(column, {}).get(value, 0)) for part in parts)
            rows.append((f"{text}: {value}", *counts))
    if all("age" in part for part in parts):
        ages = [part["age"] for part in parts]
        cells = (f"{age['median']:.0f} ({age['q25']:.0f}-{age['q75']:.0f})" for age in ages)
        rows.append(("age: median (quartiles)", *cells))
    return rows
