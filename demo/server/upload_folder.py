"""The private folder for uploads: for this user alone, swept, and removed even after a kill.

Gradio would leave files behind: it forgets uploads that broke off, and removes nothing when the
process is told to end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from demo.server.upload_room import UploadRoom

PREFIX = "dermhub-"

LIFETIME = 600.0
"""Seconds that an uploaded file stays.

That is long enough to wait in the queue and to be asked about again.
"""

SWEEP_INTERVAL = 20.0
"""Seconds between two looks for files that are older than `LIFETIME`."""


class PrivateFolder:
    """A folder of this server alone.

    It is locked (flock) for as long as the process lives, however that ends: the kernel gives the
    lock up, and the next server to start takes the folder for a dead one's and removes it. A folder
    of a living server is never touched.
    """

    def __init__(self, base: str | os.PathLike[str] | None = None) -> None:
        """Make the folder in `base` (default: the system's folder for temporary files)."""
        parent = Path(base or tempfile.gettempdir())
        remove_leftovers(parent)
        # Locked before it bears the name that another server would look for.
        unlocked = Path(tempfile.mkdtemp(prefix="new-" + PREFIX, dir=parent))
        self._handle = os.open(unlocked, os.O_RDONLY)
        _lock(self._handle)
        self.path = unlocked.rename(parent / unlocked.name.removeprefix("new-"))
        self.uploads = self.path / "uploads"
        self.uploads.mkdir()
        self.room = UploadRoom(LIFETIME + SWEEP_INTERVAL)
        self._spared: frozenset[Path] = frozenset()
        self._ended = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
        self._sweeper.start()

    def keep_what_is_there(self) -> None:
        """Spare the files that are there from sweeping: Gradio's copies of the page's pictures."""
        self._spared = frozenset(self.uploads.rglob("*"))

    def holds(self, path: str) -> bool:
        """Tell whether a path, with every link followed, is a file in this folder."""
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
            os.close(self._handle)

    def _sweep(self) -> None:
        while not self._ended.wait(SWEEP_INTERVAL):
            remove_older(self.uploads, time.time() - LIFETIME, self._spared)
            self.room.correct(self.uploads)


def remove_older(folder: Path, moment: float, spared: frozenset[Path] = frozenset()) -> None:
    """Remove what was last written before a moment: files below a folder, and empty folders.

    `moment` is in seconds since 1970. Files that broke off while they were uploaded go as well;
    Gradio itself would forget them.
    """
    for path in sorted(set(folder.rglob("*")) - spared, reverse=True):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.is_file():
                if path.lstat().st_mtime < moment:
                    path.unlink()
            elif path.lstat().st_mtime < moment:
                path.rmdir()


def remove_leftovers(base: Path) -> None:
    """Remove the folders of this user's servers that were killed: those that nobody has locked."""
    for path in base.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _lock(handle):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open folder until it is closed; False where another process has locked it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
