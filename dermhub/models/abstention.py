"""Abstention: when a prediction set is no answer, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64
from dermhub.models import conformal
from dermhub.models.config import Conformal
from dermhub.tasks import plain_name


def abstention_reason(held: Sequence[str], classes: int, label: str) -> str:
    """Say in one sentence why a set with the classes `held` is no answer; "" when it is one.

    The model has `classes` classes. The set need not hold the most probable class, `label`: each
    class has its own limit, and that of a rare one is low.
    """
    size = len(held)
    if size == 0:
        return "The image is not typical of any class that the model knows."
    if size == classes:
        return (
            "The model can't rule out any class."
            if classes > 2
            else "Neither of the two classes can be ruled out."
        )
    if 2 * size > classes > 2:
        return f"{size} of the {classes} classes remain possible."
    if label in held:
        return ""
    remain = " or ".join(plain_name(name) for name in held)
    # This does not say that the class can be ruled out: on validation, six to seven in ten of such
    # answers were right.
    return (
        f"The most probable class, {plain_name(label)}, is less probable here than in most lesions "
        f"of that class, and {remain} can't be ruled out."
    )


def abstains(
    probabilities: Floats64, limits: Conformal, classes: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Return where the set of a row of (N, C) probabilities is no answer: (N,) bool.

    The rule is that of `abstention_reason`.
    """
    held = conformal.prediction_sets(probabilities, limits, classes)
    best = probabilities.argmax(axis=1)
    reasons = []
    for row, top in zip(held, best, strict=True):
        names = [classes[index] for index in np.flatnonzero(row)]
        reasons.append(abstention_reason(names, len(classes), classes[top]))
    return np.array([bool(reason) for reason in reasons], bool)
