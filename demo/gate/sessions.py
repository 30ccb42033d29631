"""Sessions of users who have given their password: they end by themselves, or by logging out."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 12 * 3600.0
"""Seconds after which a session ends in any case."""

IDLE = 2 * 3600.0
"""Seconds without a request after which a session ends."""

MOST = 1000
"""Sessions at the same time; beyond them, the one that began first ends."""


@dataclass
class _Session:
    user: str
    began: float
    used: float


class Sessions:
    """The open sessions by the hash of their token; the tokens themselves are not kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[bytes, _Session] = {}

    def begin(self, user: str) -> str:
        """Begin a session and return its token."""
        self._end_old()
        while len(self._open) >= MOST:
            del self._open[next(iter(self._open))]
        token = secrets.token_urlsafe(32)
        now = self._clock()
        self._open[_hash(token)] = _Session(user, now, now)
        return token

    def user(self, token: str) -> str | None:
        """Return whose session a token is, None where it is none or has ended."""
        session = self._open.get(_hash(token))
        if session is None:
            return None
        now = self._clock()
        if _over(session, now):
            self.end(token)
            return None
        session.used = now
        return session.user

    def end(self, token: str) -> None:
        """End the session of a token."""
        self._open.pop(_hash(token), None)

    def _end_old(self) -> None:
        now = self._clock()
        for key in [key for key, session in self._open.items() if _over(session, now)]:
            del self._open[key]


def _over(session: _Session, now: float) -> bool:
    return now - session.began > LONGEST or now - session.used > IDLE


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
