"""The room for uploads: reserved before a body is read, and shared between addresses.

Nothing is walked for a request: a running account holds what was announced and what has come. The
sweeper, which looks at every file anyway, says after each round how many bytes there really are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

CAPACITY = 2**30
"""Bytes of uploads at one time; beyond them, uploads are refused until older ones are gone."""

SHARE = 0.5
"""Part of the room that one address can take."""

FILE_COST = 16 * 2**10
"""Bytes that a file counts as at least, so that there can't be hundreds of thousands of them."""

FULL = "The server has no room for more images now: try again in some minutes."

SHARE_TAKEN = "Your uploads have taken their share of the server: try again in some minutes."


@dataclass
class Reservation:
    """Room for the body of one request."""

    address: str | None
    size: int


class UploadRoom:
    """The account of the room: bytes of running requests, and of files that lie there.

    Several threads may use it: the server's loop, and the sweeper.
    """

    def __init__(self, lifetime: float) -> None:
        """`lifetime` is in seconds: how long a file stays."""
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._running = 0
        self._lying = 0
        self._kept = 0
        self._kept_before = 0
        self._by_address: dict[str, int] = {}
        self._ends: deque[tuple[float, Reservation]] = deque()

    @property
    def taken(self) -> int:
        """Bytes that are reserved or lie in the folder."""
        return self._running + self._lying

    def reserve(self, address: str | None, size: int) -> Reservation | str:
        """Reserve room for a body of `size` bytes, or return the sentence that refuses it."""
        with self._lock:
            self._forget_old()
            if self.taken + size > CAPACITY:
                return FULL
            if address is not None and self._held(address) + size > CAPACITY * SHARE:
                return SHARE_TAKEN
            self._running += size
            self._add(address, size)
        return Reservation(address, size)

    def keep(self, reservation: Reservation, files: int) -> None:
        """Note that the body has come, and that its files lie in the folder now."""
        size = max(reservation.size, files * FILE_COST)
        with self._lock:
            self._running -= reservation.size
            self._lying += size
            self._kept += size
            self._add(reservation.address, size - reservation.size)
            self._ends.append(
                (time.monotonic() + self._lifetime, Reservation(reservation.address, size))
            )

    def give_back(self, reservation: Reservation) -> None:
        """Note that nothing has come of a reservation."""
        with self._lock:
            self._running -= reservation.size
            self._add(reservation.address, -reservation.size)

    def begin_count(self) -> None:
        """Note that the files are counted from now on."""
        self._kept_before = self._kept

    def end_count(self, sizes: Iterable[int]) -> None:
        """Take the sizes of all files for what lies there.

        What came while they were counted counts twice, until the next time.
        """
        measured = sum(max(size, FILE_COST) for size in sizes)
        with self._lock:
            self._lying = measured + self._kept - self._kept_before

    def _held(self, address: str) -> int:
        return self._by_address.get(address, 0)

    def _add(self, address: str | None, size: int) -> None:
        if address is None:
            return
        held = self._held(address) + size
        if held > 0:
            self._by_address[address] = held
        else:
            self._by_address.pop(address, None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        while self._ends and self._ends[0][0] < now:
            _, old = self._ends.popleft()
            self._add(old.address, -old.size)
