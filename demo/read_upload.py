"""Read uploaded files, and nothing else of this machine; word what goes wrong for a visitor."""

from __future__ import annotations

import re
from pathlib import Path

from dermhub import DermhubError, ImageError

NOT_TAKEN = "The server could not take this file: give it a plain name, or upload it again."

REPAIR = r"\1 and can't be decoded: save it again as JPEG or PNG."

GONE = (
    "The server has deleted this image, as it does with every upload within minutes: upload it "
    "again."
)


class Uploads:
    """The files below one folder, which belongs to this server alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def content(self, path: str) -> bytes:
        """Read the bytes of an uploaded file.

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
    """Return the sentence of an error, for someone who sent a file and knows of no bytes."""
    text = str(error).replace("the uploaded data", "The file")
    # What a decoder says in parentheses is for programmers.
    return re.sub(r"(is damaged or cut short) and can't be decoded \(.*\)\.$", REPAIR, text)
