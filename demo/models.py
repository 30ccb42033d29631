"""The models behind the page: loaded when first asked for, and checked for what the page shows."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dermhub import Classifier, InputSpec

FAST, ACCURATE = "fast", "accurate"

NAMES = {FAST: "standard model", ACCURATE: "larger model"}
"""Kind of a pair -> its name on the page. The kinds are the names in the API, which stay."""

GRAPH = "model.onnx"
"""File of a model folder with which it answers without PyTorch."""

PICTURES = {
    "figures/roc.png": "ROC curves",
    "figures/reliability.png": "Reliability diagram",
}
"""Figures of a model that the page shows: file in its folder -> title."""


@dataclass(frozen=True)
class TrackRecord:
    """Facts about the models that stand beside an answer.

    `tested` holds the counts of the lower cut on test images (tp, fn, fp, tn), `of_100` for each
    zone how many of 100 test images in it were cancer ({} where nothing was measured), and `models`
    for each task in words the name and the sha256 of the weights.
    """

    tested: dict[str, Any]
    of_100: dict[str, int]
    models: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Pair:
    """A model of each task."""

    binary: Classifier
    lesion: Classifier

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs of both models; one where they are the same."""
        return tuple(dict.fromkeys((self.lesion.config.input, self.binary.config.input)))

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics.json of the seven-class model, whose probability of malignancy is shown."""
        return figures(self.lesion)

    @functools.cached_property
    def tested(self) -> dict[str, Any]:
        """The counts of the lower cut of that model on the test split, from metrics.json.

        `intervals` are those of its sensitivity and specificity.
        """
        test = self.metrics["test"]
        bounds = test.get("intervals", {}).get("bounds", {})
        return {**test["operating_points"][self.point], "intervals": bounds}

    @functools.cached_property
    def track_record(self) -> TrackRecord:
        """The facts about these models that stand beside an answer."""
        zones = self.metrics["test"].get("zones", {})
        of_100 = {
            zone: round(100 * counts["malignant"] / counts["n"])
            for zone, counts in zones.items()
            if counts["n"]
        }
        both = {"seven classes": self.lesion, "benign or malignant": self.binary}
        models = {task: (model.name, model.config.weights_sha256) for task, model in both.items()}
        return TrackRecord(self.tested, of_100, models)

    @property
    def point(self) -> str:
        """The name of the operating point that is the lower cut."""
        return next(iter(self.lesion.config.thresholds))


class Models:
    """Pairs of models by kind, each loaded once: `fast`, and `accurate` where there is one.

    `names` maps a kind to the names of its binary and its lesion model. Several threads may ask at
    the same time.
    """

    def __init__(self, names: Mapping[str, tuple[str, str]]) -> None:
        self.names = dict(names)
        self._pairs: dict[str, Pair] = {}
        self._lock = threading.Lock()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pairs; the first is the default."""
        return tuple(self.names)

    def loaded(self, kind: str) -> bool:
        """Tell whether a pair is in memory."""
        return kind in self._pairs

    def pair(self, kind: str) -> Pair:
        """Return a pair of models; the first call for a kind takes seconds.

        Raises ConfigError for an unknown kind.
        """
        from dermhub import ConfigError

        if kind not in self.names:
            raise ConfigError(
                f"There is no model {str(kind)!r}, expected {' or '.join(self.names)}."
            )
        with self._lock:
            if kind not in self._pairs:
                binary, lesion = self.names[kind]
                self._pairs[kind] = Pair(load_model("binary", binary), load_model("lesion", lesion))
        return self._pairs[kind]

    def identities(self) -> dict[str, dict[str, str]]:
        """Return the `identity` of each loaded model.

        Their names are "binary", "lesion", "binary-accurate" and "lesion-accurate".
        """
        return {
            task if kind == FAST else f"{task}-{kind}": identity(model)
            for kind, pair in list(self._pairs.items())
            for task, model in (("binary", pair.binary), ("lesion", pair.lesion))
        }


def offered(binary: str, lesion: str, warn: Callable[[str], None]) -> dict[str, tuple[str, str]]:
    """Return the names of the models of each kind.

    There are the given ones, and accurate ones where such lie beside the given. Of the latter,
    `warn` is told in a sentence where they can't be run here.
    """
    from dermhub import shipped

    names = {FAST: (binary, lesion)}
    # A path may end in a slash, as shells complete it.
    accurate = (f"{binary.rstrip('/')}-accurate", f"{lesion.rstrip('/')}-accurate")
    folders = [shipped().get(name, Path(name)) for name in accurate]
    if all(folder.is_dir() for folder in folders):
        if all(map(_runs_here, folders)):
            names[ACCURATE] = accurate
        else:
            warn(
                f"the {NAMES[ACCURATE]}s are not offered: they have no {GRAPH}, and PyTorch, which "
                "would run them, is not installed."
            )
    return names


def _runs_here(folder: Path) -> bool:
    """Tell whether a model can be run: by its graph, or by PyTorch where that is installed."""
    return (folder / GRAPH).is_file() or importlib.util.find_spec("torch") is not None


def load_model(option: str, name: str) -> Classifier:
    """Load the model for an option of the command line.

    Raises ModelError where it is of another task or lacks what the page shows.
    """
    from dermhub import TASKS, ModelError, load

    model = load(name)
    if model.config.task != TASKS[option]:
        raise ModelError(
            f"--{option} {name} is a model of the task {model.config.task.name!r}, expected "
            f"{option!r}."
        )
    lacking = [
        file
        for file in ("metrics.json", "README.md", *PICTURES)
        if not (model.folder / file).is_file()
    ]
    if lacking:
        raise ModelError(
            f"{model.folder} lacks {', '.join(lacking)}, which the page shows: give a whole model "
            "folder."
        )
    try:
        card_text(model)
        _ = figures(model)["test"]["operating_points"][next(iter(model.config.thresholds))]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model.folder} has a damaged metrics.json or README.md: fetch the model again."
        ) from error
    return model


def figures(model: Classifier) -> dict[str, Any]:
    """Read the model's metrics.json."""
    content: dict[str, Any] = json.loads(
        (model.folder / "metrics.json").read_text(encoding="utf-8")
    )
    return content


def card_text(model: Classifier) -> str:
    """Read the model card without its front matter and pictures."""
    text = (model.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    return re.sub(r"^!\[.*\)$", "", text, flags=re.MULTILINE)


def identity(model: Classifier) -> dict[str, str]:
    """Return what tells a model from any other: its architecture and the sha256 of its weights."""
    return {
        "architecture": model.config.architecture,
        "weights_sha256": model.config.weights_sha256,
    }
