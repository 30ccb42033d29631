"""The sweeper: deletes each upload some minutes after it came, whatever else happens.

It trusts neither Gradio, which forgets uploads that broke off, nor the wall clock, and it goes on
where no descriptor is free and where files vanish under it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LIFETIME = 600.0
"""Seconds that an uploaded file stays.

That is long enough to wait in the queue and to be asked about again.
"""

EMPTY_LIFETIME = 20.0
"""Seconds that an empty folder stays. Its name tells a file by its hash."""

INTERVAL = 20.0
"""Seconds between two rounds."""

RETRY = 5.0
"""Seconds until the next round after one that did not see everything."""

RESERVE = 8
"""Descriptors that are held for moments in which no other is free."""

ATTEMPTS, PAUSE = 60, 0.02
"""How often a folder is tried where no descriptor is free, and the seconds between."""

Report = Callable[[BaseException], None]


def ignore(_: BaseException) -> None:
    """Report nothing."""


class Account(Protocol):
    """An account of the room that the files take; a round tells it what it saw."""

    def begin_count(self) -> None:
        """Note that a round begins."""

    def end_count(self, sizes: Iterable[int]) -> None:
        """Take the sizes in bytes of all files that a round has left."""


@dataclass
class Seen:
    """A file or an empty folder: what tells it from another of that name, and its first round.

    `since` is in seconds of the monotonic clock, which no change of the time of day moves.
    """

    identity: tuple[int, int]
    since: float


class Sweeper:
    """Deletes what lies below a folder `LIFETIME` seconds after it was last changed.

    The time is counted from the first round that sees a file as it is. `report` is called with
    each error that keeps a round from deleting something, and `account` is told what each round
    that did everything has left; both may fail.
    """

    def __init__(
        self, folder: Path, report: Report = ignore, account: Account | None = None
    ) -> None:
        self.folder = folder
        self._report = report
        self._account = account
        self._spared: frozenset[str] = frozenset()
        self._seen: dict[str, Seen] = {}
        self._reserve: list[int] = []
        self._problem: BaseException | None = None
        self._failed = 0
        self._last_round: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to look every `INTERVAL` seconds."""
        self._fill_reserve()
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its present round."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)
        while self._reserve:
            os.close(self._reserve.pop())

    def spare(self, paths: Iterable[Path]) -> None:
        """Never delete these files and folders."""
        self._spared = frozenset(map(str, paths))

    def state(self) -> dict[str, float | int | str | None]:
        """Return what /healthz tells of it.

        `seconds_ago`: when a round was last done that deleted all it had to, None before the first;
        `failed`: rounds since then that could not; `error`: the type of what kept them from it, "".
        """
        last = self._last_round
        return {
            "seconds_ago": None if last is None else round(time.monotonic() - last, 1),
            "failed": self._failed,
            "error": type(self._problem).__name__ if self._failed and self._problem else "",
        }

    def look(self, now: float) -> bool:
        """Make a round at a moment of the monotonic clock; tell whether it saw and did everything.

        Raises nothing.
        """
        self._problem = None
        self._sizes: list[int] = []
        try:
            if self._account:
                self._account.begin_count()
            visited: dict[str, Seen] = {}
            self._look_into(str(self.folder), now, visited)
            if self._problem is None:
                self._seen = visited
            else:
                # A file that a failed round did not see keeps its age.
                self._seen |= visited
        # Whatever it is: what is not deleted now is deleted in the next round.
        except Exception as error:
            self._problem = error
        if self._problem is None:
            self._failed, self._last_round = 0, now
            with contextlib.suppress(Exception):
                if self._account:
                    self._account.end_count(self._sizes)
            return True
        self._failed += 1
        with contextlib.suppress(Exception):
            self._report(self._problem)
        return False

    def _run(self) -> None:
        pause = INTERVAL
        while not self._ended.wait(pause):
            pause = INTERVAL if self.look(time.monotonic()) else min(RETRY, INTERVAL)

    def _look_into(self, folder: str, now: float, visited: dict[str, Seen]) -> bool:
        """Delete what is too old below a folder; tell whether it is empty now."""
        try:
            entries = self._entries(folder)
        except OSError as error:
            self._note(error)
            return False
        left = 0
        for entry in entries:
            try:
                if entry.path in self._spared:
                    left += 1
                    if entry.is_dir(follow_symlinks=False):
                        self._look_into(entry.path, now, visited)
                    else:
                        self._sizes.append(entry.stat(follow_symlinks=False).st_size)
                elif entry.is_dir(follow_symlinks=False):
                    left += not self._remove_empty(entry, now, visited)
                else:
                    left += not self._remove_old(entry, now, visited)
            except OSError as error:
                self._note(error)
                left += 1
        return not left

    def _remove_old(self, entry: os.DirEntry[str], now: float, visited: dict[str, Seen]) -> bool:
        """Delete a file, or a link, that is old enough; tell whether it is gone."""
        found = entry.stat(follow_symlinks=False)
        age = self._age(entry.path, (found.st_ino, found.st_mtime_ns), now, visited)
        if age < LIFETIME:
            self._sizes.append(found.st_size)
            return False
        Path(entry.path).unlink()
        del visited[entry.path]
        return True

    def _remove_empty(self, entry: os.DirEntry[str], now: float, visited: dict[str, Seen]) -> bool:
        """Look into a folder, and remove it when it has been empty for long enough."""
        if not self._look_into(entry.path, now, visited):
            return False
        # Not at once: Gradio makes a folder, and then puts a file into it.
        if self._age(entry.path, (entry.inode(), stat.S_IFDIR), now, visited) < EMPTY_LIFETIME:
            return False
        Path(entry.path).rmdir()
        del visited[entry.path]
        return True

    def _age(
        self, path: str, identity: tuple[int, int], now: float, visited: dict[str, Seen]
    ) -> float:
        """Return the seconds since a path was first seen as it is."""
        known = self._seen.get(path)
        if known is None or known.identity != identity:
            known = Seen(identity, now)
        visited[path] = known
        return now - known.since

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """List a folder, none for one that vanished. It takes a single descriptor, for a moment.

        Where none is free, one of the reserve is let go, and taken back at once: a server without
        descriptors takes whatever it can get for the connections that wait.
        """
        try:
            for _ in range(ATTEMPTS):
                try:
                    with os.scandir(folder) as entries:
                        return list(entries)
                except FileNotFoundError:
                    return []
                except OSError as error:
                    if error.errno not in (errno.EMFILE, errno.ENFILE):
                        raise
                if self._reserve:
                    os.close(self._reserve.pop())
                elif self._ended.wait(PAUSE):
                    break
            raise OSError(errno.EMFILE, "no free descriptor to list a folder with")
        finally:
            self._fill_reserve()

    def _note(self, error: OSError) -> None:
        """Remember an error, but not that somebody else has removed a file, or filled a folder."""
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            self._problem = error

    def _fill_reserve(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._reserve) < RESERVE:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY))
