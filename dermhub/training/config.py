"""The recipe as data: `TrainConfig`'s fields are the options of train.py, and are declared nowhere
else.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from dermhub.errors import ConfigError, some, suggest
from dermhub.tasks import TASKS


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """The options of train.py; each field is one `--option`."""

    task: str = _option(
        "lesion", "what to learn: binary (benign | malignant) or lesion (seven classes)"
    )
    data: str = _option(
        "",
        "folder with the images and the table, or kaggle:OWNER/NAME; empty: HAM10000 through "
        "kagglehub",
    )
    extra: str = _option(
        "", "folder of more training images (a CSV with image_id and dx); none is tested on"
    )
    sharper: str = _option("", "folder of sharper copies of training images, under the same names")
    model: str = _option("mobilenetv2_100", "name of any timm CNN")
    init: str = _option(
        "pretrained",
        "pretrained (weights from the hub), scratch, a .safetensors file (all but its classifier), "
        "or a model that was "
        "trained on the same data, with the same --extra or none (folder, id or org/name; with its "
        "classifier if it "
        "has the same task)",
    )
    name: str = _option("", "id of the model in its card; empty: the task")
    out: str = _option("", "folder of the run; empty: runs/<task>-<model>-<seed>")
    epochs: int = _option(20, "passes over the training split")
    stop_after: int = _option(
        0,
        "end the run for good after so many epochs of the schedule of --epochs; 0: after all of "
        "them",
    )
    batch_size: int = _option(64, "images per step")
    size: int = _option(
        192, "height and width of the model's input in pixels, at validation and in use"
    )
    train_size: int = _option(
        160, "height and width of a training crop in pixels (smaller: Touvron 2019, FixRes)"
    )
    crop_mode: Literal["center", "squash"] = _option(
        "center", "centre square, or whole frame stretched to a square"
    )
    lr: float = _option(1e-3, "peak learning rate of AdamW")
    backbone_lr: float = _option(0.5, "learning rate of the backbone as a share of --lr")
    weight_decay: float = _option(0.02, "decoupled weight decay of the weight matrices")
    warmup: float = _option(1.0, "epochs of linear warm-up before the cosine decay")
    label_smoothing: float = _option(0.05, "mass moved from the true class to all classes")
    dropout: float = _option(0.2, "dropout before the last layer")
    drop_path: float = _option(0.0, "stochastic depth, for backbones that have it")
    freeze: int = _option(
        0, "stages at the backbone's start that keep their weights (1: the stem): faster epochs"
    )
    mixup: float = _option(0.0, "blend images in pairs, by shares from Beta(mixup, mixup); 0: off")
    cutmix: float = _option(
        0.0,
        "paste in a rectangle of another image, by shares from Beta(cutmix, cutmix); with --mixup: "
        "half of the batches",
    )
    randaugment: int = _option(
        0, "magnitude of RandAugment's two further changes of an image, up to 30; 0: off"
    )
    adjust: float = _option(
        0.0,
        "strength with which the loss adds the classes' prior, as --sampling draws them, to the "
        "logits, so that these "
        "learn to do without it; 0: off",
    )
    teacher: str = _option(
        "",
        "model (folder, id or org/name) that teaches its answers, or several with commas between "
        "them, whose mean "
        "answers are taught; a lesion model also teaches binary. On the same data, with the same "
        "--extra or none",
    )
    distillation: float = _option(
        0.7, "weight of the teacher's answers against the labels, with --teacher"
    )
    soup: str = _option(
        "",
        "model of the same architecture and task that began from the same weights, or several with "
        "commas between "
        "them: what is kept is the mean of the run's weights and theirs. On the same data, with "
        "the same --extra or "
        "none",
    )
    sampling: float = _option(
        0.5, "class balance: classes are drawn with share**sampling (1: as they are, 0: equal)"
    )
    min_scale: float = _option(
        0.35, "smallest random crop, as a share of the central square's area"
    )
    ema: float = _option(
        0.995, "decay per step of the averaged weights that are evaluated and kept"
    )
    weights: Literal["fp32", "fp16"] = _option(
        "fp32", "precision in which weight matrices are saved (fp16: half the size)"
    )
    bf16: Literal["auto", "on", "off"] = _option(
        "auto", "bfloat16 autocast; auto: where the processor has it"
    )
    workers: int = _option(min(4, os.cpu_count() or 1), "processes that decode and augment")
    device: str = _option("auto", "cpu, cuda, cuda:1 ...; auto: cuda where there is one")
    seed: int = _option(0, "seed of initialisation, order and augmentation")

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value, choices = getattr(self, name), get_args(hint)
            if choices and value not in choices:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is {value!r}, expected {some(choices)}."
                )
            if not choices and type(value) is not hint and (hint, type(value)) != (float, int):
                raise ConfigError(
                    f"--{name.replace('_', '-')} is {value!r}, expected a value of type "
                    f"{hint.__name__}."
                )
        if self.task not in TASKS:
            raise ConfigError(
                f"Unknown task {self.task!r}: expected "
                f"{' or '.join(TASKS)}.{suggest(self.task, TASKS)}"
            )
        positive = ("epochs", "batch_size", "size", "train_size", "lr", "min_scale")
        for name in (
            *positive,
            "stop_after",
            "workers",
            "weight_decay",
            "warmup",
            "seed",
            "backbone_lr",
            "sampling",
            "freeze",
            "mixup",
            "cutmix",
            "randaugment",
            "adjust",
        ):
            value = getattr(self, name)
            if not value >= 0 or value == float("inf") or (name in positive and value == 0):
                bound = "above 0" if name in positive else "of at least 0"
                raise ConfigError(
                    f"--{name.replace('_', '-')} is {value}, expected a number {bound}."
                )
        for name in ("dropout", "drop_path", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}, expected 0 <= value < 1."
                )
        if not self.init.strip():
            raise ConfigError(
                "--init is empty, expected pretrained, scratch, a .safetensors file or a model."
            )
        if self.batch_size < 2:
            raise ConfigError(
                "--batch-size is 1, expected at least 2: batch normalisation needs several images."
            )
        if self.seed >= 2**32:
            raise ConfigError(f"--seed is {self.seed}, expected a number below 2**32.")
        if self.adjust > 4:
            raise ConfigError(
                f"--adjust is {self.adjust}, expected at most 4: with 1, the prior is all made up "
                "for."
            )
        if self.sampling > 4:
            raise ConfigError(
                f"--sampling is {self.sampling}, expected at most 4: beyond, one class is all "
                "there is."
            )
        if self.warmup > self.epochs:
            raise ConfigError(
                f"--warmup is {self.warmup} epochs, expected at most the {self.epochs} of --epochs."
            )
        if self.stop_after > self.epochs:
            raise ConfigError(
                f"--stop-after is {self.stop_after}, expected at most the {self.epochs} of "
                "--epochs."
            )
        if 0 < self.stop_after < self.warmup:
            raise ConfigError(
                f"--stop-after is {self.stop_after}, expected at least the {self.warmup:g} epochs "
                "of --warmup."
            )
        if not 0 <= self.distillation <= 1:
            raise ConfigError(
                f"--distillation is {self.distillation}, expected a share from 0 to 1."
            )
        if self.randaugment > 30:
            raise ConfigError(
                f"--randaugment is {self.randaugment}, expected at most 30, its strongest changes."
            )
        if self.min_scale > 1:
            raise ConfigError(f"--min-scale is {self.min_scale}, expected at most 1.")

    @classmethod
    def from_json(cls, content: Any) -> TrainConfig:
        """Read a run's options from JSON; an unknown key is refused by name."""
        if not isinstance(content, dict):
            raise ConfigError(
                f"Expected the training options as a JSON object, got {type(content).__name__}."
            )
        known = {f.name for f in dataclasses.fields(cls)}
        for key in content:
            if key not in known:
                raise ConfigError(f"Unknown training option {key!r}.{suggest(key, known)}")
        return cls(**content)
