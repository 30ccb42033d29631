"""Zones of suspicion: a probability of malignancy as one of three words, cut on validation.

The zone depends on the probability alone and rises with it, so that a higher probability is never
shown as less suspicious than a lower one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Threshold:
    """An operating point: the case is called malignant when P(malignant) >= `value`.

    `aim` says in words what the value was chosen for; it was always chosen on `split`.
    """

    value: float
    aim: str
    split: str = "validation"


class Zone(StrEnum):
    """A zone of suspicion; as text it is its word. Zones are ordered, `LOW` first."""

    LOW = "low"
    SUSPICIOUS = "suspicious"
    HIGHLY_SUSPICIOUS = "highly suspicious"

    @property
    def rank(self) -> int:
        """Place in the order: 0, 1 or 2."""
        return list(Zone).index(self)

    # Without these four, zones would be ordered by the alphabet, as other texts are.
    def __lt__(self, other: str) -> bool:
        return self.rank < Zone(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Zone(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Zone(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Zone(other).rank


@dataclass(frozen=True)
class Zones:
    """The two cuts between the three zones.

    `suspicious` is the lower cut and the model's operating point: from it on, a case is called
    malignant. `highly_suspicious` is the upper cut. Raises ValueError where it is below the lower.
    """

    suspicious: Threshold
    highly_suspicious: Threshold

    def __post_init__(self) -> None:
        if self.highly_suspicious.value < self.suspicious.value:
            raise ValueError(
                f"the highly suspicious zone begins at {self.highly_suspicious.value}, expected at "
                f"least {self.suspicious.value}, where the suspicious one begins"
            )

    def of(self, malignancy: float) -> Zone:
        """Return the zone of a probability of malignancy, 0 to 1; a cut belongs to its upper zone.

        A value that is no number has the highest zone, because it must not look harmless.
        """
        if malignancy < self.suspicious.value:
            return Zone.LOW
        if malignancy < self.highly_suspicious.value:
            return Zone.SUSPICIOUS
        return Zone.HIGHLY_SUSPICIOUS
