"""Published models as values: repository, commit, and the hash and size of every file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dermhub.errors import ConfigError
from dermhub.layout import CONFIG, WEIGHTS


class Stated(NamedTuple):
    """The sha256 (64 hexadecimal digits) and size in bytes that a file must have."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Entry:
    """A published model: repository "org/name", commit, and every file with its hash and size.

    Raises ConfigError for a revision that is no commit (a branch can move) and for a hash that is
    not a sha256.
    """

    id: str
    repository: str
    revision: str
    files: Mapping[str, tuple[str, int]]
    task: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            raise ConfigError(
                f"{self.id}: revision is {self.revision!r}, expected the 40 hexadecimal digits of "
                "a commit."
            )
        if missing := {WEIGHTS, CONFIG} - self.files.keys():
            raise ConfigError(f"{self.id}: the entry does not state {', '.join(sorted(missing))}.")
        for name, (sha256, size) in self.files.items():
            if not re.fullmatch("[0-9a-f]{64}", sha256) or size < 0:
                raise ConfigError(
                    f"{self.id}: {name} needs a sha256 of 64 hexadecimal digits and a size in "
                    "bytes."
                )
