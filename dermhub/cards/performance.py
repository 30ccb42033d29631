"""The measured half of a model card: one function a section, metrics.json and config.json ->
Markdown.
"""

from __future__ import annotations

from typing import Any

from dermhub.layout import GRAPH
from dermhub.models.config import ModelConfig

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


GROUPS = {"sex": "sex", "age": "age", "localization": "site", "dx_type": "ground truth"}
"""Column of the table -> how a subgroup of it is called."""


def figures(config: ModelConfig, content: dict[str, Any]) -> str:
    """Headline figures on test with intervals, on validation, and on what histology proved."""
    test, proven, known = (
        content["test"],
        content["test"].get("histology_only"),
        content["test"]["intervals"],
    )
    heading = f"| | test (n = {test['n']}) | validation (n = {content['validation']['n']}) |"
    rule = "|---|---|---|"
    if proven:
        heading += f" test, histology only (n = {proven['n']}) |"
        rule += "---|"
    rows = [
        f"| {text} | {with_interval(test[key], known['bounds'][key])} | "
        f"{number(content['validation'][key])} |"
        + (f" {number(proven.get(key))} |" if proven else "")
        for key, (_, text) in HEADLINES.items()
    ]
    units = f"{known['lesions']} lesions, not of their images"
    if content["overlap"] is None:
        units = f"{known['lesions']} files that differ"
    leak = ""
    if is_ham(config):
        leak = """ What a split by image, as others use it, would report is measured in
dermhub's `benchmarks/README.md` ("The leak meter")."""
    return f"""## Figures

{_apart(config, content)} Nothing was chosen on it: weights,
probabilities and thresholds were chosen on validation. In parentheses: {known["level"]:.0%} intervals from
{known["resamples"]} resamples of the {units} (percentile bootstrap; that of the
ECE, which resampling raises, moved onto the figure).{leak}

{heading}
{rule}
{lines(rows)}"""


def _apart(config: ModelConfig, content: dict[str, Any]) -> str:
    """What the test images are, and how far they are known to be apart from what was learned."""
    test = content["test"]
    if content["overlap"] is None:
        return f"""Test is {test["n"]} images. **The data name no lesions: photographs of one lesion may stand in
training and in test, so that these figures may be too high.** Only copies of one file are known to be on one
side. Figures of a split by lesion can't be compared with them."""
    # Images from elsewhere may come without lesion ids; then only copies of held-out images could
    # be left out.
    far = ";\nof training images from elsewhere this holds as far as their lesions are known"
    far = far if "extra" in config.provenance["data"] else ""
    counts = f"{test['n']} images of {test['lesions']} lesions"
    return f"""Test is {counts}; no photograph of any of these lesions was used in training
or selection ({content["overlap"]} lesions stand in more than one split){far}."""


def reproduction(config: ModelConfig, content: dict[str, Any]) -> str:
    """How anyone measures the figures again."""
    if not is_ham(config):
        return """### How to measure again

The figures were measured on the data named below; `predictions.csv` holds the logits that they were worked out from."""
    return f"""### How to measure again

With HAM10000 in `HAM/`; `predictions.csv`, beside this card in dermhub's own repository, holds the logits of
every validation and test image:

```
python -m dermhub evaluate --model {content["model"]} --images HAM --labels HAM/HAM10000_metadata.csv --split test
```"""


def classes(config: ModelConfig, content: dict[str, Any]) -> str:
    """The figures of each class on test, recall with its interval."""
    known = content["test"]["intervals"]["recall"]
    rows = [
        f"| `{name}` | {row['n']} | {with_interval(row['recall'], known[name])} | "
        f"{number(row['precision'])} | "
        f"{number(row['f1'])} | {number(row['auroc'])} |"
        for name, row in content["test"]["per_class"].items()
    ]
    return f"""### Each class, on test

| class | n | recall | precision | F1 | AUROC against the rest |
|---|---|---|---|---|---|
{lines(rows)}

![Confusion matrix on test](figures/confusion_matrix.png)"""


def operation(config: ModelConfig, content: dict[str, Any]) -> str:
    """Operating points for malignancy: the threshold, what it was chosen for and on, and what it
    does on test.
    """
    test, rows = content["test"], []
    positive = sum(test["per_class"][c]["n"] for c in config.task.positive)
    for index, (name, threshold) in enumerate(config.thresholds.items()):
        point = test["operating_points"][name]
        # Intervals were worked out for the default point.
        bounds = test["intervals"]["bounds"] if index == 0 else {}
        rows.append(
            f"| `{name}`: {threshold.aim} | {threshold.value:.4f} | {threshold.split} | "
            f"{with_interval(point['sensitivity'], bounds.get('sensitivity'))} "
            f"| {point['tp']} of {point['tp'] + point['fn']} | "
            f"{with_interval(point['specificity'], bounds.get('specificity'))} "
            f"| {point['tn']} of {point['tn'] + point['fp']} | {number(point['ppv'])} | "
            f"{number(point['npv'])} |"
        )
    malignant = ", ".join(f"`{c}`" for c in config.task.classes if c in config.task.positive)
    return f"""### Operating points for malignancy, on test

The probability of malignancy is that of {malignant}. The first point is the default. PPV and NPV hold at the
prevalence of this test split, {positive / test["n"]:.1%}, and at no other.

| operating point | threshold | chosen on | sensitivity | found | specificity | left alone | PPV | NPV |
|---|---|---|---|---|---|---|---|---|
{lines(rows)}

![ROC curves on test](figures/roc.png)"""


def calibration(config: ModelConfig, content: dict[str, Any]) -> str:
    """How far the probabilities can be taken at their word."""
    chosen = content["selection"]
    shifts = {
        name: chosen["prior_exponent"] * value for name, value in chosen["prior_offset"].items()
    }
    mean = sum(shifts.values()) / len(shifts)
    told = ", ".join(
        f"{name} {round(value - mean, 2) + 0.0:+.2f}" for name, value in shifts.items()
    )
    if "soup" in config.provenance:
        told += ".\nThe biases of the models that were averaged with it hold shifts of their own"
    return f"""### Calibration

Logits are divided by {config.temperature:g} before the softmax. On validation, where this was fitted, the expected
calibration error goes from {chosen["ece_before_temperature"]:.4f} to {content["validation"]["ece"]:.4f}; on test it is
{content["test"]["ece"]:.4f}. Part of the classifier's bias, and chosen there as well, is a shift of the logits
between frequent and rare classes: {told}.

![Reliability diagram on test](figures/reliability.png)"""


def subgroups(config: ModelConfig, content: dict[str, Any]) -> str:
    """Test figures by sex, age, site and ground truth."""
    rows = []
    for column, values in content["test"]["subgroups"].items():
        for value, row in values.items():
            cells = [
                with_interval(row[key], row["intervals"][key])
                for key in ("accuracy", "malignancy_auroc", "sensitivity", "specificity")
            ]
            rows.append(
                f"| {GROUPS[column]}: {value} | {row['n']} | {row['lesions']} | {row['malignant']} "
                "| "
                f"{' | '.join(cells)} |"
            )
    if not rows:
        return """### Subgroups, on test

The data name no sex, age, site or ground truth, so that no subgroup could be measured."""
    return f"""### Subgroups, on test

At the default operating point. A figure that rests on too few images to say anything is a dash, and one that is the
same in every resample has no interval. Subgroups differ in their diagnoses as well: histology is what looked
suspicious enough to be cut out, follow-up what did not.

| subgroup | n | lesions | malignant | accuracy | AUROC of malignancy | sensitivity | specificity |
|---|---|---|---|---|---|---|---|
{lines(rows)}"""


def errors(config: ModelConfig, content: dict[str, Any]) -> str:
    """The test images that the model was most confidently wrong about."""
    rows = [
        f"| `{row['image_id']}` | `{row['truth']}` | `{row['predicted']}` | "
        f"{number(row['probability'])} |"
        for row in content["test"]["worst_errors"]
    ]
    if not rows:
        return "### Worst errors, on test\n\nNo test image was called wrongly."
    return f"""### Worst errors, on test

The wrong answers that were given with the highest probability, worst first.

| image | truth | predicted | probability |
|---|---|---|---|
{lines(rows)}"""


def costs(config: ModelConfig, content: dict[str, Any]) -> str:
    """Size, hash and speed."""
    weights, spent = content["weights"], content["latency"]
    width, height = spent["image"]
    # A metrics.json without it is older than the choice.
    by = f" by {spent['runtime']}" if "runtime" in spent else ""
    graph = (
        f"\n| `{GRAPH}`, the same as a graph | sha256 `{config.files[GRAPH]}` |"
        if GRAPH in config.files
        else ""
    )
    return f"""### Size and speed

| | |
|---|---|
| parameters | {weights["parameters"]} |
| `model.safetensors` | {weights["megabytes"]} MB, sha256 `{weights["sha256"]}` |{graph}
| `predict`{by}, one image of {width} x {height} pixels | {spent["median_ms"]} ms (median of {spent["n"]}), \
{spent["threads"]} thread(s) of {spent["processor"]} ({spent["machine"]}) |"""


def is_ham(config: ModelConfig) -> bool:
    """Whether a model was trained on HAM10000's lesions in the shipped partition."""
    return bool(config.provenance["data"]["ham10000_lesions"])


def number(value: float | None) -> str:
    """A figure with three digits, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.3f}"


def with_interval(value: float | None, bounds: list[float] | None) -> str:
    """A figure as `0.812 (0.790-0.833)`, without the parentheses where there is no interval."""
    return (
        number(value)
        if value is None or bounds is None
        else f"{value:.3f} ({bounds[0]:.3f}-{bounds[1]:.3f})"
    )


def span(bounds: list[float] | None) -> str:
    """An interval of a figure that may be below 0."""
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def signed(value: float | None, bounds: list[float] | None) -> str:
    """A figure that may be below 0, with its interval."""
    return number(value) if value is None or bounds is None else f"{value:.3f} ({span(bounds)})"


def lines(rows: list[str]) -> str:
    """Rows of a table, one a line."""
    return "\n".join(rows)
