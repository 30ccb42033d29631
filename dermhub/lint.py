"""The reporting checklist for a model folder, as far as software can check it; read before a model is published.

Its items follow model cards (Mitchell et al. 2019), CLAIM (Mongan et al. 2020), TRIPOD+AI (Collins et al. 2024) and
CLEAR Derm (Daneshjou et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dermhub import cards, checklist, files
from dermhub.checklist import Card
from dermhub.config import ModelConfig
from dermhub.errors import DataError, ModelError, some

NEEDED = ("README.md", "config.json", "model.safetensors", "metrics.json")


@dataclass(frozen=True)
class Item:
    """One item: its name, the check, and for which folders it is asked."""

    name: str
    problem: Callable[[Card], str]
    applies: Callable[[Card], bool] = lambda _: True


@dataclass(frozen=True)
class Outcome:
    """What became of one item: `problem` is a sentence without its full stop, or "" when the item is met."""

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

    Raises ModelError when one of its four files is missing or can't be read: then there is nothing to hold.
    """
    card = _read(folder)
    return Report(folder, tuple(Outcome(item.name, _problem(item, card)) for item in ITEMS if item.applies(card)))


def check(folder: Path) -> None:
    """Raise ModelError, naming what is missing, when a model folder does not meet every item that applies to it."""
    report = lint(folder)
    if report.missing:
        told = "; ".join(f"{one.item} ({one.problem})" for one in report.missing[:3])
        rest = [one.item for one in report.missing[3:]]
        raise ModelError(
            f"{folder} meets {report.met} of {len(report.outcomes)} items of the reporting checklist, expected all: "
            f"{told}{f'; {some(rest)}' if rest else ''}. Train or measure the model again, or mend the card."
        )


def _read(folder: Path) -> Card:
    absent = [name for name in NEEDED if not (folder / name).is_file()]
    if absent:
        raise ModelError(
            f"{folder} can't be published: it lacks {some(absent)}; train.py writes them all into RUN/model."
        )
    try:
        config = ModelConfig.from_json(files.read_json(folder / "config.json"), str(folder / "config.json"))
        content = files.read_json(folder / "metrics.json")
        text = (folder / "README.md").read_text(encoding="utf-8")
    except DataError as error:
        raise ModelError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder / 'README.md'} can't be read ({error}): expected Markdown in UTF-8.") from error
    return Card(folder, text, config, content)


def _problem(item: Item, card: Card) -> str:
    try:
        return item.problem(card)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        # The two sources of the card are JSON that anyone can edit: a key may be missing or hold anything.
        return f"metrics.json or config.json lacks or garbles {error}"


def _field(name: str, expected: str) -> Callable[[Card], str]:
    def problem(card: Card) -> str:
        found = card.front.get(name)
        return "" if found == expected else f"{name} is {found!r} in the front matter, expected {expected!r}"

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
    """Whether metrics.json was written since it tells how far figures carry over; an older one can't be held to it."""
    return "external" in card.content


ITEMS = (
    Item("front matter", checklist.front_matter),
    Item("licence of the weights", checklist.licence),
    Item("library", _field("library_name", "timm")),
    Item("pipeline", _field("pipeline_tag", "image-classification")),
    Item("tags", _names("tags", "image-classification", "timm")),
    Item("datasets", _names("datasets", cards.DATASET), checklist.ham10000),
    Item("metrics", _names("metrics")),
    Item("model-index", checklist.model_index),
    Item("model-index equal to metrics.json", checklist.index_figures),
    Item("every figure equal to metrics.json", checklist.every_figure),
    Item("not a medical device", checklist.disclaimer),
    Item("input", checklist.model_input),
    Item("intended use", _says("Intended use", "research")),
    Item("out-of-scope use", _says("Intended use", "out of scope")),
    Item("how to use", _says("How to use", r"dermhub\.load", r"timm\.create_model", "memory_format")),
    Item("headline figures with n", checklist.headlines),
    Item("intervals over lesions", checklist.intervals),
    Item("how to measure again", _says("How to measure again", r"predictions\.csv")),
    Item("each class with n", checklist.classes),
    Item("operating points", checklist.operation),
    Item("prevalence", _says("Operating points", r"prevalence\s+of this test split, [\d.]+%")),
    Item(
        "other prevalences",
        _says("At other prevalences", r"where 1% are malignant", "PPV", "NPV", "missed", "false alarms"),
        _elsewhere,
    ),
    Item("calibration", _says("Calibration", r"divided by [\d.]+", "on validation", "on test")),
    Item(
        "calibration slope",
        _says("Calibration of malignancy", r"calibration slope[^|]*\| [\d-]", r"calibration intercept[^|]*\| [\d-]"),
        _elsewhere,
    ),
    Item("prediction sets", _says("Prediction sets", r"covered lesions|\*\*None"), _elsewhere),
    Item("subgroups with n", checklist.subgroups),
    Item("same lesion, another photograph", _says("Same lesion", r"share of pairs|\*\*None"), _elsewhere),
    Item("worst errors", checklist.errors),
    Item("resolution", _says("Resolution", r"\| half the size \|", r"\| twice the size \|"), _elsewhere),
    Item("skin tone", _says("Skin tone", "typology angle", "not facts about people", r"\| dark \| \d"), _elsewhere),
    Item(
        "class maps against lesions, or none",
        _says("Class maps, on test", r"\*\*None|\| all \| \d+ \| [\d.-]+"),
        lambda card: "maps" in card.content,
    ),
    Item("external test, or none", _says("External test", r"\*\*None|\| AUROC of malignancy \| [\d.]+"), _elsewhere),
    Item("weights and their sha256", checklist.weights),
    Item("latency with hardware", _says("Size and speed", r"[\d.]+ ms", r"median of \d+", r"thread\(s\) of \w+")),
    Item("counts of each split", checklist.counts),
    Item("who is in the data", checklist.patients),
    Item("no lesion in two splits", checklist.leak),
    Item(
        "shipped partition",
        _says("Data", "All photographs of a known lesion are in one split", "sha256 `"),
        checklist.ham10000,
    ),
    Item("training options", checklist.training),
    Item("code revision and environment", checklist.environment),
    Item("limits", _says("Limits", "misses", "External test")),
    Item("what a heat map is not", _says("Limits", "heat map")),
    Item("licence and citation", _says("Licence and citation", r"Weights:", r"doi:\S+")),
    Item("pictures", checklist.pictures),
    Item("config.json complete", checklist.provenance),
)
