"""The interface of what computes a model's answers: all that `Classifier` asks of PyTorch or of
another runtime, in numpy arrays.
"""

from __future__ import annotations

from typing import Protocol

from dermhub.arrays import Floats32
from dermhub.models.config import ModelConfig
from dermhub.models.folder import ModelFolder


class Engine(Protocol):
    """A loaded model; every array is float32 and in the machine's own byte order."""

    folder: ModelFolder
    """The folder that it was loaded from."""

    config: ModelConfig
    runtime: str
    """What computes, by its name in the card."""

    def forward(self, batch: Floats32) -> tuple[Floats32, Floats32]:
        """Images (N, 3, H, W), as `view.to_array` makes them -> logits (N, C) and feature maps (N,
        K, h, w).
        """

    def class_maps(self, features: Floats32, directions: Floats32) -> Floats32:
        """Feature maps (N, K, h, w) and D directions (D, C) in logit space -> evidence (N, D, h,
        w), at least 0.

        Grad-CAM (Selvaraju et al. 2017, eqs. 1-2). A one-hot direction is the evidence for one
        class; the difference of two one-hot vectors is the evidence for the first class and against
        the second.
        """
