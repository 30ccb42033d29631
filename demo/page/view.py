"""The view of an answer: every text and figure that the page shows of one image, as plain values.

The page, the copied text, the print sheet and the saved JSON all show this one view.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A probability of malignancy and the two cuts on its scale, from 0 to 1."""

    malignancy: float
    suspicious: float
    highly_suspicious: float

    @property
    def percent(self) -> str:
        """The probability in whole percent, on the same side of each cut as the probability."""
        return whole_percent(self.malignancy, (self.suspicious, self.highly_suspicious))

    @property
    def alarm_level(cut: float) -> str:
    """Write a cut in whole percent."""
    return f"{round(100 * cut)}%"
