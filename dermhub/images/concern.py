"""Reasons not to rely on an answer."""

from __future__ import annotations

from dataclasses import dataclass

NOT_DERMATOSCOPIC = "not-dermatoscopic"
"""Code of the one concern that withholds an answer: no such image was in training."""


@dataclass(frozen=True)
class Concern:
    """A reason not to rely on an answer.

    `code` is a short name for programs ("not-dermatoscopic", "blurred", "seen" ...); `sentence`
    says the same in plain words to a person, and what could be done.
    """

    code: str
    sentence: str
