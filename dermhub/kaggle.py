"""Training data through kagglehub: the only module that imports it."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

from dermhub.errors import DownloadError

HAM10000 = "kmader/skin-cancer-mnist-ham10000/versions/2"
"""The pinned dataset: with its version in the handle, a cached copy costs no request."""


def download(handle: str = HAM10000) -> Path:
    """The folder of a Kaggle dataset, from kagglehub's cache or the network; raises DownloadError."""
    try:
        import kagglehub
    except ImportError:
        raise DownloadError(
            "kagglehub is not installed: pip install kagglehub, or give a folder with --data."
        ) from None
    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:
        # kagglehub's errors, requests' and the SDK's have no common base but Exception.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(
            f"{handle} could not be fetched from Kaggle ({shorten(reason, 200)}): connect to the network and try "
            "again, or give a folder that holds the data with --data."
        ) from error
