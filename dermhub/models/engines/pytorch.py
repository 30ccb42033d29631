"""Engine on PyTorch, the only one whose model can also be trained or taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from dermhub.arrays import Floats32
from dermhub.models import backbone, weights
from dermhub.models.engines import fused
from dermhub.models.engines.base import check_finite
from dermhub.models.model_folder import ModelFolder


class TorchEngine:
    """The model of a folder, in evaluation mode on the CPU; see `base.Engine`.

    Answers come from a folded copy (`fused.fold`), made at loading, so changes to `model` don't
    change them. Raises ModelError when the folder is not a whole and matching model.
    """

    runtime = "PyTorch"

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.config = folder.config
        self._model = weights.read(folder)
        self._model.to(memory_format=backbone.memory_format(self.config.architecture))
        self._fold()

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles fold the model again: packed weights can be neither copied nor saved.
        return {name: value for name, value in vars(self).items() if name != "folded"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fold()

    @property
    def model(self) -> nn.Module:
        """The torch module, in evaluation mode."""
        return self._model

    def forward(self, batch: Floats32) -> tuple[Floats32, Floats32]:
        """Compute logits (N, C) and feature maps (N, K, h, w) of images (N, 3, H, W)."""
        with torch.inference_mode():
            maps = backbone.features(self.folded, torch.from_numpy(batch))
            logits = backbone.head(self.folded, maps)
        check_finite(self.folder, logits.numpy(), maps.numpy())
        return logits.numpy(), maps.numpy()

    def class_maps(self, features: Floats32, directions: Floats32) -> Floats32:
        """Compute the evidence (N, D, h, w), at least 0, for directions (D, C).

        Only the head after the feature maps is differentiated: no hook, no layer name and no
        backward pass through the backbone, so a map costs hardly more than the prediction itself.
        """
        maps = torch.from_numpy(features)
        evidence = [self._class_map(maps, torch.from_numpy(row)) for row in directions]
        return np.stack(evidence, axis=1)

    def _fold(self) -> None:
        layout = backbone.memory_format(self.config.architecture)
        self.folded = fused.fold(self._model, self.config.input.size, layout)

    def _class_map(self, maps: torch.Tensor, direction: torch.Tensor) -> Floats32:
        """Compute the evidence (N, h, w) for one direction (C,)."""
        # Gradients are needed also where a caller has switched them off.
        with torch.inference_mode(False), torch.enable_grad():
            leaf = maps.clone().requires_grad_(True)
            score = (backbone.head(self.folded, leaf) @ direction.clone()).sum()
            (gradient,) = torch.autograd.grad(score, leaf)
        channel_weights = gradient.mean(dim=(2, 3), keepdim=True)
        evidence: Floats32 = torch.relu((channel_weights * maps).sum(dim=1)).numpy()
        return evidence
