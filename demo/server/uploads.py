"""The folder for uploads: readable by this user alone, emptied within minutes, and removed even
after a kill.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermhub.errors import DermhubError, ImageError

if TYPE_CHECKING:
    import gradio as gr


PREFIX = "dermhub-"


KEPT = 600.0
"""Seconds that an uploaded file stays: long enough to wait in the queue and to ask for another map
of it.
"""


ROOM = 2**30
"""Bytes of uploads that are kept at one time; beyond them, uploads are refused until older ones are
gone.
"""


EVERY = 20.0
"""Seconds between two looks for files that are older."""


class PrivateFolder:
    """A folder of this server alone.

    It is locked (flock) for as long as the process lives, however that ends: the kernel gives the
    lock up, and the next server to start takes the folder for a dead one's and removes it. A folder
    of a living server is never touched.
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
        """Spare the page's own pictures, which Gradio has put beside the uploads, from the
        sweeping.
        """
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
    """Remove every file below a folder that was last written before a moment (seconds since 1970),
    and empty folders.

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
    """Remove the folders of this user's servers that were killed: those that nobody holds
    locked.
    """
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


NOT_TAKEN = "The server could not take this file: give it a plain name, or upload it again."


GONE = (
    "The server has deleted this image, as it does with every upload within minutes: upload it "
    "again."
)


class Uploads:
    """The files below one folder, which belongs to this server alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def content(self, path: str) -> bytes:
        """The bytes of an uploaded file.

        Raises ImageError for every other path: Gradio checks only what a client marks as a file,
        and any other text would be a path of this machine.
        """
        if not isinstance(path, str) or not Path(path).resolve().is_relative_to(
            self.folder.resolve()
        ):
            raise ImageError("No file was uploaded: expected an image, sent as a file.")
        try:
            return Path(path).read_bytes()
        except FileNotFoundError as error:
            raise ImageError(GONE) from error
        except OSError as error:
            raise ImageError(NOT_TAKEN) from error


def for_visitor(error: DermhubError) -> str:
    """The sentence of an error, for someone who sent a file and knows of no bytes."""
    return str(error).replace("the uploaded data", "The file")


def as_path(image: gr.Image) -> gr.Image:
    """An image component that hands on where the file lies, unopened."""
    image.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return image


def as_paths(files: gr.File) -> gr.File:
    """A component for several files that hands on where each lies and how its owner called it."""

    def preprocess(payload: Any) -> list[tuple[str, str]]:
        given = (
            []
            if payload is None
            else payload
            if isinstance(payload, list)
            else getattr(payload, "root", [payload])
        )
        return [(file.path, file.orig_name or Path(file.path).name) for file in given]

    files.preprocess = preprocess  # type: ignore[method-assign,assignment]
    return files
