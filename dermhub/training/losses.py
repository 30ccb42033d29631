"""What a training step minimises: smoothed labels, mixed images and a teacher's probabilities."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

SOFTNESS = 2.0
"""Temperature of teacher and student in the distilled part (Hinton, Vinyals & Dean 2015, section
2).
"""


def mix(
    views: torch.Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Give each of N images (N, 3, H, W) something of a partner: blended (mixup, Zhang et al. 2018,
    section 2), or a rectangle of it (CutMix, Yun et al. 2019, section 3.1).

    Returns the images, the partners' positions (N,) and the share in [0, 1] of the images
    themselves, drawn from Beta(mixup, mixup) or Beta(cutmix, cutmix): where neither is 0, half of
    the batches are blended. With both 0 the images stay as they are and the share is 1.
    """
    if mixup == cutmix == 0:
        return views, torch.arange(len(views), device=views.device), 1.0
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    share = float(rng.beta(cutmix, cutmix) if cut else rng.beta(mixup, mixup))
    partners = torch.from_numpy(rng.permutation(len(views))).to(views.device)
    # The result keeps the memory layout of the images.
    if not cut:
        return torch.lerp(views[partners], views, share), partners, share
    (top, bottom), (left, right) = (
        _span(length, math.sqrt(1 - share), rng) for length in views.shape[2:]
    )
    cut_out = views.clone()
    cut_out[:, :, top:bottom, left:right] = views[partners, :, top:bottom, left:right]
    return (
        cut_out,
        partners,
        1 - (bottom - top) * (right - left) / (views.shape[2] * views.shape[3]),
    )


def _span(length: int, part: float, rng: np.random.Generator) -> tuple[int, int]:
    """A stretch of pixels whose centre lies anywhere, `part` of the length long where that does not
    leave the image.
    """
    centre, half = rng.uniform(0, length), length * part / 2
    return max(round(centre - half), 0), min(round(centre + half), length)


def label_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    partners: torch.Tensor,
    share: float,
    smoothing: float,
) -> torch.Tensor:
    """Mean cross-entropy of (N, C) logits against labels (N,) and the partners' labels, each by its
    share.
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
    known = nn.functional.log_softmax(teacher / SOFTNESS, dim=1)
    return SOFTNESS**2 * nn.functional.kl_div(
        student, known, reduction="batchmean", log_target=True
    )
