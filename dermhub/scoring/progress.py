"""A line on stderr that says how far a long command has come."""

from __future__ import annotations

import sys
import time
from typing import TextIO

EVERY = 0.5
"""Seconds between two updates on a terminal; elsewhere a line is written twenty times more
seldom.
"""


class Progress:
    """Counts `done` files of `total`; shown on a terminal, or anywhere if `always`.

    Files that were done before (`done` at the start) don't count for the rate.
    """

    def __init__(
        self, total: int, done: int = 0, always: bool = False, stream: TextIO | None = None
    ) -> None:
        self.total, self.done, self.first = total, done, done
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.shown = self.terminal or always
        self.start = self.last = time.monotonic()

    def add(self, count: int) -> None:
        """So many more files are done."""
        self.done += count
        now = time.monotonic()
        if self.shown and now - self.last >= EVERY * (1 if self.terminal else 20):
            self.last = now
            self.show(now - self.start)

    def show(self, seconds: float) -> None:
        """Write the line as of `seconds` after the start."""
        print(f"\r\033[K{self.line(seconds)}" if self.terminal else self.line(seconds),
              end="" if self.terminal else "\n", file=self.stream, flush=True)  # fmt: skip

    def line(self, seconds: float) -> str:
        """Files, rate and the time that is left at this rate."""
        new = self.done - self.first
        if not new or seconds <= 0:
            return f"{self.done:,} of {self.total:,} files"
        rate = new / seconds
        left = duration((self.total - self.done) / rate)
        return f"{self.done:,} of {self.total:,} files, {rate:.1f} files/s, {left} left"

    def close(self) -> None:
        """End the line on a terminal."""
        if self.terminal and self.shown:
            self.show(time.monotonic() - self.start)
            print(file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words of two units at most: "2 h 05 min", "3 min 20 s", "8 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
