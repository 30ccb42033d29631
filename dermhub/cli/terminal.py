"""Printed text: characters that a terminal would obey, as in names of files, are escaped."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

CONTROL = re.compile(
    # All control characters but line feed and tab, marks that turn the direction of text, and the
    # two separators that some programs take for line ends.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]"
)
"""Pattern of a character that a terminal obeys or that hides text."""


def printable(text: str) -> str:
    """Return a text as a terminal may show it: `\\x1b` for an escape character.

    Line feeds and tabs stay.
    """
    return CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def one_line(text: object) -> str:
    """Return a text as one printable line: names of files may hold line feeds."""
    return printable(str(text)).replace("\n", r"\n")


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Make all that is printed in this block printable, on stdout and stderr.

    A character that the stream's encoding lacks is escaped, too: it must not cost the answer. A
    stream that the process was started without swallows what is written.
    """
    before = sys.stdout, sys.stderr
    # Newer Pythons colour help and tracebacks by escape characters of their own.
    os.environ.setdefault("PYTHON_COLORS", "0")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        sys.stdout, sys.stderr = (_printable(stream or nowhere) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _printable(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _Printable(stream))


class _Printable:
    """A stream that writes printable text, and in all else is the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        # A progress bar begins with a carriage return, which is harmless at the start of a line.
        start = "\r" if text.startswith("\r") else ""
        self._stream.write(start + printable(text[len(start) :]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
