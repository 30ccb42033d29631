"""The line that says how far a long command has come."""

from __future__ import annotations

import io

import pytest

from dermhub.scoring.progress import Progress, duration


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (8.4, "8 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3599.9, "1 h 00 min"),
     (7500, "2 h 05 min"), (360_000, "100 h 00 min")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_rate_and_time_left() -> None:
    progress = Progress(10_015, 15)
    assert progress.line(0) == "15 of 10,015 files"
    progress.add(1000)
    # 1,000 new files in 20 s: 50 a second, and 9,000 are left.
    assert progress.line(20) == "1,015 of 10,015 files, 50.0 files/s, 3 min 00 s left"


@pytest.mark.parametrize(
    ("terminal", "always", "shown"),
    [(False, False, False), (False, True, True), (True, False, True)],
)
def test_where_it_is_shown(
    terminal: bool, always: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermhub.scoring.progress.EVERY", 0)
    stream = Terminal() if terminal else io.StringIO()
    progress = Progress(4, 0, always, stream)
    progress.add(1)
    progress.add(3)
    progress.close()
    written = stream.getvalue()
    assert bool(written) == shown
    if terminal:
        # One line, written over itself, that ends at last.
        assert written.startswith("\r\033[K1 of 4 files, ")
        assert written.count("\n") == 1
    elif shown:
        assert [line.split(",")[0] for line in written.splitlines()] == [
            "1 of 4 files",
            "4 of 4 files",
        ]


def test_it_does_not_flood() -> None:
    stream = io.StringIO()
    progress = Progress(1000, 0, True, stream)
    for _ in range(1000):
        progress.add(1)
    assert stream.getvalue().count("\n") <= 1
