"""Gradio's reader of uploads with bounds: inner names of Gradio, as in gradio_inside.py.

Written for Gradio 6.31. Importing it imports Gradio, which takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradio import route_utils
from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException

MOST_PARTS = 100
"""Files of one upload; the page takes as many in one go."""

MOST_FIELDS = 10
"""Fields of one upload beside its files: no honest client sends any."""

LONGEST_FIELD = 8 * 2**10
"""Bytes of a field."""

LONGEST_NAME = 1000
"""Letters of a file's name; Gradio shortens it before it becomes one on the disk."""


def bound_uploads() -> None:
    """Have Gradio read uploads with `UploadParser`; route_utils looks its own up by its name."""
    route_utils.GradioMultiPartParser = UploadParser  # type: ignore[misc]


class UploadParser(route_utils.GradioMultiPartParser):
    """Gradio's reader of uploads, with bounds that fit images, and nothing left where it fails.

    By itself it takes 1,000 files, each of which keeps a descriptor, and 1,000 fields, which it
    keeps in memory; it leaves the parts of an upload that broke off.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **{**keywords, "max_files": MOST_PARTS, "max_fields": MOST_FIELDS})

    def on_headers_finished(self) -> None:
        """Begin a part, unless its file has too long a name."""
        _, options = parse_options_header(self._current_part.content_disposition or b"")
        length = len(options.get(b"filename", b"").decode("utf-8", "replace"))
        if length > LONGEST_NAME:
            raise MultiPartException(
                f"The name of a file has {length} letters, expected at most {LONGEST_NAME}: give "
                "it a shorter one."
            )
        if options.get(b"name") != b"files" and b"filename" in options:
            raise MultiPartException('A file came under another name than "files".')
        if options.get(b"name") == b"files" and b"filename" not in options:
            raise MultiPartException('What came as "files" is no file: give it a file name.')
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a part, unless a field grows too long for the memory."""
        if self._current_part.file is None:
            if len(self._current_part.data) + end - start > LONGEST_FIELD:
                raise MultiPartException(
                    f"A field has more than {LONGEST_FIELD} bytes: send images as files."
                )
            self._current_part.data += data[start:end]
            return
        super().on_part_data(data, start, end)

    async def parse(self) -> Any:
        """Read all parts; where that fails, close and remove what has come."""
        try:
            return await super().parse()
        except BaseException as error:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            if isinstance(error, MultiPartException) and "exceeded maximum" in error.message:
                if "File size" in error.message:
                    raise
                raise MultiPartException(
                    f"The head of a part is too long, expected a name of at most {LONGEST_NAME} "
                    "letters."
                ) from None
            raise
