"""The private folder for uploads: for this user alone, swept, and removed even after a kill.

Gradio would leave files behind: it forgets uploads that broke off, and removes nothing when the
process is told to end.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from demo.own_folder import OwnFolder
from demo.server.sweeper import INTERVAL, LIFETIME, Report, Sweeper, ignore
from demo.server.upload_room import UploadRoom

PREFIX = "dermhub-uploads-"


class PrivateFolder:
    """A folder of this server alone; the next one to start removes it if this one was killed."""

    def __init__(self, base: str | os.PathLike[str] | None = None, report: Report = ignore) -> None:
        """Make the folder in `base` (default: the system's folder for temporary files).

        `report` is called with what keeps the sweeper from deleting.
        """
        self._folder = OwnFolder(Path(base or tempfile.gettempdir()), PREFIX)
        self.path = self._folder.path
        self.uploads = self.path / "uploads"
        self.uploads.mkdir()
        self.room = UploadRoom(LIFETIME + INTERVAL)
        self.sweeper = Sweeper(self.uploads, report, self.room)
        self.sweeper.start()

    def keep_what_is_there(self) -> None:
        """Spare the files that are there from sweeping: Gradio's copies of the page's pictures."""
        self.sweeper.spare(self.uploads.rglob("*"))

    def holds(self, path: str) -> bool:
        """Tell whether a path, with every link followed, is a file in this folder."""
        try:
            return Path(path).resolve(strict=True).is_relative_to(self.path.resolve())
        except (OSError, ValueError, RuntimeError):
            return False

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        self.sweeper.stop()
        self._folder.remove()
