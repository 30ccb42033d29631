"""Checks of a row of scores: do its values fit each other, as those of a model's answer do?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dermhub.scoring.results import ERROR, TEXT
from dermhub.tasks import TASKS

TOLERANCE = 1e-6
"""Difference that rounding may make between a sum and its parts."""

Problem = tuple[str, str]
"""A column, and what is wrong with its value."""


def problem(row: Sequence[str], columns: Sequence[str]) -> Problem | None:
    """Return the first value that doesn't fit, or None for a row that may be a model's answer.

    Numbers must be finite and from 0 to 1, the probabilities sum to 1, the label be the most
    probable class, `malignancy` the sum of the malignant classes, and `malignant` say whether it
    reaches `threshold`. A row with an error has nothing but its name and the error.
    """
    cells = dict(zip(columns, row, strict=True))
    if cells.get(ERROR):
        filled = [name for name in columns if name not in (columns[0], ERROR) and cells[name]]
        return (filled[0], "is filled beside an error") if filled else None
    numbers = {}
    for name in columns:
        if name in TEXT or name == "malignant":
            continue
        number = _number(cells[name])
        if number is None:
            return name, f"is {cells[name][:40]!r}, expected a number from 0 to 1"
        numbers[name] = number
    return _class_problem(cells, numbers) or _malignancy_problem(cells, numbers)


def _class_problem(cells: dict[str, str], numbers: dict[str, float]) -> Problem | None:
    """Compare the probabilities with 1, and the label and the prediction set with them."""
    shares = _shares(numbers)
    if not shares:
        return None
    total = math.fsum(shares.values())
    if abs(total - 1) > TOLERANCE:
        return f"p_{max(shares, key=shares.__getitem__)}", (
            f"belongs to probabilities that sum to {total:.6g}, expected 1"
        )
    label = cells.get("label")
    best = max(shares.values())
    if label is not None and shares.get(label) != best:
        most = next(name for name, share in shares.items() if share == best)
        return "label", f"is {label[:40]!r}, but {most!r} is the most probable class"
    members = cells.get("conformal", "").split()
    if len(set(members)) < len(members) or not set(members) <= shares.keys():
        return "conformal", f"is {cells['conformal'][:40]!r}, expected classes of the model"
    return None


def _malignancy_problem(cells: dict[str, str], numbers: dict[str, float]) -> Problem | None:
    """Compare the malignancy with its classes, and the call with the threshold."""
    if "malignancy" not in numbers:
        return None
    malignancy = numbers["malignancy"]
    shares = _shares(numbers)
    for task in TASKS.values():
        if task.classes == tuple(shares):
            total = math.fsum(shares[name] for name in task.positive)
            if abs(total - malignancy) > TOLERANCE:
                return "malignancy", (
                    f"is {malignancy:.6g}, but the malignant classes sum to {total:.6g}"
                )
    if "malignant" in cells and "threshold" in numbers:
        expected = str(malignancy >= numbers["threshold"])
        if cells["malignant"] != expected:
            return "malignant", (
                f"is {cells['malignant'][:40]!r}, expected {expected} for a malignancy of "
                f"{malignancy:.6g} and a threshold of {numbers['threshold']:.6g}"
            )
    return None


def _shares(numbers: dict[str, float]) -> dict[str, float]:
    """The probability of each class."""
    return {name[2:]: number for name, number in numbers.items() if name.startswith("p_")}


def _number(text: str) -> float | None:
    """Read a number from 0 to 1; None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    # A sum may exceed 1 by rounding. NaN is in no range.
    return number if 0 <= number <= 1 + TOLERANCE else None
