"""The interface between `Classifier` and the runtime that computes a model, in numpy arrays."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from dermhub.arrays import Floats32
from dermhub.errors import ConfigError, ModelError
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder

Device = Literal["cpu", "cuda", "auto"]
"""Where a model computes: on the processor, on an NVIDIA GPU, or there where it can be used."""


class Engine(Protocol):
    """A loaded model; every array is float32 and in the machine's own byte order."""

    folder: ModelFolder
    """The folder that it was loaded from."""

    config: ModelConfig

    runtime: str
    """Name of the runtime, as the card states it."""

    device: Literal["cpu", "cuda"]
    """Where it computes; arrays come from and go to the processor's memory in both cases."""

    def forward(self, batch: Floats32) -> tuple[Floats32, Floats32]:
        """Compute logits (N, C) and feature maps (N, K, h, w) of images (N, 3, H, W).

        The images are as `view.to_array` makes them. Raises ModelError, as `check_finite`, where an
        answer is no finite number.
        """

    def class_maps(self, features: Floats32, directions: Floats32) -> Floats32:
        """Compute the evidence, at least 0, for D directions in logit space: (N, D, h, w).

        `features` is (N, K, h, w), `directions` (D, C). The method is Grad-CAM (Selvaraju et al.
        2017, eqs. 1-2). A one-hot direction gives the evidence for a class; the difference of two
        one-hot vectors gives the evidence for the first class and against the second.
        """


def no_gpu(runtime: str, build: str) -> ConfigError:
    """Make the error of a runtime that can't use a GPU; `build` says which build of it could."""
    return ConfigError(
        f"The device is 'cuda', but {runtime} finds no GPU here that it can use: expected an "
        f"NVIDIA GPU, its driver and {build}. Without device='cuda' the model computes on the "
        "processor."
    )


def check_finite(folder: ModelFolder, *answers: Floats32) -> None:
    """Raise ModelError where a model's answers are NaN or infinite.

    No comparison with NaN is true, so that it would pass for a benign lesion and for an image that
    the gate accepts.
    """
    if not all(np.isfinite(answer).all() for answer in answers):
        raise ModelError(
            f"{folder.path} answered NaN or infinity, expected finite numbers: the model is "
            "damaged or was never measured; fetch it again, or use another."
        )
