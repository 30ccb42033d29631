"""Losses of a training step: smoothed labels, mixed images and a teacher's probabilities."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

SOFTNESS = 2.0
"""Temperature of teacher and student in distillation (Hinton, Vinyals & Dean 2015, section 2)."""


def mix(
    views: torch.Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mix each of N images (N, 3, H, W) with a partner.

    Either blended (mixup, Zhang et al. 2018, section 2), or with a rectangle of the partner
    (CutMix, Yun et al. 2019, section 3.1). Returns the images, the partners' positions (N,) and the
    share in [0, 1] of the images themselves, drawn from Beta(mixup, mixup) or Beta(cutmix, cutmix):
    where neither is 0, half of the batches are blended. With both 0 the images stay as they are and
    the share is 1.
    """
    if mixup == cutmix == 0:
        return views, torch.arange(len(views), device=views.device), 1.0
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    share = float(rng.beta(cutmix, cutmix) if cut else rng.beta(mixup, mixup))
    partners = torch.from_numpy(rng.permutation(len(views))).to(views.device)
    # The result keeps the memory layout of the images.
    if not cut:
        return torch.lerp(views[partners], views, share), partners, share
    height, width = views.shape[2:]
    top, bottom = _span(height, math.sqrt(1 - share), rng)
    left, right = _span(width, math.sqrt(1 - share), rng)
    pasted = views.clone()
    pasted[:, :, top:bottom, left:right] = views[partners, :, top:bottom, left:right]
    # At the rim the rectangle is smaller than what was drawn.
    return pasted, partners, 1 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, part: float, rng: np.random.Generator) -> tuple[int, int]:
    """A stretch of pixels, `part` of the length long, about a centre anywhere in the image.

    It is cut off where it would leave the image.
    """
    centre = rng.uniform(0, length)
    half = length * part / 2
    return max(round(centre - half), 0), min(round(centre + half), length)


def label_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    partners: torch.Tensor,
    share: float,
    smoothing: float,
) -> torch.Tensor:
    """Mean cross-entropy of (N, C) logits against labels (N,) and those of the mixed-in partners.

    `partners` (N,) and `share` are those of `mix`: the labels count by `share`, the partners' by
    the rest.
    """
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if share < 1:
        other = nn.functional.cross_entropy(logits, labels[partners], label_smoothing=smoothing)
        loss = share * loss + (1 - share) * other
    return loss


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean divergence of a student's (N, C) logits from a teacher's, both softened by `SOFTNESS`.

    The factor keeps gradients of the size that those of labels have (Hinton, Vinyals & Dean 2015,
    section 2).
    """
    student = nn.functional.log_softmax(logits / SOFTNESS, dim=1)
    target = nn.functional.log_softmax(teacher / SOFTNESS, dim=1)
    divergence = nn.functional.kl_div(student, target, reduction="batchmean", log_target=True)
    return SOFTNESS**2 * divergence
