"""Errors that dermhub raises when the input is at fault.

    DermhubError            one sentence for a person: what came, what was expected, what to do
    |-- ImageError          not an image that can be classified        (also a ValueError)
    |-- DataError           a table, folder or split that can't be used (also a ValueError)
    |   `-- LeakError       one lesion in two splits
    |-- ModelError          a model folder or file that can't be used  (also a ValueError)
    |-- ConfigError         an option or a configuration key           (also a ValueError)
    `-- DownloadError       something that could not be fetched        (also an OSError)

The command line prints the sentence and exits with code 2.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class DermhubError(Exception):
    """Base of every error that dermhub raises on purpose; its text is one sentence."""


class ImageError(DermhubError, ValueError):
    """The input is not an image that can be classified."""


class DataError(DermhubError, ValueError):
    """A table, an image folder or a split can't be used as it is."""


class LeakError(DataError):
    """One lesion stands in more than one split, so figures measured there would be wrong."""


class ModelError(DermhubError, ValueError):
    """A model folder or weight file can't be used as it is."""


class ConfigError(DermhubError, ValueError):
    """An option or a key of a configuration is unknown or out of range."""


class DownloadError(DermhubError, OSError):
    """Data or weights could not be fetched."""


def suggest(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean X?" for the name nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def some(items: Iterable[object], limit: int = 5) -> str:
    """Join at most `limit` items by commas, and say how many more there are."""
    every = [str(item) for item in items]
    rest = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {rest} more" if rest > 0 else "")


Say = Callable[[str], None]
"""Takes a sentence about the input: something to know, but no error."""


def silent(sentence: str) -> None:
    """Say nothing."""


def program(script: str) -> str:
    """Return the name that begins a program's messages: "dermhub train" if that was given.

    Else it is that of its script, such as "train.py".
    """
    # As `dermhub.cli.programs` states it.
    return sys.argv[0] if sys.argv[0].startswith("dermhub ") else script


def note(sentence: str) -> None:
    """Print a sentence about the input on stderr."""
    print(f"dermhub: {sentence}", file=sys.stderr)
