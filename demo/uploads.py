"""What a visitor sends: paths from Gradio become bytes, and only files that were uploaded are ever read.

Gradio would open and convert an image itself, without limits and before we could say what is wrong with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermhub.errors import DermhubError, ImageError

if TYPE_CHECKING:
    import gradio as gr

NOT_TAKEN = "The server could not take this file: give it a plain name, or upload it again."
GONE = "The server has deleted this image, as it does with every upload within minutes: upload it again."


class Uploads:
    """The files below one folder, which belongs to this server alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def content(self, path: str) -> bytes:
        """The bytes of an uploaded file.

        Raises ImageError for every other path: Gradio checks only what a client marks as a file, and any other text
        would be a path of this machine.
        """
        if not isinstance(path, str) or not Path(path).resolve().is_relative_to(self.folder.resolve()):
            raise ImageError("No file was uploaded: expected an image, sent as a file.")
        try:
            return Path(path).read_bytes()
        except FileNotFoundError as error:
            raise ImageError(GONE) from error
        except OSError as error:
            raise ImageError(NOT_TAKEN) from error


def told(error: DermhubError) -> str:
    """The sentence of an error, for someone who sent a file and knows of no bytes."""
    return str(error).replace("the uploaded data", "The file")


def as_path(image: gr.Image) -> gr.Image:
    """An image component that hands on where the file lies, unopened."""
    image.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return image


def as_paths(files: gr.File) -> gr.File:
    """A component for several files that hands on where each lies and how its owner called it."""

    def preprocess(payload: Any) -> list[tuple[str, str]]:
        given = [] if payload is None else payload if isinstance(payload, list) else getattr(payload, "root", [payload])
        return [(file.path, file.orig_name or Path(file.path).name) for file in given]

    files.preprocess = preprocess  # type: ignore[method-assign,assignment]
    return files
