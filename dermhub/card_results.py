"""The sections of a model card that show what was measured; every figure comes from metrics.json."""

from __future__ import annotations

from typing import Any

from dermhub.config import ModelConfig

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


GROUPS = {"sex": "sex", "age": "age in years", "localization": "site", "dx_type": "ground truth"}
"""Column of `breakdown.subgroups` -> plain name."""


def is_ham10000(config: ModelConfig) -> bool:
    """Whether the model was trained on lesions of HAM10000, divided as the shipped partition says."""
    return bool(config.provenance["data"]["ham10000_lesions"])


def number(value: float | None) -> str:
    """A figure with four digits, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"


def lines(rows: list[str]) -> str:
    """Rows of a table."""
    return "\n".join(rows)


def _figures(config: ModelConfig, content: dict[str, Any]) -> str:
    test, proven = content["test"], content["test"].get("histology_only")
    heading = f"| | test (n = {test['n']}) | 95 % interval | validation (n = {content['validation']['n']}) |"
    rule = "|---|---|---|---|"
    if proven:
        heading += f" test, histology only (n = {proven['n']}) |"
        rule += "---|"
    rows = [
        f"| {text} | {number(test[key])} | {_interval(test, key)} | {number(content['validation'][key])} |"
        + (f" {number(proven.get(key))} |" if proven else "")
        for key, (_, text) in HEADLINES.items()
    ]
    return f"""## Figures

Test is {test["n"]} images of {test["lesions"]} lesions; no photograph of any of these lesions was used in training
or selection; everything was chosen on validation. Intervals are percentiles of
{test["intervals"]["resamples"]} bootstrap resamples of whole lesions.

{heading}
{rule}
{lines(rows)}

{_again(config, content)}"""


def _again(config: ModelConfig, content: dict[str, Any]) -> str:
    if not is_ham10000(config):
        return "The figures were measured on the data named below."
    return f"""With HAM10000 in `HAM/`, this measures them again:

```
python -m dermhub evaluate --model {content["model"]} --images HAM --labels HAM/HAM10000_metadata.csv --split test
```"""


def _classes(config: ModelConfig, content: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {row['n']} | {number(row['recall'])} | {number(row['precision'])} | "
        f"{number(row['f1'])} | {number(row['auroc'])} |"
        for name, row in content["test"]["per_class"].items()
    ]
    return f"""### Each class, on test

| class | n | recall | precision | F1 | AUROC against the rest |
|---|---|---|---|---|---|
{lines(rows)}

![Confusion matrix on test](figures/confusion_matrix.png)"""


def _operation(config: ModelConfig, content: dict[str, Any]) -> str:
    test = content["test"]
    positive = sum(test["per_class"][c]["n"] for c in config.task.positive)
    rows = []
    for name, threshold in config.thresholds.items():
        point = test["operating_points"][name]
        rows.append(
            f"| `{name}`: {threshold.aim} | {threshold.value:.4f} | {number(point['sensitivity'])} "
            f"({point['tp']} of {point['tp'] + point['fn']}; {_interval(test, f'{name}.sensitivity')}) | "
            f"{number(point['specificity'])} "
            f"({point['tn']} of {point['tn'] + point['fp']}; {_interval(test, f'{name}.specificity')}) | "
            f"{number(point['ppv'])} | {number(point['npv'])} |"
        )
    malignant = ", ".join(f"`{c}`" for c in config.task.classes if c in config.task.positive)
    return f"""### Operating points for malignancy, on test

The probability of malignancy is that of {malignant}. Thresholds were chosen on validation; the first is the
default. In brackets: counts and 95 % interval. PPV and NPV hold at the prevalence of this test split,
{positive / test["n"]:.1%}, and at no other.

| operating point | threshold | sensitivity | specificity | PPV | NPV |
|---|---|---|---|---|---|
{lines(rows)}

![ROC curves on test](figures/roc.png)"""


def _calibration(config: ModelConfig, content: dict[str, Any]) -> str:
    chosen = content["selection"]
    return f"""### Calibration

Logits are divided by {config.temperature:g} before the softmax. On validation, where this was fitted, the expected
calibration error goes from {chosen["ece_before_temperature"]:.4f} to {content["validation"]["ece"]:.4f}; on test it is
{content["test"]["ece"]:.4f}. {chosen["prior_exponent"]:.1f} of the log prior ratio between the data and the balanced
sampling is part of the classifier's bias (0: classes as they were drawn, 1: as they are in the data).

![Reliability diagram on test](figures/reliability.png)"""


def _groups(config: ModelConfig, content: dict[str, Any]) -> str:
    name = next(iter(config.thresholds))
    rows = []
    for column, text in GROUPS.items():
        for group, found in content["test"]["subgroups"].get(column, {}).items():
            figures = ("accuracy", "malignancy_auroc", "sensitivity", "specificity")
            values = " | ".join(number(found.get(figure)) for figure in figures)
            rows.append(f"| {text}: {group} | {found['n']} | {found.get('malignant', '-')} | {values} |")
    return f"""### Groups of patients, on test

Sensitivity and specificity at the operating point `{name}`. Groups of fewer than {content["test"]["smallest_group"]}
images are only counted; small groups say little.

| group | n | malignant | accuracy | AUROC of malignancy | sensitivity | specificity |
|---|---|---|---|---|---|---|
{lines(rows)}"""


def _errors(config: ModelConfig, content: dict[str, Any]) -> str:
    rows = [
        f"| {row['image_id']} | `{row['true']}` | {row['p_true']:.4f} | "
        f"`{row['predicted']}` | {row['p_predicted']:.4f} |"
        for row in content["test"]["worst_errors"]
    ]
    return f"""### The most confident errors, on test

| image | true class | its probability | predicted class | its probability |
|---|---|---|---|---|
{lines(rows)}"""


def _interval(test: dict[str, Any], key: str) -> str:
    limits = test["intervals"].get(key)
    return "-" if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}"


SECTIONS = (_figures, _classes, _operation, _calibration, _groups, _errors)
"""In the order of the card; each takes the model's configuration and the content of metrics.json."""
