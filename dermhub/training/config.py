"""The training recipe as data: the fields of `TrainConfig` are the options of train.py.

Default, help, group and bounds of an option are declared here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from dermhub.data.sources import formats
from dermhub.errors import ConfigError, suggest
from dermhub.layout import LARGEST_SIDE
from dermhub.models.catalog import RUN_MODEL
from dermhub.tasks import TASKS

GROUPS = ("data", "model", "optimiser", "augmentation", "transfer", "run")
"""Groups of options, in the order of `train.py --help`."""

RUN_CONFIG = "train_config.json"
"""File of a run's folder with its options and the hashes of its inputs."""

STATE = "state.safetensors"
"""File with all from which a stopped run continues (`dermhub.training.state`)."""

HISTORY = "history.csv"
"""File with a row for each epoch."""

IMAGE_HASHES = "images.csv"
"""File with the image_id and sha256 of each image that the run began with."""

DESCRIPTION, OVERVIEW, CURVES = "data.json", "data.png", "curves.png"
"""Files with figures and a picture of the data, and with the losses as curves."""

RETIRED: dict[str, tuple[Any, ...]] = {
    "sharper": ("",),
    "stop_after": (0,),
    "crop_mode": ("center",),
    "warmup": (1.0,),
    "drop_path": (0.0,),
    "freeze": (0,),
    "cutmix": (0.0,),
    "randaugment": (0,),
    "adjust": (0.0,),
    "distillation": (0.7,),
    "soup": ("",),
    "weights": ("fp32", "fp16"),
    "bf16": ("auto",),
    "device": ("auto",),
}
"""Option of an earlier dermhub -> the values with which its runs can be resumed."""

RUN_FILES = (IMAGE_HASHES, HISTORY, STATE, DESCRIPTION, OVERVIEW, CURVES, RUN_MODEL)
"""Names in a run's folder, but for its configuration: a run writes over them."""


@dataclass(frozen=True)
class Bounds:
    """Limits of a number, None for no limit; infinity and NaN are never inside.

    `reason` goes on with the sentence of the limit that is hard to guess, and `expected` stands for
    the sentences of all limits.
    """

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    expected: str = ""
    reason: str = ""

    def expectation(self, value: float) -> str | None:
        """The expectation that a value does not meet, in words; None for a value inside."""
        failed = self._first_failed(value)
        return self.expected if failed and self.expected else failed

    def _first_failed(self, value: float) -> str | None:
        finite = abs(value) < float("inf")
        if self.above is not None and not (finite and value > self.above):
            return f"a number above {self.above}"
        if self.at_least is not None and not (finite and value >= self.at_least):
            if self.above is not None:
                return f"at least {self.at_least}{self.reason}"
            return f"a number of at least {self.at_least}"
        if self.below is not None and value >= self.below:
            limit = "2**32" if self.below == 2**32 else self.below
            return f"a number below {limit}"
        if self.at_most is not None and value > self.at_most:
            return f"at most {self.at_most}{self.reason}"
        return None


def _option(group: str, default: Any, text: str, **bounds: Any) -> Any:
    """A field of `TrainConfig`: its group and help, and its `Bounds` by keyword."""
    return field(
        default=default, metadata={"group": group, "help": text, "bounds": Bounds(**bounds)}
    )


def flag(name: str) -> str:
    """The option of a field on the command line."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class TrainConfig:
    """The options of train.py; each field is one `--option`.

    Raises ConfigError for a value of another type and for one that is out of bounds.
    """

    task: str = _option(
        "data", "lesion", "what to learn: binary (benign | malignant) or lesion (seven classes)"
    )
    data: str = _option(
        "data",
        "",
        "folder with the images and the table, or kaggle:OWNER/NAME; empty: HAM10000 through "
        "kagglehub",
    )
    columns: str = _option("data", "", formats.OPTION)
    extra: str = _option(
        "data",
        "",
        "folder of more training images (a CSV with image_id and dx), or several with commas "
        "between them; none is tested on. Of each class, all sources (folders, and values of a "
        "column collection) are drawn in the same proportions",
    )
    sampling: float = _option(
        "data",
        0.5,
        "class balance: classes are drawn with share**sampling (1: as they are, 0: equal)",
        at_least=0,
        at_most=4,
        reason=": beyond, one class is all there is",
    )
    model: str = _option("model", "mobilenetv2_100", "name of any timm CNN")
    size: int = _option(
        "model",
        224,
        "height and width of the model's input in pixels, at validation and in use",
        above=0,
        at_most=LARGEST_SIDE,
    )
    dropout: float = _option(
        "model",
        0.2,
        "dropout before the last layer",
        at_least=0,
        below=1,
        expected="0 <= value < 1",
    )
    epochs: int = _option("optimiser", 40, "passes over the training split", above=0)
    batch_size: int = _option(
        "optimiser",
        64,
        "images per step",
        above=0,
        at_least=2,
        reason=": batch normalisation needs several images",
    )
    lr: float = _option("optimiser", 1e-3, "peak learning rate of AdamW", above=0)
    backbone_lr: float = _option(
        "optimiser", 0.5, "learning rate of the backbone as a share of --lr", at_least=0
    )
    weight_decay: float = _option(
        "optimiser", 0.03, "decoupled weight decay of the weight matrices", at_least=0
    )
    label_smoothing: float = _option(
        "optimiser",
        0.05,
        "mass moved from the true class to all classes",
        at_least=0,
        below=1,
        expected="0 <= value < 1",
    )
    ema: float = _option(
        "optimiser",
        0.997,
        "decay per step of the averaged weights that are evaluated and kept",
        at_least=0,
        below=1,
        expected="0 <= value < 1",
    )
    train_size: int = _option(
        "augmentation",
        192,
        "height and width of a training crop in pixels (smaller: Touvron 2019, FixRes)",
        above=0,
    )
    min_scale: float = _option(
        "augmentation",
        0.25,
        "smallest random crop, as a share of the central square's area",
        above=0,
        at_most=1,
    )
    mixup: float = _option(
        "augmentation",
        0.2,
        "blend images in pairs, by shares from Beta(mixup, mixup); 0: off",
        at_least=0,
    )
    init: str = _option(
        "transfer",
        "pretrained",
        "pretrained (weights from the hub), scratch, a .safetensors file (all but its classifier), "
        "or a model (folder, id or org/name) that saw no lesion which is held out here; with its "
        "classifier if it has the same task",
    )
    teacher: str = _option(
        "transfer",
        "",
        "model (folder, id or org/name) that teaches its answers, or several with commas between "
        "them, whose mean answers are taught; a lesion model also teaches binary. On the same "
        "data, with any --extra",
    )
    name: str = _option("run", "", "id of the model in its card; empty: the task")
    out: str = _option("run", "", "folder of the run; empty: runs/<task>-<model>-<seed>")
    workers: int = _option(
        "run", min(4, os.cpu_count() or 1), "processes that decode and augment", at_least=0
    )
    seed: int = _option(
        "run", 0, "seed of initialisation, order and augmentation", at_least=0, below=2**32
    )

    def __post_init__(self) -> None:
        self._check_types()
        if self.task not in TASKS:
            raise ConfigError(
                f"Unknown task {self.task!r}: expected "
                f"{' or '.join(TASKS)}.{suggest(self.task, TASKS)}"
            )
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if isinstance(value, int | float):
                expected = option.metadata["bounds"].expectation(value)
                if expected is not None:
                    raise ConfigError(f"{flag(option.name)} is {value}, expected {expected}.")
        if not self.init.strip():
            raise ConfigError(
                "--init is empty, expected pretrained, scratch, a .safetensors file or a model."
            )

    def _check_types(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if type(value) is not hint and (hint, type(value)) != (float, int):
                raise ConfigError(
                    f"{flag(name)} is {value!r}, expected a value of type {hint.__name__}."
                )

    @classmethod
    def from_json(cls, content: Any) -> TrainConfig:
        """Read a run's options from JSON; an unknown key is refused by name.

        An option that an earlier dermhub had is left out if its value is what every run does now.
        """
        if not isinstance(content, dict):
            raise ConfigError(
                f"Expected the training options as a JSON object, got {type(content).__name__}."
            )
        names = {option.name for option in dataclasses.fields(cls)}
        values = {}
        for key, value in content.items():
            if key in names:
                values[key] = value
            elif key not in RETIRED:
                raise ConfigError(f"Unknown training option {key!r}.{suggest(key, names)}")
            elif value not in RETIRED[key]:
                raise ConfigError(
                    f"The run was begun with {flag(key)} {value}, an option that this dermhub no "
                    "longer has: finish the run with the version that began it."
                )
        return cls(**values)
