"""The measured half of a model card, continued: how far its figures carry over to other images and
other places.

Each section is empty for a metrics.json that was written before the figure existed.
"""

from __future__ import annotations

from typing import Any

from dermhub.cards.performance import lines, number, signed, span, with_interval
from dermhub.models.config import ModelConfig
from dermhub.models.explanation import WHOLE

NONE = "**None.**"
"""Said where nothing was measured, loudly enough not to be read past."""


def prevalence(config: ModelConfig, content: dict[str, Any]) -> str:
    """What each operating point means where malignant lesions are as frequent as stated."""
    rows = [
        f"| `{name}` where {share} are malignant | {_fine(told['ppv'])} | {_fine(told['npv'])} | "
        f"{told['missed']:.1f} | {told['false_alarms']:.1f} |"
        for name, point in content["test"]["operating_points"].items()
        for share, told in point.get("at_prevalence", {}).items()
    ]
    if not rows:
        return ""
    return f"""### At other prevalences

Worked out from sensitivity and specificity on test, which themselves may differ elsewhere. Missed and false alarms are
numbers of 1,000 images, not of lesions: those that look suspicious are photographed more often.

| operating point | PPV | NPV | missed | false alarms |
|---|---|---|---|---|
{lines(rows)}"""


def slope(config: ModelConfig, content: dict[str, Any]) -> str:
    """Calibration slope and intercept of the probability of malignancy."""
    if "calibration" not in content["test"]:
        return ""
    told = content["test"]["calibration"]
    return f"""### Calibration of malignancy, on test

| probability of malignancy | value | ideal |
|---|---|---|
| calibration slope; below 1, probabilities are too extreme | {signed(told["slope"], told["bounds"]["slope"])} | 1 |
| calibration intercept; below 0, malignancy is rarer than they say | \
{signed(told["intercept"], told["bounds"]["intercept"])} | 0 |

Logistic regression of the truth on the logit of the probability (Cox 1958); the intercept is that at slope 1
(Van Calster et al. 2016).{_off(told["bounds"]["intercept"])}"""


def _off(bounds: list[float] | None) -> str:
    """A loud word where the probabilities of malignancy are wrong as a whole, beyond chance."""
    low, high = bounds or (0.0, 0.0)
    if low <= 0 <= high:
        return ""
    return f"""

**These probabilities are off: malignancy is {"rarer" if high < 0 else "more frequent"} in test than they say**, beyond
chance. The calls at the operating points do not rest on that; whoever reads a single probability does."""


def sets(config: ModelConfig, content: dict[str, Any]) -> str:
    """Coverage of the prediction sets, and how often the model gives no answer."""
    if "retest" not in content["test"]:
        return ""
    told = content["test"].get("conformal")
    if told is None or config.conformal is None:
        return (
            f"### Prediction sets\n\n{NONE} The model ships no limits for them, so that it "
            "never abstains."
        )
    rows = [
        f"| {name} | {row['n']} | {row['lesions']} | {number(row['coverage'])} | "
        f"{number(row['coverage_of_lesions'])} | {number(row['mean_size'])} | "
        f"{number(row['abstention_rate'])} |"
        for name, row in (("all", told), *((f"`{c}`", r) for c, r in told["per_class"].items()))
    ]
    return f"""### Prediction sets, on test

Each answer carries the set of classes that it can't rule out, with a limit for each class that was fitted on
validation to cover {told["level"]:.0%} of the lesions of that class. The model abstains where the set is empty, holds
every class, holds more than half of more than two, or lacks the most probable one. Of the answers that it gives,
{number(told["accuracy_answered"])} have the right class on top; at the default operating point their sensitivity is
{number(told["sensitivity_answered"])} and their specificity {number(told["specificity_answered"])}.

| class | n | lesions | covered images | covered lesions | mean size of the set | abstains |
|---|---|---|---|---|---|---|
{lines(rows)}"""


def retest(config: ModelConfig, content: dict[str, Any]) -> str:
    """How often the answer differs between photographs of one lesion."""
    told = content["test"].get("retest")
    if told is None:
        return ""
    if not told["lesions"]:
        return (
            f"### Same lesion, another photograph\n\n{NONE} No lesion of the test split has "
            "two "
            "photographs."
        )
    return f"""### Same lesion, another photograph, on test

{told["lesions"]} lesions have several photographs ({told["images"]} images, {told["pairs"]} pairs). Shares are means
over lesions of the share of their pairs.

| between two photographs of one lesion | share of pairs | lesions with any such pair |
|---|---|---|
| the most probable class differs | {number(told["class_differs"])} | {told["lesions_class"]} |
| the decision at the default operating point differs | {number(told["decision_differs"])} | \
{told["lesions_decision"]} |
| mean difference of the probability of malignancy | {number(told["malignancy_difference"])} | |"""


def resolution(config: ModelConfig, content: dict[str, Any]) -> str:
    """Whether the model takes sharpness for a diagnosis."""
    told = content["test"].get("resolution")
    if told is None:
        return ""
    rows = [f"| as they are | {number(told['auroc'])} | | {_means(told)} |"]
    rows += [
        f"| {name} the size | {number(told[key]['auroc'])} | "
        f"{span(told[key]['difference_bounds'])} | "
        f"{_means(told[key])} |"
        for key, name in (("half", "half"), ("double", "twice"))
    ]
    return f"""### Resolution, on test

The same test images scaled before the model sees them. A model that took blur for malignancy would raise the
probability at half the size. {_blur(told["half"])}\
The sharpness of an image alone (variance of the Laplacian; blurred counted as malignant)
has an AUROC of {number(told["blur_alone_auroc"])}, where 0.5 is chance.

| images | AUROC of malignancy | 95% interval of the change | mean probability, benign | mean probability, malignant |
|---|---|---|---|---|
{lines(rows)}"""


def _blur(half: dict[str, Any]) -> str:
    """Whether the probability rises for blurred images of both kinds, beyond chance; "" in an older
    metrics.json.
    """
    benign, malignant = half.get("rise_benign"), half.get("rise_malignant")
    if benign is None or malignant is None:
        return ""
    told = (
        "This one does" if min(benign[0], malignant[0]) > 0 else "This one does not, for both kinds"
    )
    return (
        f"{told}: mean change\n{span(benign)} for benign images, {span(malignant)} for "
        "malignant ones (95%). "
    )


def skin(config: ModelConfig, content: dict[str, Any]) -> str:
    """How many test images show which skin tone, as far as that can be told."""
    told = content["test"].get("skin")
    if told is None:
        return ""
    rows = [f"| {name} | {count} |" for name, count in told.items()]
    return f"""### Skin tone, on test

Individual typology angle (Chardon et al. 1991) of the pixels at the rim of each image, in its usual bands. The light
and white balance of a dermatoscope shift it by whole bands: these are counts of images, not facts about people, and
they can't show that the model works on dark skin. Unknown are rims without skin, and bluish ones, which no skin is.

| band | images |
|---|---|
{lines(rows)}"""


def external(config: ModelConfig, content: dict[str, Any]) -> str:
    """The external test, or that there is none."""
    if "external" not in content:
        return ""
    told = content["external"]
    if not told:
        return f"""## External test

{NONE} Every figure above comes from the data that the model was trained on; on images of other places it does worse,
and nobody knows by how much."""
    rows = [
        f"| AUROC of {text} | {with_interval(told[key], told['bounds'][key])} | |"
        for key, text in (("malignancy_auroc", "malignancy"), ("melanoma_auroc", "melanoma"))
        if told[key] is not None
    ]
    for name, point in told["operating_points"].items():
        found = (
            f"{point['tp']} of {point['tp'] + point['fn']}",
            f"{point['tn']} of {point['tn'] + point['fp']}",
        )
        for key, count in zip(("sensitivity", "specificity"), found, strict=True):
            rows.append(
                f"| {key} at `{name}` | {with_interval(point[key], point['bounds'][key])} | "
                f"{count} |"
            )
    curve = told["calibration"]
    rows.append(
        f"| calibration slope (ideal: 1) | {signed(curve['slope'], curve['bounds']['slope'])} | |"
    )
    rows.append(
        "| calibration intercept (ideal: 0) | "
        f"{signed(curve['intercept'], curve['bounds']['intercept'])} | |"
    )
    return f"""## External test

PH2 (Mendonca et al. 2013): {told["n"]} images from a hospital that is not in HAM10000, {told["melanoma"]} melanomas
against {told["nevus"]} common and atypical nevi. Nothing was chosen on them; the thresholds are those from validation.
Intervals come from resampling images.

| melanoma against nevus | value | images |
|---|---|---|
{lines(rows)}"""


def _fine(value: float | None) -> str:
    """A share with four digits: an NPV of 1.000 would promise what none can."""
    return "-" if value is None else f"{value:.4f}"


def _means(told: dict[str, Any]) -> str:
    return f"{number(told['mean_benign'])} | {number(told['mean_malignant'])}"


def maps(config: ModelConfig, content: dict[str, Any]) -> str:
    """Class maps against the masks that people made, and the cascade; plain words where nothing was
    measured.

    Empty for a metrics.json that is older than the section.
    """
    if "maps" not in content:
        return ""
    told = content["maps"]
    if told is None:
        return (
            "### Class maps, on test\n\n**None.** No class map of this model was held against "
            "a "
            "mask of the lesion."
        )
    parts = {"all": told["all"], "right answers": told["right"], "wrong answers": told["wrong"]}
    parts |= {f"`{name}`": row for name, row in told["per_class"].items()}
    rows = [
        f"| {name} | {row['n']} | {_cell(row, 'inside')} | {_cell(row, 'lesion_share')} | "
        f"{_cell(row, 'ratio')} | "
        f"{number(row['inside_other'])} | {_cell(row, 'hit')} | {number(row['hit_other'])} |"
        for name, row in parts.items()
    ]
    height, width = told["cascade"]["cells"]
    return f"""### Class maps, on test

Grad-CAM of the predicted class, held against the lesion masks that people made (Tschandl et al. 2020), in the part of
the image that the model sees. Energy inside: the share of the map's evidence that lies in the lesion. By chance it
would be the lesion's area share (ratio 1), and the peak would lie inside as often. Because lesions lie in the centre,
any lesion's map does better than chance. The fairer comparison is the map of a test image of another lesion that got
the same answer: where that does as well, maps tell little of this image. Maps have {height} x {width} cells, so that
evidence at the rim of a lesion spills over it. Left out are {told["outside_view"]} images whose view the lesion does
not reach and {told["whole_view"]} where it fills at least {WHOLE:.0%} of it; {told["blank"]} blank maps count as
outside. Evidence inside the lesion need not be evidence that a dermatologist would name.

| images | n | energy inside | area share of the lesion | ratio | energy inside, another image's map | peak inside | \
peak inside, another image's map |
|---|---|---|---|---|---|---|---|
{lines(rows)}

{_cascade(told["cascade"])}"""


def _cascade(told: dict[str, Any]) -> str:
    rows = [
        f"| `{stage['layer']}` | {signed(stage['correlation'], stage['bounds'])} | "
        f"{number(stage['lowest'])} | "
        f"{number(stage['highest'])} | {number(stage['blank'])} |"
        for stage in told["stages"]
    ]
    return f"""### Class maps of a destroyed model

Cascading randomisation (Adebayo et al. 2018): weights are drawn anew from the last layer down, and the map of the same
class is compared with that of the trained model by Spearman's rank correlation over its cells (1: the same order, 0:
no relation), on {told["images"]} test images of as many lesions and {told["draws"]} draws. A map that stayed as it is
would explain no model. The trained model's maps of two different images have {number(told["other_image"])}. Where only
the last layer is drawn anew, the features below still know where the lesion is, and the draw decides what becomes of
the map. In parentheses: 95% intervals over images, for these draws.

| drawn anew from this layer on | correlation | least of a draw | largest of a draw | blank maps |
|---|---|---|---|---|
{lines(rows)}"""


def _cell(row: dict[str, Any], name: str) -> str:
    return with_interval(row[name], row["bounds"][name])


ORDER = ("logits", "probabilities", "heat map")
"""The columns; ONNX files are compared by what they answer, not by their logits."""


def parity(config: ModelConfig, content: dict[str, Any]) -> str:
    """What was proven on s390x for the weights that config.json names; plain words where it was
    not.

    The block `parity` of metrics.json comes from deploy/linuxone/certify.py and states the weights
    it was made with. A metrics.json without it is older than the section.
    """
    if "parity" not in content:
        return ""
    block = content["parity"]
    if block is None or block["weights_sha256"] != config.weights_sha256:
        return """## Parity

Not proven for these weights: nobody has compared their answers on s390x with those on x86-64."""
    mine, other = block["torch"]
    rows = "\n".join(
        f"| {runtime} | {' | '.join(f'{found[key]:.1e}' if key in found else '' for key in ORDER)} "
        "|"
        for runtime, found in (
            (f"PyTorch {other}", block["largest_difference"]["pytorch"]),
            (f"ONNX Runtime {block['onnxruntime']}", block["largest_difference"]["onnx"]),
        )
    )
    images = "1 drawn image" if block["images"] == 1 else f"{block['images']} drawn images"
    return f"""## Parity

Answers on s390x (IBM LinuxONE, big-endian) with Debian's own builds, against PyTorch {mine} on x86-64: the same
classes, calls, prediction sets and concerns on {images}, and these largest differences. Proven
on {block["date"]} under emulation, not on a LinuxONE (`deploy/linuxone/PARITY.md`).

| on s390x | {" | ".join(ORDER)} |
|---|---|---|---|
{rows}"""
