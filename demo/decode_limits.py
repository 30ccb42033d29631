"""Bounds for decoding a file: how much memory, and how much of the processor's time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds for one file: memory in MB, and seconds of the processor's time."""

    megabytes: float = 300.0
    seconds: float = 2.0

    @classmethod
    def parse(cls, text: str) -> Limits | None:
        """Read "MB,SECONDS", or "off", which is None. Raises ValueError with one sentence."""
        if text == "off":
            return None
        try:
            megabytes, seconds = map(float, text.split(","))
        except ValueError:
            megabytes = seconds = 0.0
        # An ordinary photograph needs some 50 MB, and a tenth of a second.
        if not (50 <= megabytes <= 100_000 and 0.1 <= seconds <= 3600):
            raise ValueError(
                f"{text} are no limits for decoding, expected MB,SECONDS (at least 50,0.1) or off"
            )
        return cls(megabytes, seconds)
