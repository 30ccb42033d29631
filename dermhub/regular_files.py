"""Files that come from elsewhere: read only where they are ordinary files of a bounded size.

A named pipe keeps its reader waiting for ever, a device gives bytes without end, and a file of
gigabytes in the place of a page of JSON fills the memory.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from pathlib import Path

from dermhub.errors import ConfigError
from dermhub.layout import GRAPH, WEIGHTS

MEGABYTE = 1_000_000

LARGEST_JSON = 16 * MEGABYTE
"""Bytes that are read of a JSON or text file; a model's own have 50 kB."""

LARGEST_BESIDE = 256 * MEGABYTE
"""Bytes that are read of a file beside a model's weights; those of a million seen images fit."""

LARGEST_WEIGHTS = 1000 * MEGABYTE
"""Bytes that a model's weights may take as float32: 250 million parameters.

The shipped models have 2 million each. `LIMIT` raises it.
"""

LIMIT = "DERMHUB_LARGEST_MB"
"""Variable of the environment: megabytes that a model's weights may take as float32."""

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def largest_weights() -> int:
    """Return the bytes that a model's weights may take as float32; raises ConfigError.

    They are `LARGEST_WEIGHTS`, or as many megabytes as the variable `LIMIT` says.
    """
    value = os.environ.get(LIMIT, "")
    if not value:
        return LARGEST_WEIGHTS
    if not (value.isascii() and value.isdecimal()) or int(value) < 1:
        raise ConfigError(
            f"{LIMIT} is {value[:40]!r}, expected a whole number of megabytes, such as 4000."
        )
    return int(value) * MEGABYTE


def largest(name: str) -> int:
    """Return the bytes that a file of a model folder may have, by its name."""
    if name in (WEIGHTS, GRAPH):
        return largest_weights()
    return LARGEST_JSON if name.endswith((".json", ".md")) else LARGEST_BESIDE


def open_regular(path: Path, most: int) -> io.BufferedReader:
    """Open an ordinary file of at most `most` bytes for reading.

    Raises OSError, whose `strerror` says what came and what was expected, for anything else.
    """
    status = path.stat()
    for is_kind, kind in KINDS:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {kind}, expected a file", str(path))
    if stat.S_ISREG(status.st_mode) and status.st_size > most:
        raise _too_large(path, status.st_size, most)
    return path.open("rb")


def read_bytes(path: Path, most: int) -> bytes:
    """Read an ordinary file of at most `most` bytes; raises OSError as `open_regular` does."""
    with open_regular(path, most) as stream:
        # One byte more than allowed, for a file that grows and for those that state no size.
        content = stream.read(most + 1)
    if len(content) > most:
        raise _too_large(path, len(content), most)
    return content


def sha256(path: Path, most: int) -> str:
    """Return the sha256 of an ordinary file, as 64 hexadecimal digits; see `open_regular`."""
    with open_regular(path, most) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _too_large(path: Path, size: int, most: int) -> OSError:
    """Return the error for a file of `size` bytes where at most `most` are read."""
    advice = f"; {LIMIT} raises the limit" if most == largest_weights() else ""
    return OSError(
        errno.EFBIG,
        f"it has {_megabytes(size)} MB, expected at most {_megabytes(most)} MB{advice}",
        str(path),
    )


def _megabytes(size: int) -> str:
    """Return a size in megabytes for a sentence, rounded up."""
    return f"{-(-size // MEGABYTE):,}"
