"""Losses of a training step: labels, blended images and a teacher's probabilities."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from dermhub.tasks import Task

DISTILLATION = 0.7
"""Weight of a teacher's answers against the labels."""

SOFTNESS = 2.0
"""Temperature of teacher and student in distillation (Hinton, Vinyals & Dean 2015, section 2)."""


def memberships(task: Task) -> torch.Tensor:
    """(T, C) bool: the classes that each target of `tables.training_targets` may be.

    One for a class; all benign or all malignant classes for a label that names no diagnosis.
    """
    malignant = torch.zeros(len(task.classes), dtype=torch.bool)
    malignant[list(task.positive_indices)] = True
    alone = torch.eye(len(task.classes), dtype=torch.bool)
    return torch.cat([alone, torch.stack([~malignant, malignant])])


def mix(
    views: torch.Tensor, mixup: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Blend each of N images (N, 3, H, W) with a partner (mixup, Zhang et al. 2018, section 2).

    Returns the images, the partners' positions (N,) and the share in [0, 1] of the images
    themselves, drawn from Beta(mixup, mixup). With 0 the images stay as they are and the share is
    1.
    """
    if mixup == 0:
        return views, torch.arange(len(views), device=views.device), 1.0
    share = float(rng.beta(mixup, mixup))
    partners = torch.from_numpy(rng.permutation(len(views))).to(views.device)
    # The result keeps the memory layout of the images.
    return torch.lerp(views[partners], views, share), partners, share


def label_loss(
    logits: torch.Tensor,
    possible: torch.Tensor,
    partners: torch.Tensor,
    share: float,
    smoothing: float,
) -> torch.Tensor:
    """Mean cross-entropy of (N, C) logits against labels and those of the mixed-in partners.

    `possible` (N, C) has the classes that each label may mean, rows of `memberships`: the loss of
    several is that of the sum of their probabilities. `partners` (N,) and `share` are those of
    `mix`: the labels count by `share`, the partners' by the rest. The share `smoothing` of the loss
    is that of labels that are all classes alike.
    """
    logs = logits.log_softmax(dim=1)

    def loss_of(classes: torch.Tensor) -> torch.Tensor:
        return -logs.masked_fill(~classes, -math.inf).logsumexp(dim=1).mean()

    loss = loss_of(possible)
    if share < 1:
        loss = share * loss + (1 - share) * loss_of(possible[partners])
    return (1 - smoothing) * loss - smoothing * logs.mean()


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean divergence of a student's (N, C) logits from a teacher's, both softened by `SOFTNESS`.

    The factor keeps gradients of the size that those of labels have (Hinton, Vinyals & Dean 2015,
    section 2).
    """
    student = nn.functional.log_softmax(logits / SOFTNESS, dim=1)
    target = nn.functional.log_softmax(teacher / SOFTNESS, dim=1)
    divergence = nn.functional.kl_div(student, target, reduction="batchmean", log_target=True)
    return SOFTNESS**2 * divergence
