"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dermhub import regular_files
from dermhub.errors import ConfigError, DataError

DEEPEST = 50
"""Levels of lists and objects in each other that JSON may have; our own have 8."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    After a crash, `path` holds the old content or the new, never a part of it. Raises ConfigError
    when the folder can't be written or the disk is full.
    """
    try:
        with replacing(path) as stream:
            stream.write(content)
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written ({error.strerror or error}): choose a folder that can be "
            "written and has space."
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream into a new file, which takes the place of `path` when all is on the disk.

    The file has a name of its own beside `path`, which nothing had before, and is removed where
    anything fails; `path` stays as it is then. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            sync(stream)
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync(stream: BinaryIO) -> None:
    """Force what was written into a stream to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, readable and with a stable order of keys; refuses NaN and infinity."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises DataError naming the file when it is missing, no file, or malformed.

    So is a file of more than `regular_files.LARGEST_JSON` bytes, or nested deeper than `DEEPEST`.
    """
    try:
        text = regular_files.read_bytes(path, regular_files.LARGEST_JSON).decode("utf-8-sig")
        content = json.loads(text)
        if _deeper_than(content, DEEPEST):
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        return content
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error


def _deeper_than(content: Any, most: int) -> bool:
    """Return True where JSON has lists and objects in each other beyond `most` levels."""
    level = [content]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def sha256(path: Path) -> str:
    """Return the sha256 of an ordinary file's bytes, as 64 hexadecimal digits.

    Raises OSError for anything else: a pipe keeps its reader waiting, and a device has no end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
