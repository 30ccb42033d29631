"""Wrong passwords of the last minutes, counted for each user, address, and pair of both."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 900.0
"""Seconds in which a wrong password counts."""

MOST_PAIR = 5
"""Wrong passwords of one address for one user; a person who has forgotten it stops there."""

MOST_ADDRESS = 20
"""Wrong passwords of one address for all users: a hospital behind one address has many."""

MOST_USER = 100
"""Wrong passwords of all addresses for one user.

It is high, because whoever reaches it locks the user out of the page.
"""

REMEMBERED = 10_000
"""Users, addresses and pairs with wrong passwords; beyond them, the oldest are forgotten."""

Key = tuple[str, str]


class Tries:
    """Wrong passwords of the last `WINDOW` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[Key, deque[float]] = {}

    def wait(self, user: str, address: str) -> float:
        """Return the seconds until this user may be tried again from this address; 0 for now."""
        now = self._clock()
        waits = [0.0]
        for key, most in _bounds(user, address):
            failed = self._recent(key, now)
            if len(failed) >= most:
                waits.append(failed[-most] + WINDOW - now)
        return max(waits)

    def failed(self, user: str, address: str) -> None:
        """Count a wrong password."""
        now = self._clock()
        for key, most in _bounds(user, address):
            failed = self._recent(key, now)
            failed.append(now)
            while len(failed) > most:
                failed.popleft()
            self._failed.pop(key, None)
            self._failed[key] = failed  # now the youngest
        while len(self._failed) > REMEMBERED:
            del self._failed[next(iter(self._failed))]

    def took_back(self, user: str, address: str) -> None:
        """Take a password that proved right out of the count, with all that the pair had wrong."""
        self._failed.pop((user, address), None)
        for key in (("", address), (user, "")):
            if self._failed.get(key):
                self._failed[key].pop()

    def _recent(self, key: Key, now: float) -> deque[float]:
        failed = self._failed.get(key, deque())
        while failed and now - failed[0] > WINDOW:
            failed.popleft()
        return failed


def _bounds(user: str, address: str) -> tuple[tuple[Key, int], ...]:
    return ((user, address), MOST_PAIR), (("", address), MOST_ADDRESS), ((user, ""), MOST_USER)
