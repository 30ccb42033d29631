"""The checks behind the reporting checklist: each takes a `Card` and returns what is missing, or
"".

What is missing is a sentence without its full stop. `checklist.ITEMS` says which checks there are
and where they come from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermhub import files
from dermhub.cards import markdown, render
from dermhub.cards.performance import GROUPS, HEADLINES, number
from dermhub.data.partition import SPLITS
from dermhub.errors import DataError, ModelError, some
from dermhub.models.config import ModelConfig
from dermhub.models.folder import ModelFolder

PICTURES = ("confusion_matrix", "roc", "reliability", "data", "curves")


@dataclass(frozen=True)
class Card:
    """A model folder as the checklist sees it: the card's text, its two sources, and the card they
    would give.
    """

    folder: Path
    text: str
    config: ModelConfig
    content: dict[str, Any]

    @property
    def front(self) -> dict[str, Any]:
        """The front matter, or nothing when it can't be read (which is an item of its own)."""
        try:
            return markdown.split(self.text)[0]
        except ModelError:
            return {}

    @property
    def sections(self) -> dict[str, str]:
        """Heading -> text of the card as it is."""
        return markdown.sections(re.sub(r"\A---\r?\n.*?\n---\r?\n", "", self.text, flags=re.DOTALL))

    @property
    def due(self) -> dict[str, str]:
        """Heading -> text of the card that config.json and metrics.json give."""
        return markdown.sections(markdown.split(render.render(self.config, self.content))[1])

    def lacks(self, heading: str, *patterns: str) -> str:
        """What a section lacks of some regular expressions, given as they would be read, or ""."""
        found = next(
            (text for name, text in self.sections.items() if name.startswith(heading)), None
        )
        if found is None:
            return f"README.md has no section {heading!r}"
        missing = [p for p in patterns if not re.search(p, found, re.IGNORECASE)]
        return (
            f"section {heading!r} does not name {some(_plain(p) for p in missing)}"
            if missing
            else ""
        )


def ham10000(card: Card) -> bool:
    """Whether the model says that it was trained on HAM10000's lesions."""
    return bool(card.config.provenance.get("data", {}).get("ham10000_lesions"))


def front_matter(card: Card) -> str:
    """The card begins with YAML."""
    try:
        markdown.split(card.text)
    except ModelError as error:
        return str(error)
    return ""


def licence(card: Card) -> str:
    """The front matter names the licence; that of HAM10000 for what was trained on it."""
    found = card.front.get("license")
    if ham10000(card) and found != render.LICENCE:
        return (
            f"license is {found!r} in the front matter, expected {render.LICENCE!r}, the "
            "licence of HAM10000"
        )
    return "" if isinstance(found, str) and found else "the front matter names no license"


def _index_of(front: dict[str, Any]) -> dict[str, Any]:
    """Metric name -> value of the only result of a model-index; KeyError, IndexError or TypeError
    without one.
    """
    entry = front["model-index"][0]
    result = entry["results"][0]
    if not entry["name"] or not result["task"]["type"] or not result["dataset"]["name"]:
        raise KeyError("name")
    return {str(metric["name"]): metric["value"] for metric in result["metrics"]}


def model_index(card: Card) -> str:
    """The front matter has a model-index whose values are numbers."""
    try:
        values = _index_of(card.front)
    except (KeyError, IndexError, TypeError):
        return "the front matter has no model-index with name, task, dataset and metrics"
    wrong = [n for n, v in values.items() if type(v) not in (int, float) or not math.isfinite(v)]
    if wrong or not values:
        return f"the model-index holds no number for {some(wrong) or 'any metric'}"
    return ""


def index_figures(card: Card) -> str:
    """The numbers of the model-index are those of metrics.json."""
    if model_index(card):
        return "there is no model-index to compare with metrics.json"
    found, due = _index_of(card.front), _index_of(render.front_matter(card.config, card.content))
    for name in {**due, **found}:
        if found.get(name) != due.get(name):
            return (
                f"{name} is {found.get(name)} in the model-index but {due.get(name)} in "
                "metrics.json"
            )
    return ""


def every_figure(card: Card) -> str:
    """Every number of every section, in order, is the one that config.json and metrics.json
    give.
    """
    due = card.due
    for heading, text in card.sections.items():
        differs = markdown.first_difference(text, due.get(heading, ""))
        if differs:
            place = f"section {heading!r}" if heading else "the text above the first heading"
            return (
                f"{place} shows {differs[0]} where metrics.json and config.json give {differs[1]}"
            )
    return ""


def disclaimer(card: Card) -> str:
    """The card says before all else that this is not a medical device."""
    opening = card.text.partition("## ")[0]
    said = (
        "not a medical device" in opening
        and "must not be used to decide about a patient" in opening
    )
    return (
        ""
        if said
        else "the card does not say before its first section that this is not a medical device"
    )


def model_input(card: Card) -> str:
    """The card names the modality and the size of the input."""
    size = f"{card.config.input.size} x {card.config.input.size}"
    opening = card.text.partition("## ")[0]
    missing = [word for word in ("dermatoscopic image", size) if word not in opening]
    return f"the opening does not name {some(missing)} as the input" if missing else ""


def headlines(card: Card) -> str:
    """The headline figures stand there, with the number of images and lesions."""
    test = card.content["test"]
    rows = [re.escape(f"| {text} | {number(test[key])}") for key, (_, text) in HEADLINES.items()]
    return card.lacks(
        "Figures",
        rf"test \(n = {test['n']}\)",
        rf"{test['n']} images of {test['lesions']} lesions",
        *rows,
    )


def intervals(card: Card) -> str:
    """Headline figures have 95% intervals from at least 1,000 resamples of lesions."""
    known = card.content["test"]["intervals"]
    if known["resamples"] < 1000 or known["level"] != 0.95:
        return (
            f"metrics.json has {known['resamples']} resamples at level {known['level']}, "
            "expected 1000 at 0.95"
        )
    shown = [k for k in HEADLINES if card.content["test"][k] is not None and known["bounds"][k]]
    rows = [rf"\| {re.escape(HEADLINES[key][1])} \| [\d.]+ \([\d.]+-[\d.]+\)" for key in shown]
    return card.lacks("Figures", r"95% intervals", r"resamples\s+of the\s+\d+ lesions", *rows)


def classes(card: Card) -> str:
    """Each class has a row with n."""
    rows = [
        rf"\| `{re.escape(c)}` \| {row['n']} \|"
        for c, row in card.content["test"]["per_class"].items()
    ]
    return card.lacks("Each class", r"\| n \| recall \| precision", *rows)


def operation(card: Card) -> str:
    """Each operating point has its threshold, the split it was chosen on, and what it does."""
    rows = [
        rf"`{re.escape(n)}`.*\| {t.value:.4f} \| {t.split} \|"
        for n, t in card.config.thresholds.items()
    ]
    return card.lacks(
        "Operating points", "chosen on", "sensitivity", "specificity", "PPV", "NPV", *rows
    )


def subgroups(card: Card) -> str:
    """Each subgroup that metrics.json knows has a row with n."""
    groups = card.content["test"]["subgroups"]
    rows = [
        rf"\| {GROUPS[column]}: {re.escape(value)} \| {row['n']} \|"
        for column, values in groups.items()
        for value, row in values.items()
    ]
    return card.lacks("Subgroups", *(rows or ["no subgroup could be measured"]))


def errors(card: Card) -> str:
    """The worst errors are named."""
    rows = [
        rf"\| `{re.escape(row['image_id'])}` \|" for row in card.content["test"]["worst_errors"]
    ]
    return card.lacks("Worst errors", *(rows or ["No test image was called wrongly"]))


def weights(card: Card) -> str:
    """The weight file is the one that was measured: its sha256 stands in all files."""
    path = card.folder / "model.safetensors"
    stated = {card.content["weights"]["sha256"], card.config.weights_sha256}
    if stated != {found := files.sha256(path)}:
        return (
            f"model.safetensors has the sha256 {found}, but metrics.json and config.json state "
            f"{some(sorted(stated))}"
        )
    return card.lacks("Size and speed", found, "parameters", "MB")


def counts(card: Card) -> str:
    """Images and lesions of each split are counted."""
    rows = [
        rf"\| {key} \| " + r" \| ".join(str(card.content["data"][split][key]) for split in SPLITS)
        for key in ("images", "lesions")
    ]
    return card.lacks("Data", r"\| train \| validation \| test \|", *rows)


def patients(card: Card) -> str:
    """Diagnoses, ground truth, sex, age and site are told for each split, as far as they are
    known.
    """
    parts = card.content["data"].values()
    told = {"dx": "diagnosis", "dx_type": "ground truth", "sex": "sex", "localization": "site"}
    rows = [
        rf"\| {text}: " for column, text in told.items() if any(column in part for part in parts)
    ]
    ages = [r"\| age: median"] if all("age" in part for part in parts) else []
    return card.lacks("Data", *rows, *ages)


def leak(card: Card) -> str:
    """No lesion stands in two splits, and the card says so."""
    if card.content["overlap"] is None:
        return (
            "the data name no lesions, so that photographs of one may stand in training and in test"
        )
    if card.content["overlap"] != 0:
        return f"{card.content['overlap']} lesions stand in more than one split, expected none"
    return card.lacks(
        "Figures",
        r"no photograph of any of these lesions was used",
        r"0 lesions stand in more than one",
    )


def training(card: Card) -> str:
    """Every option of the run is told."""
    named = [
        rf"--{key.replace('_', '-')} "
        for key, v in card.config.provenance["options"].items()
        if v != ""
    ]
    return card.lacks("Training", r"python train\.py", *named)


def environment(card: Card) -> str:
    """The code revision and the versions are told."""
    told = card.config.provenance
    if not re.match("[0-9a-f]{40}", told["code"]["revision"]):
        return (
            f"the code revision is {told['code']['revision']!r} in config.json, expected that "
            "of a git commit"
        )
    return card.lacks(
        "Training",
        told["code"]["revision"][:12],
        *(re.escape(told["environment"][k]) for k in ("torch", "timm")),
    )


def pictures(card: Card) -> str:
    """All five pictures are shown, and are there."""
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card.text)
    missing = [f"figures/{name}.png" for name in PICTURES if f"figures/{name}.png" not in shown]
    if missing:
        return f"the card does not show {some(missing)}"
    absent = [name for name in shown if not (card.folder / name).is_file()]
    return f"the card shows {some(absent)}, which the folder does not hold" if absent else ""


def provenance(card: Card) -> str:
    """config.json says where the model comes from."""
    told = card.config.provenance
    needed = {
        "data": (
            "source",
            "ham10000_lesions",
            "images",
            "lesions",
            "table_sha256",
            "partition_sha256",
        ),
        "code": ("dermhub", "revision"),
        "options": ("task", "model", "epochs", "seed"),
        "environment": ("python", "torch", "timm", "machine", "threads"),
    }
    missing = [
        f"{block}.{key}"
        for block, keys in needed.items()
        for key in keys
        if key not in told.get(block, {})
    ]
    missing += [key for key in ("date",) if key not in told]
    return f"config.json lacks {some(missing)}" if missing else ""


def _plain(pattern: str) -> str:
    """A regular expression as a person would read it."""
    return repr(re.sub(r"\\s\+", " ", pattern).replace("\\", "").strip("| "))


NEEDED = ("README.md", "config.json", "model.safetensors", "metrics.json")


@dataclass(frozen=True)
class Item:
    """One item: its name, the check, and for which folders it is asked."""

    name: str
    problem: Callable[[Card], str]
    applies: Callable[[Card], bool] = lambda _: True


@dataclass(frozen=True)
class Outcome:
    """What became of one item: `problem` is a sentence without its full stop, or "" when the item
    is met.
    """

    item: str
    problem: str


@dataclass(frozen=True)
class Report:
    """The items that apply to a folder, in the order of `ITEMS`."""

    folder: Path
    outcomes: tuple[Outcome, ...]

    @property
    def missing(self) -> tuple[Outcome, ...]:
        """The items that are not met."""
        return tuple(outcome for outcome in self.outcomes if outcome.problem)

    @property
    def met(self) -> int:
        """The number of items that are met."""
        return len(self.outcomes) - len(self.missing)

    @property
    def share(self) -> float:
        """The share of the items that is met, from 0 to 1."""
        return self.met / len(self.outcomes)


def lint(folder: Path) -> Report:
    """Hold a model folder against `ITEMS`.

    Raises ModelError when one of its four files is missing or can't be read: then there is nothing
    to hold.
    """
    card = _read(folder)
    return Report(
        folder,
        tuple(Outcome(item.name, _problem(item, card)) for item in ITEMS if item.applies(card)),
    )


def check(folder: Path) -> None:
    """Raise ModelError, naming what is missing, when a model folder does not meet every item that
    applies to it.
    """
    report = lint(folder)
    if report.missing:
        told = "; ".join(f"{one.item} ({one.problem})" for one in report.missing[:3])
        rest = [one.item for one in report.missing[3:]]
        raise ModelError(
            f"{folder} meets {report.met} of {len(report.outcomes)} items of the reporting "
            "checklist, expected all: "
            f"{told}{f'; {some(rest)}' if rest else ''}. Train or measure the model again, or mend "
            "the card."
        )


def _read(folder: Path) -> Card:
    absent = [name for name in NEEDED if not (folder / name).is_file()]
    if absent:
        raise ModelError(
            f"{folder} can't be published: it lacks {some(absent)}; train.py writes them all into "
            "RUN/model."
        )
    try:
        config = ModelFolder(folder).config
        content = files.read_json(folder / "metrics.json")
        text = (folder / "README.md").read_text(encoding="utf-8")
    except DataError as error:
        raise ModelError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{folder / 'README.md'} can't be read ({error}): expected Markdown in UTF-8."
        ) from error
    return Card(folder, text, config, content)


def _problem(item: Item, card: Card) -> str:
    try:
        return item.problem(card)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        # The two sources of the card are JSON that anyone can edit: a key may be missing or hold
        # anything.
        return f"metrics.json or config.json lacks or garbles {error}"


def _field(name: str, expected: str) -> Callable[[Card], str]:
    def problem(card: Card) -> str:
        found = card.front.get(name)
        return (
            ""
            if found == expected
            else f"{name} is {found!r} in the front matter, expected {expected!r}"
        )

    return problem


def _names(name: str, *needed: str) -> Callable[[Card], str]:
    def problem(card: Card) -> str:
        found = card.front.get(name)
        if not isinstance(found, list) or not found:
            return f"the front matter has no list of {name}"
        missing = [one for one in needed if one not in found]
        return f"{name} of the front matter lack {some(missing)}" if missing else ""

    return problem


def _says(heading: str, *patterns: str) -> Callable[[Card], str]:
    return lambda card: card.lacks(heading, *patterns)


def _elsewhere(card: Card) -> bool:
    """Whether metrics.json was written since it tells how far figures carry over; an older one
    can't be held to it.
    """
    return "external" in card.content


ITEMS = (
    Item("front matter", front_matter),
    Item("licence of the weights", licence),
    Item("library", _field("library_name", "timm")),
    Item("pipeline", _field("pipeline_tag", "image-classification")),
    Item("tags", _names("tags", "image-classification", "timm")),
    Item("datasets", _names("datasets", render.DATASET), ham10000),
    Item("metrics", _names("metrics")),
    Item("model-index", model_index),
    Item("model-index equal to metrics.json", index_figures),
    Item("every figure equal to metrics.json", every_figure),
    Item("not a medical device", disclaimer),
    Item("input", model_input),
    Item("intended use", _says("Intended use", "research")),
    Item("out-of-scope use", _says("Intended use", "out of scope")),
    Item(
        "how to use", _says("How to use", r"dermhub\.load", r"timm\.create_model", "memory_format")
    ),
    Item("headline figures with n", headlines),
    Item("intervals over lesions", intervals),
    Item("how to measure again", _says("How to measure again", r"predictions\.csv")),
    Item("each class with n", classes),
    Item("operating points", operation),
    Item("prevalence", _says("Operating points", r"prevalence\s+of this test split, [\d.]+%")),
    Item(
        "other prevalences",
        _says(
            "At other prevalences",
            r"where 1% are malignant",
            "PPV",
            "NPV",
            "missed",
            "false alarms",
        ),
        _elsewhere,
    ),
    Item("calibration", _says("Calibration", r"divided by [\d.]+", "on validation", "on test")),
    Item(
        "calibration slope",
        _says(
            "Calibration of malignancy",
            r"calibration slope[^|]*\| [\d-]",
            r"calibration intercept[^|]*\| [\d-]",
        ),
        _elsewhere,
    ),
    Item("prediction sets", _says("Prediction sets", r"covered lesions|\*\*None"), _elsewhere),
    Item("subgroups with n", subgroups),
    Item(
        "same lesion, another photograph",
        _says("Same lesion", r"share of pairs|\*\*None"),
        _elsewhere,
    ),
    Item("worst errors", errors),
    Item(
        "resolution",
        _says("Resolution", r"\| half the size \|", r"\| twice the size \|"),
        _elsewhere,
    ),
    Item(
        "skin tone",
        _says("Skin tone", "typology angle", "not facts about people", r"\| dark \| \d"),
        _elsewhere,
    ),
    Item(
        "class maps against lesions, or none",
        _says("Class maps, on test", r"\*\*None|\| all \| \d+ \| [\d.-]+"),
        lambda card: "maps" in card.content,
    ),
    Item(
        "external test, or none",
        _says("External test", r"\*\*None|\| AUROC of malignancy \| [\d.]+"),
        _elsewhere,
    ),
    Item("weights and their sha256", weights),
    Item(
        "latency with hardware",
        _says("Size and speed", r"[\d.]+ ms", r"median of \d+", r"thread\(s\) of \w+"),
    ),
    Item("counts of each split", counts),
    Item("who is in the data", patients),
    Item("no lesion in two splits", leak),
    Item(
        "shipped partition",
        _says("Data", "All photographs of a known lesion are in one split", "sha256 `"),
        ham10000,
    ),
    Item("training options", training),
    Item("code revision and environment", environment),
    Item("limits", _says("Limits", "misses", "External test")),
    Item("what a heat map is not", _says("Limits", "heat map")),
    Item("licence and citation", _says("Licence and citation", r"Weights:", r"doi:\S+")),
    Item("pictures", pictures),
    Item("config.json complete", provenance),
)
