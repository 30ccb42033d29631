"""What a training step minimises: smoothed labels, mixed images and a teacher's probabilities."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

SOFTNESS = 2.0
"""Temperature of teacher and student in the distilled part (Hinton, Vinyals & Dean 2015, section 2)."""


def mix(views: torch.Tensor, alpha: float, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Blend each of N images (N, 3, H, W) with a partner (mixup, Zhang et al. 2018, section 2).

    Returns the blends, the partners' positions (N,) and the share in [0, 1] of the images themselves, drawn from
    Beta(alpha, alpha); with `alpha` 0 the images stay as they are and the share is 1.
    """
    if alpha == 0:
        return views, torch.arange(len(views), device=views.device), 1.0
    share = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(len(views))).to(views.device)
    # The result keeps the memory layout of the images.
    return torch.lerp(views[partners], views, share), partners, share


def labelled(
    logits: torch.Tensor, labels: torch.Tensor, partners: torch.Tensor, share: float, smoothing: float
) -> torch.Tensor:
    """Mean cross-entropy of (N, C) logits against labels (N,) and the partners' labels, each by its share."""
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if share < 1:
        other = nn.functional.cross_entropy(logits, labels[partners], label_smoothing=smoothing)
        loss = share * loss + (1 - share) * other
    return loss


def distilled(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean divergence of a student's (N, C) logits from a teacher's, both softened by `SOFTNESS`.

    The factor keeps gradients of the size that those of labels have (Hinton, Vinyals & Dean 2015, section 2).
    """
    student = nn.functional.log_softmax(logits / SOFTNESS, dim=1)
    known = nn.functional.log_softmax(teacher / SOFTNESS, dim=1)
    return SOFTNESS**2 * nn.functional.kl_div(student, known, reduction="batchmean", log_target=True)
