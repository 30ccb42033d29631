"""The folder for uploads: readable by this user alone, emptied within minutes, and removed even after a kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

PREFIX = "dermhub-"
KEPT = 600.0
"""Seconds that an uploaded file stays: long enough to wait in the queue and to ask for another map of it."""

ROOM = 2**30
"""Bytes of uploads that are kept at one time; beyond them, uploads are refused until older ones are gone."""

EVERY = 20.0
"""Seconds between two looks for files that are older."""


class PrivateFolder:
    """A folder of this server alone.

    It is locked (flock) for as long as the process lives, however that ends: the kernel gives the lock up, and the next
    server to start takes the folder for a dead one's and removes it. A folder of a living server is never touched.
    """

    def __init__(self, within: str | os.PathLike[str] | None = None) -> None:
        base = Path(within or tempfile.gettempdir())
        remove_leftovers(base)
        # Locked before it bears the name that another server would look for.
        made = Path(tempfile.mkdtemp(prefix="new-" + PREFIX, dir=base))
        self._lock = os.open(made, os.O_RDONLY)
        _locked(self._lock)
        self.path = made.rename(base / made.name.removeprefix("new-"))
        self.uploads = self.path / "uploads"
        self.uploads.mkdir()
        self._own: frozenset[Path] = frozenset()
        self._ended = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
        self._sweeper.start()

    def keep_what_is_there(self) -> None:
        """Spare the page's own pictures, which Gradio has put beside the uploads, from the sweeping."""
        self._own = frozenset(self.uploads.rglob("*"))

    def is_full(self) -> bool:
        """Whether the uploads take more than `ROOM`."""
        total = 0
        for path in self.uploads.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.lstat().st_size
        return total > ROOM

    def holds(self, path: str) -> bool:
        """Whether a path, with every link followed, is a file in this folder."""
        try:
            return Path(path).resolve(strict=True).is_relative_to(self.path.resolve())
        except (OSError, ValueError, RuntimeError):
            return False

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        self._ended.set()
        # Twice: a request that is still being read may write once more.
        for _ in range(2):
            shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def _sweep(self) -> None:
        while not self._ended.wait(EVERY):
            remove_older(self.uploads, time.time() - KEPT, self._own)


def remove_older(folder: Path, moment: float, spared: frozenset[Path] = frozenset()) -> None:
    """Remove every file below a folder that was last written before a moment (seconds since 1970), and empty folders.

    Also what broke off while it was uploaded, which Gradio itself would forget.
    """
    for path in sorted(set(folder.rglob("*")) - spared, reverse=True):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.is_file():
                if path.lstat().st_mtime < moment:
                    path.unlink()
            elif path.lstat().st_mtime < moment:
                path.rmdir()


def remove_leftovers(base: Path) -> None:
    """Remove the folders of this user's servers that were killed: those that nobody holds locked."""
    for path in base.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _locked(handle):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _locked(handle: int) -> bool:
    """Lock an open folder until it is closed; False where another process holds it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
