"""Read uploaded files, and nothing else of this machine; word what goes wrong for a visitor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from demo.decode_child import photo_of
from dermhub import DermhubError, ImageError, InputSpec, Photo

NOT_TAKEN = "The server could not take this file: give it a plain name, or upload it again."

GONE = (
    "The server has deleted this image, as it does with every upload within minutes: upload it "
    "again."
)


Decode = Callable[[bytes, Sequence[InputSpec]], Photo]
"""Decodes and measures a file, for the inputs of some models. Raises ImageError."""


class Uploads:
    """The files below one folder, which belongs to this server alone.

    `decode` turns their bytes into photos, by default in this process.
    """

    def __init__(self, folder: Path, decode: Decode = photo_of) -> None:
        self.folder, self._decode = folder, decode

    def photo(self, path: str, specs: Sequence[InputSpec]) -> Photo:
        """Decode and measure an uploaded file, for models with these inputs.

        Raises ImageError where there is no such file, and where it is no usable image.
        """
        return self._decode(self.content(path), specs)

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
    return str(error).replace("the uploaded data", "The file")
