"""Engine on PyTorch, the only one whose model can also be trained or taken apart."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from dermhub.arrays import Floats32
from dermhub.models import backbone, weights
from dermhub.models.engines import fused
from dermhub.models.engines.base import Device, check_finite, no_gpu
from dermhub.models.model_folder import ModelFolder


class TorchEngine:
    """The model of a folder, in evaluation mode; see `base.Engine`.

    Answers come from a folded copy (`fused.fold`), made at loading, so changes to `model` don't
    change them. Raises ModelError when the folder is not a whole and matching model, and
    ConfigError where `device` is "cuda" and there is no GPU.
    """

    runtime = "PyTorch"

    def __init__(self, folder: ModelFolder, device: Device = "cpu") -> None:
        self.device: Literal["cpu", "cuda"] = _usable(device)
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
            maps = backbone.features(self.folded, torch.from_numpy(batch).to(self.device))
            logits = backbone.head(self.folded, maps)
        answer = logits.cpu().numpy(), maps.cpu().numpy()
        check_finite(self.folder, *answer)
        return answer

    def class_maps(self, features: Floats32, directions: Floats32) -> Floats32:
        """Compute the evidence (N, D, h, w), at least 0, for directions (D, C).

        Only the head after the feature maps is differentiated: no hook, no layer name and no
        backward pass through the backbone, so a map costs hardly more than the prediction itself.
        """
        maps = torch.from_numpy(features).to(self.device)
        rows = torch.from_numpy(directions).to(self.device)
        evidence = [self._class_map(maps, row) for row in rows]
        return np.stack(evidence, axis=1)

    def _fold(self) -> None:
        layout = backbone.memory_format(self.config.architecture)
        size = self.config.input.size
        # The layers that are packed for oneDNN compute on the processor alone.
        folded = fused.fold(self._model.cpu(), size, layout, pack=self.device == "cpu")
        self.folded = folded.to(self.device)
        self._model.to(self.device)

    def _class_map(self, maps: torch.Tensor, direction: torch.Tensor) -> Floats32:
        """Compute the evidence (N, h, w) for one direction (C,)."""
        # Gradients are needed also where a caller has switched them off.
        with torch.inference_mode(False), torch.enable_grad():
            leaf = maps.clone().requires_grad_(True)
            score = (backbone.head(self.folded, leaf) @ direction.clone()).sum()
            (gradient,) = torch.autograd.grad(score, leaf)
        channel_weights = gradient.mean(dim=(2, 3), keepdim=True)
        evidence: Floats32 = torch.relu((channel_weights * maps).sum(dim=1)).cpu().numpy()
        return evidence


def _usable(device: Device) -> Literal["cpu", "cuda"]:
    """Choose a device; raises ConfigError where a GPU is asked for that can't be used."""
    if device == "cpu":
        return "cpu"
    with warnings.catch_warnings():
        # PyTorch warns where it finds no driver, which is told in a sentence here.
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return "cuda"
    if device == "auto":
        return "cpu"
    raise no_gpu("PyTorch", "a build of PyTorch for CUDA")
