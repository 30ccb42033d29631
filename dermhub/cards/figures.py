"""Numbers and short phrases of a model card, as they are written in its text."""

from __future__ import annotations

import shlex
from typing import Any

from dermhub.evaluation import calibration
from dermhub.models.config import ModelConfig
from dermhub.tasks import Task, plain_name

HEADLINES = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy (mean recall)"),
    "macro_f1": ("f1", "Macro-F1"),
    "macro_auroc": ("roc_auc", "Macro AUROC, one against the rest"),
    "malignancy_auroc": ("roc_auc", "AUROC of malignancy"),
    "ece": ("ece", "ECE, 15 bins"),
    "brier": ("brier_score", "Brier score (0 to 2)"),
}
"""Key in metrics.json -> metric type of the hub's model-index, and plain name."""


def number(value: float | None) -> str:
    """A figure with three digits, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.3f}"


def fine(value: float | None) -> str:
    """A share with four digits: an NPV of 1.000 would promise what no test can."""
    return "-" if value is None else f"{value:.4f}"


def percent(value: float, digits: int = 0) -> str:
    """A share from 0 to 1 as a percentage."""
    return f"{value:.{digits}%}"


def with_interval(value: float | None, bounds: list[float] | None) -> str:
    """A figure as `0.812 (0.790-0.833)`, without the parentheses where there is no interval."""
    if value is None or bounds is None:
        return number(value)
    return f"{value:.3f} ({bounds[0]:.3f}-{bounds[1]:.3f})"


def span(bounds: list[float] | None) -> str:
    """The interval of a figure that may be below 0, as `-0.006 to 0.004`."""
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def signed(value: float | None, bounds: list[float] | None) -> str:
    """A figure that may be below 0, with its interval."""
    return number(value) if value is None or bounds is None else f"{value:.3f} ({span(bounds)})"


def is_ham(config: ModelConfig) -> bool:
    """Tell whether a model was trained on HAM10000's lesions in the shipped partition."""
    return bool(config.provenance["data"]["ham10000_lesions"])


def dataset(config: ModelConfig) -> str:
    """The name of the data that a model was trained on."""
    if is_ham(config):
        return "HAM10000, lesion-disjoint dermhub partition"
    return str(config.provenance["data"]["source"])


def class_names(task: Task) -> str:
    """The classes of a task with their codes, as in `melanoma (`mel`)`."""
    return ", ".join(
        f"`{code}`" if plain_name(code) == code else f"{plain_name(code)} (`{code}`)"
        for code in task.classes
    )


def malignant_codes(task: Task) -> list[str]:
    """The malignant classes, in the order of the task."""
    return [code for code in task.classes if code in task.positive]


def positives(task: Task, test: dict[str, Any]) -> int:
    """The number of test images that show a malignant class."""
    return sum(int(test["per_class"][code]["n"]) for code in malignant_codes(task))


def missed(task: Task, test: dict[str, Any]) -> str:
    """The number of test images of each malignant class whose most probable class is another."""
    rows = {code: test["per_class"][code] for code in malignant_codes(task)}
    return ", ".join(
        f"{row['n'] - round(row['recall'] * row['n'])} of {row['n']} `{code}`"
        for code, row in rows.items()
        if row["recall"] is not None
    )


def curve_error(test: dict[str, Any]) -> float:
    """The expected calibration error of the probability of malignancy on test."""
    return calibration.curve_error(test["calibration"]["curve"])


def biases(bias: dict[str, float]) -> str:
    """The bias of each class with its code, as "`nv` +0.4800"."""
    return ", ".join(f"`{code}` {value:+.4f}" for code, value in bias.items())


def shares(prior: dict[str, float]) -> str:
    """The share of each class with its code, as "`nv` 66.9%"."""
    return ", ".join(f"`{code}` {value:.1%}" for code, value in prior.items())


def prior_shifts(selection: dict[str, Any]) -> str:
    """The shift of each class's logit that was chosen on validation, around their mean."""
    shifts = {
        code: selection["prior_exponent"] * value
        for code, value in selection["prior_offset"].items()
    }
    mean = sum(shifts.values()) / len(shifts)
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return ", ".join(
        f"{code} {round(value - mean, 2) + 0.0:+.2f}" for code, value in shifts.items()
    )


def command_options(config: ModelConfig) -> str:
    """The options of train.py that repeat the run of a model."""
    options = config.provenance["options"]
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in options.items()
        if value != ""
    ]
    # The place of a folder is not recorded; without --data the command would train on HAM10000.
    if not is_ham(config) and "data" not in options:
        given.append("--data DIR")
    return " ".join(given)
