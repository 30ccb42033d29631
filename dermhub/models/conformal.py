"""Split conformal prediction: sets that hold the true class of 90 % of the lesions of each class.

A set that is no answer makes the model abstain (`abstention_reason`).

A class is in the set when its probability reaches that class's own limit, chosen on validation so
that `level` of the class's lesions are covered. Per class, because a limit for all together would
be met by the frequent nevi alone while half of the rare melanomas fell out (label-conditional,
"Mondrian", inductive conformal predictors: Vovk, "Conditional validity of inductive conformal
predictors", ACML 2012, PMLR 25:475-490; with 1 - p(class) as the score: Sadinle, Lei and Wasserman,
"Least ambiguous set-valued classifiers with bounded error levels", JASA 114:223-234, 2019; with the
finite-sample quantile: Angelopoulos and Bates, "Conformal prediction: a gentle introduction",
Foundations and Trends in Machine Learning 16:494-591, 2023).

Photographs of one lesion resemble each other, so n photographs are not n exchangeable cases.
Lesions are: each lesion has the weight 1 here, shared by its photographs, and the next lesion, not
yet seen, one more (hierarchical conformal prediction: Lee, Barber and Willett, "Distribution-free
inference with hierarchical data", arXiv:2306.06342). That uses every photograph, needs no random
choice of one per lesion, and promises that a photograph of a new lesion is covered with probability
`level`, if the lesion comes from where validation comes from. Temperature and thresholds were
chosen on the same validation images, so what was measured on test counts, not the promise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats64, Ints
from dermhub.models.config import Conformal
from dermhub.tasks import plain_name

LEVEL = 0.9
"""Share of each class's lesions that a prediction set has to cover."""


def fit(
    probabilities: Floats64,
    targets: Ints,
    lesions: NDArray[np.str_],
    classes: tuple[str, ...],
    level: float = LEVEL,
) -> Conformal:
    """Find the smallest probability that keeps each class in the set, on validation images alone.

    `probabilities` is (N, C), calibrated as they will be in use; `targets` (N,) class indices;
    `lesions` (N,) ids. A class with fewer than level / (1 - level) lesions (9 at 90 %) can't be
    left out of any set with that promise: 0.
    """
    least = {}
    for index, name in enumerate(classes):
        rows = targets == index
        least[name] = _least(probabilities[rows, index], lesions[rows], level)
    return Conformal(level, least)


def prediction_sets(
    probabilities: Floats64, conformal: Conformal, classes: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Return which classes are in the set of each row of (N, C) probabilities: (N, C) bool."""
    return np.asarray(probabilities >= np.array([conformal.least[name] for name in classes]))


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
    held = prediction_sets(probabilities, limits, classes)
    best = probabilities.argmax(axis=1)
    reasons = []
    for row, top in zip(held, best, strict=True):
        names = [classes[index] for index in np.flatnonzero(row)]
        reasons.append(abstention_reason(names, len(classes), classes[top]))
    return np.array([bool(reason) for reason in reasons], bool)


def photograph_weights(lesions: NDArray[np.str_]) -> Floats64:
    """Weigh each photograph by one divided by the number of photographs of its lesion: (N,)."""
    _, inverse, counts = np.unique(lesions, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[inverse])


def _least(scores: Floats64, lesions: NDArray[np.str_], level: float) -> float:
    """Return the largest limit that keeps lesions of the weight level * (n + 1).

    n is the number of lesions; the one more is the next lesion, which nobody has seen yet.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.cumsum(photograph_weights(lesions)[order])
    # The sum of thirds may miss a whole number by rounding.
    enough = np.flatnonzero(kept >= level * (len(np.unique(lesions)) + 1) - 1e-9)
    if not len(enough):
        return 0.0
    # Rounded down, so that the photograph that set the limit stays inside.
    return float(np.floor(scores[order][enough[0]] * 1e9) / 1e9)
