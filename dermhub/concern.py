"""What speaks against relying on an answer."""

from __future__ import annotations

from dataclasses import dataclass

NOT_DERMATOSCOPIC = "not-dermatoscopic"
"""The code of the one concern that withholds an answer: the image is of a kind that the model never
learnt.
"""


@dataclass(frozen=True)
class Concern:
    """One thing that speaks against relying on an answer.

    `code` is a short name for programs ("not-dermatoscopic", "blurred", "seen" ...); `sentence`
    says the same in plain words to a person, and what could be done.
    """

    code: str
    sentence: str
