"""What runs a model: all that `Classifier` asks of PyTorch or of another runtime, in numpy
arrays.
"""

from __future__ import annotations

from typing import Any, Protocol

from dermhub.arrays import Floats32
from dermhub.models.config import ModelConfig


class Engine(Protocol):
    """A loaded model; every array is float32 and in the machine's own byte order.

    `model` is the torch module for those who train or take it apart; an engine without PyTorch
    raises ModelError.
    """

    config: ModelConfig
    runtime: str
    """What computes, by its name in the card."""

    @property
    def model(self) -> Any:
        """The torch module, in evaluation mode."""

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

    def sidecar(self, name: str) -> bytes:
        """The content of another file that belongs to the model; raises ModelError when it has none
        of that name.
        """
