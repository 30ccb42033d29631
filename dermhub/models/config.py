"""The configuration of a model: what it takes in and what its answers mean.

`ModelConfig` is the content of a model folder's config.json, and is declared nowhere else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dermhub.errors import ModelError, some
from dermhub.images.view import InputSpec, is_number
from dermhub.tasks import TASKS, Task
from dermhub.zones import Threshold, Zones

MOST_CLASSES = 1000
"""Classes that a model may have."""

MOST_THRESHOLDS = 50
"""Operating points that a model may have."""

LONGEST = 200
"""Letters of a name or a sentence in config.json."""

TEMPERATURES = (1e-3, 1e3)
"""Smallest and largest temperature; `calibration.fit_temperature` stays between 0.2 and 5."""

LARGEST_BIAS = 50.0
"""Largest bias of a class, in either direction; one that is fitted stays far below."""

FORMAT_VERSION = 1
"""Version of the `dermhub` block in config.json; a newer one is refused by name."""


@dataclass(frozen=True)
class Conformal:
    """The limits of prediction sets: a class is in the set if its probability reaches `least`.

    `level` in (0, 1) is the share of each class's lesions whose set has to hold the class; see
    `conformal.fit`.
    """

    level: float
    least: dict[str, float]

    @classmethod
    def from_json(cls, block: Any, classes: tuple[str, ...], where: str) -> Conformal:
        """Read the `conformal` block of config.json.

        Raises ModelError when it does not fit the classes.
        """
        whole = isinstance(block, dict) and set(block) == {"level", "least"}
        if not whole or not isinstance(block["least"], dict):
            raise ModelError(
                f"{where}: conformal must hold 'level' and 'least', the smallest probability per "
                "class."
            )
        level = block["level"]
        least = block["least"]
        if not is_number(level) or not 0 < level < 1:
            raise ModelError(
                f"{where}: the conformal level is {level!r}, expected a number between 0 and 1."
            )
        if set(least) != set(classes):
            given = some(sorted(least)) or "none"
            raise ModelError(
                f"{where}: conformal has the classes {given}, expected {', '.join(classes)}."
            )
        if not all(is_number(value) and 0 <= value <= 1 for value in least.values()):
            raise ModelError(
                f"{where}: conformal needs a smallest probability between 0 and 1 for each class."
            )
        return cls(level, {name: least[name] for name in classes})


@dataclass(frozen=True)
class ModelConfig:
    """The meaning of a set of weights; the content of config.json.

    `temperature` divides the logits before the softmax, and `bias` has a number for each class that
    is added after that; {} adds nothing. `prior` has the share in (0, 1] of each class among the
    training images, {} in a model of an earlier dermhub. `thresholds` are operating points on the
    summed probability of the malignant classes; the first one is the default. `provenance` holds
    the training data, partition hash, code revision, seed and environment. `weights_sha256` is the
    sha256 of model.safetensors, 64 hexadecimal digits; `weights.save` fills it in. `conformal` is
    None in a model without prediction sets, and `highly_suspicious`, the upper cut of `zones`, in a
    model without zones. `files` gives the sha256 of each file beside the weights that belongs to
    the model.
    """

    architecture: str
    task: Task
    input: InputSpec = field(default_factory=InputSpec)
    temperature: float = 1.0
    thresholds: dict[str, Threshold] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    conformal: Conformal | None = None
    highly_suspicious: Threshold | None = None
    files: dict[str, str] = field(default_factory=dict)
    bias: dict[str, float] = field(default_factory=dict)
    prior: dict[str, float] = field(default_factory=dict)

    @property
    def operating_point(self) -> str:
        """The name of the default operating point, the first of `thresholds`."""
        return next(iter(self.thresholds))

    @property
    def zones(self) -> Zones | None:
        """The zones of suspicion; None where the folder names no upper cut.

        The lower cut is the default operating point. `python -m dermhub measure` gives a folder of
        an earlier dermhub its zones.
        """
        if self.highly_suspicious is None:
            return None
        return Zones(self.thresholds[self.operating_point], self.highly_suspicious)

    def to_json(self) -> dict[str, Any]:
        """Return the content of config.json: timm's own keys and one `dermhub` block."""
        conformal = {"conformal": dataclasses.asdict(self.conformal)} if self.conformal else {}
        cut = self.highly_suspicious
        # The lower cut is the first of the thresholds, and stands there alone.
        zones = {"zones": {"highly_suspicious": dataclasses.asdict(cut)}} if cut else {}
        return {
            "architecture": self.architecture,
            "num_classes": len(self.task.classes),
            "label_names": list(self.task.classes),
            "pretrained_cfg": {**self.input.to_timm(), "num_classes": len(self.task.classes)},
            "dermhub": {
                "format_version": FORMAT_VERSION,
                "task": self.task.name,
                "class_names": list(self.task.classes),
                "positive_classes": sorted(self.task.positive),
                "temperature": self.temperature,
                **({"bias": self.bias} if self.bias else {}),
                **({"prior": self.prior} if self.prior else {}),
                "thresholds": {name: dataclasses.asdict(t) for name, t in self.thresholds.items()},
                "provenance": self.provenance,
                "weights_sha256": self.weights_sha256,
                **zones,
                **conformal,
                **({"files": self.files} if self.files else {}),
            },
        }

    @classmethod
    def from_json(cls, content: Any, where: str = "config.json") -> ModelConfig:
        """Read config.json's content; raises ModelError naming what is missing or contradictory."""
        if not isinstance(content, dict) or not isinstance(content.get("dermhub"), dict):
            raise ModelError(
                f"{where} has no 'dermhub' block: it is not a model that dermhub wrote."
            )
        block = content["dermhub"]
        version = block.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ModelError(
                f"{where} has format version {version!r:.80}, newer than the {FORMAT_VERSION} this "
                "dermhub reads: update dermhub."
            )
        if version not in (None, FORMAT_VERSION):
            raise ModelError(
                f"{where} has format version {version!r:.80}, expected {FORMAT_VERSION}."
            )
        needed = (
            "format_version",
            "task",
            "class_names",
            "positive_classes",
            "temperature",
            "thresholds",
        )
        missing = [key for key in needed if key not in block]
        missing += [
            key for key in ("architecture", "num_classes", "pretrained_cfg") if key not in content
        ]
        if missing:
            raise ModelError(f"{where} lacks {some(missing)}.")
        if not _is_sha256(block.get("weights_sha256")):
            raise ModelError(
                f"{where}: weights_sha256 is {block.get('weights_sha256')!r:.80}, expected the "
                "sha256 of model.safetensors as 64 hexadecimal digits: save the model again with "
                "this dermhub."
            )
        try:
            task = Task(
                str(block["task"]),
                tuple(block["class_names"]),
                frozenset(block["positive_classes"]),
            )
            thresholds = {name: Threshold(**values) for name, values in block["thresholds"].items()}
            temperature = float(block["temperature"])
            provenance = dict(block.get("provenance", {}))
            names = set(task.classes)
            if type(block["temperature"]) not in (int, float):
                raise TypeError(f"temperature is {block['temperature']!r:.80}, no number")
            lists = (block["class_names"], content.get("label_names", []))
            if not all(isinstance(each, list) for each in lists):
                raise TypeError("class_names or label_names is no list")
            if not isinstance(provenance.get("data", {}), dict):
                raise TypeError("provenance.data is no object")
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{error}"[:200]
            raise ModelError(f"{where}: the dermhub block is garbled ({reason}).") from error
        # The well-known tasks keep their identity, so that `task is BINARY` and label mapping work.
        standard = TASKS.get(task.name)
        task = standard if standard == task else task
        if content["num_classes"] != len(task.classes) or len(names) != len(task.classes):
            raise ModelError(
                f"{where}: num_classes is {content['num_classes']!r:.80} but class_names lists "
                f"{len(names)}."
            )
        if not all(isinstance(name, str) for name in names):
            raise ModelError(f"{where}: class_names {some(task.classes)} are not all text.")
        _check_texts(content["architecture"], task, thresholds, where)
        if tuple(content.get("label_names", task.classes)) != task.classes:
            raise ModelError(f"{where}: label_names and class_names are not the same list.")
        if not set() < task.positive < names:
            given = some(sorted(map(str, task.positive))) or "none"
            raise ModelError(
                f"{where}: positive_classes are {given}, expected some of class_names but not all."
            )
        values = [threshold.value for threshold in thresholds.values()]
        if not values or not all(is_number(value) and 0 <= value <= 1 for value in values):
            raise ModelError(f"{where}: expected at least one threshold, each between 0 and 1.")
        if not 0.0 < temperature < float("inf"):
            raise ModelError(
                f"{where}: temperature is {temperature}, expected a finite number above 0."
            )
        if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
            raise ModelError(
                f"{where}: temperature is {temperature}, expected one from {TEMPERATURES[0]:g} to "
                f"{TEMPERATURES[1]:g}."
            )
        cut = None
        if "zones" in block:
            cut = _read_cut(block["zones"], next(iter(thresholds.values())), where)
        conformal = None
        if "conformal" in block:
            conformal = Conformal.from_json(block["conformal"], task.classes, where)
        return cls(
            architecture=content["architecture"],
            task=task,
            input=InputSpec.from_timm(content["pretrained_cfg"]),
            temperature=temperature,
            bias=_read_bias(block, task.classes, where),
            prior=_read_prior(block, task.classes, where),
            thresholds=thresholds,
            provenance=provenance,
            weights_sha256=block["weights_sha256"],
            conformal=conformal,
            highly_suspicious=cut,
            files=_read_files(block.get("files", {}), where),
        )


def _check_texts(
    architecture: Any, task: Task, thresholds: dict[str, Threshold], where: str
) -> None:
    """Raise ModelError for too many classes or thresholds, and for names that are no plain text.

    Names are shown on terminals and pages, so they have no control characters and are not long.
    """
    if len(task.classes) > MOST_CLASSES or len(thresholds) > MOST_THRESHOLDS:
        raise ModelError(
            f"{where} has {len(task.classes)} classes and {len(thresholds)} thresholds, expected "
            f"at most {MOST_CLASSES} and {MOST_THRESHOLDS}."
        )
    if not isinstance(architecture, str) or not re.fullmatch(r"\w[\w.-]{0,99}", architecture):
        raise ModelError(
            f"{where}: architecture is {architecture!r:.80}, expected the name of a timm model."
        )
    sentences = [text for each in thresholds.values() for text in (each.aim, each.split)]
    texts: dict[str, Sequence[Any]] = {
        "task": [task.name],
        "class_names": task.classes,
        "thresholds": [*thresholds, *sentences],
    }
    for key, values in texts.items():
        wrong = [text for text in values if not _is_plain(text)]
        wrong += [text for text in values if not text and text not in sentences]
        if wrong:
            raise ModelError(
                f"{where}: {key} has {wrong[0]!r:.80}, expected a text of 1 to {LONGEST} letters "
                "without control characters."
            )


def _is_plain(text: Any) -> bool:
    """Return whether a value is a short text that can be shown anywhere."""
    return isinstance(text, str) and len(text) <= LONGEST and text.isprintable()


def _read_bias(block: dict[str, Any], classes: tuple[str, ...], where: str) -> dict[str, float]:
    """Read the bias of each class; {} where there is none."""
    bias = _read_numbers(block, "bias", classes, where)
    if not all(abs(value) <= LARGEST_BIAS for value in bias.values()):
        raise ModelError(
            f"{where}: bias must be a number from {-LARGEST_BIAS:g} to {LARGEST_BIAS:g} for each "
            "class."
        )
    return bias


def _read_prior(block: dict[str, Any], classes: tuple[str, ...], where: str) -> dict[str, float]:
    """Read the share of each class among the training images; {} where there is none."""
    prior = _read_numbers(block, "prior", classes, where)
    shares = prior.values()
    if prior and not (all(share > 0 for share in shares) and abs(sum(shares) - 1) <= 1e-6):
        raise ModelError(f"{where}: prior must be a share above 0 for each class, together 1.")
    return prior


def _read_numbers(
    block: dict[str, Any], key: str, classes: tuple[str, ...], where: str
) -> dict[str, float]:
    """Read a number for each class, in the order of the classes; {} where the block lacks the key.

    Raises ModelError for other classes, and for values that are no finite numbers.
    """
    if key not in block:
        return {}
    values = block[key]
    if not isinstance(values, dict) or set(values) != set(classes):
        given = some(sorted(values)) if isinstance(values, dict) and values else "none"
        raise ModelError(f"{where}: {key} has the classes {given}, expected {', '.join(classes)}.")
    if not all(map(is_number, values.values())):
        raise ModelError(f"{where}: {key} must be a number for each class.")
    return {name: float(values[name]) for name in classes}


def _read_cut(block: Any, lower: Threshold, where: str) -> Threshold:
    """Read the `zones` block: the upper cut, at least the lower one and at most 1."""
    try:
        cut = Threshold(**block["highly_suspicious"])
        whole = set(block) == {"highly_suspicious"} and is_number(cut.value) and cut.value <= 1
        Zones(lower, cut)
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: the zones are garbled ({error}).") from error
    if not whole:
        raise ModelError(
            f"{where}: zones must hold 'highly_suspicious' alone, with a value between 0 and 1."
        )
    return cut


def _read_files(block: Any, where: str) -> dict[str, str]:
    """Read names and hashes of the files beside the weights; no name may leave the folder."""
    if not isinstance(block, dict) or not all(map(_is_sha256, block.values())):
        raise ModelError(
            f"{where}: files must give the sha256 of each file as 64 hexadecimal digits."
        )
    wrong = [name for name in block if not re.fullmatch(r"[a-z0-9_-]+\.(safetensors|onnx)", name)]
    if wrong:
        raise ModelError(
            f"{where}: files names {some(map(repr, wrong))}, expected names such as "
            "'gate.safetensors'."
        )
    return block


def _is_sha256(value: Any) -> bool:
    """Return whether a value is a sha256 in 64 hexadecimal digits."""
    return bool(re.fullmatch("[0-9a-f]{64}", str(value)))
