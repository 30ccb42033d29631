"""Training data from Kaggle, through kagglehub.

kagglehub keeps `$KAGGLEHUB_CACHE/datasets/OWNER/NAME/versions/N/`, with an empty file `N.complete`
beside `versions` once all of it has arrived, and `N.archive` while it arrives. A complete version
is used without a request and is never deleted: `force_download`, which deletes before it downloads,
is not used.
"""

from __future__ import annotations

import errno
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from textwrap import shorten

from dermhub.errors import ConfigError, DownloadError

HAM10000 = "kmader/skin-cancer-mnist-ham10000/versions/2"
"""The pinned dataset: with its version in the handle, a cached copy costs no request."""

PREFIX = "kaggle:"
"""Prefix of a dataset of Kaggle where a folder could stand, as in kaggle:OWNER/NAME."""

ATTEMPTS = 3
"""Tries for a download that breaks off; each goes on where the last stopped."""

_SLUG = r"[A-Za-z0-9][\w-]*"


def parse(data: str) -> str:
    """The handle in `kaggle:OWNER/NAME` or `kaggle:OWNER/NAME/versions/N`.

    Raises ConfigError for anything else.
    """
    handle = data.removeprefix(PREFIX)
    if not re.fullmatch(rf"{_SLUG}/{_SLUG}(/versions/[1-9]\d*)?", handle, re.ASCII):
        raise ConfigError(
            f"--data is {data!r}, expected a folder, {PREFIX}OWNER/NAME or "
            f"{PREFIX}OWNER/NAME/versions/N, as in the dataset's address on kaggle.com."
        )
    return handle


def download(handle: str = HAM10000) -> Path:
    """The folder of a Kaggle dataset, `.../versions/N`, from kagglehub's cache or the network.

    A handle that names a version costs no request when the cache holds it. One that doesn't means
    the newest version; where Kaggle can't be reached, the newest in the cache. Raises
    DownloadError, and ConfigError for a text that is no handle.
    """
    parse(handle)
    try:
        import kagglehub
        import requests
    except ImportError:
        raise DownloadError(
            "kagglehub is not installed: pip install kagglehub, or give a folder with --data."
        ) from None
    for attempt in range(ATTEMPTS):
        try:
            return Path(kagglehub.dataset_download(handle))
        except requests.exceptions.ChunkedEncodingError as error:
            # kagglehub keeps what has arrived and goes on from there.
            if attempt == ATTEMPTS - 1:
                raise _explained(handle, error) from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            cached = _cached(handle)
            if not cached:
                raise _explained(handle, error) from error
            print(
                f"dermhub: Kaggle can't be reached; taking version {cached[-1]} from the cache.",
                file=sys.stderr,
            )
            return Path(kagglehub.dataset_download(f"{handle}/versions/{cached[-1]}"))
        except Exception as error:
            # kagglehub's errors, requests' and the SDK's have no common base but Exception.
            raise _explained(handle, error) from error
    raise AssertionError("the last attempt returns or raises")


def pinned(handle: str, folder: Path) -> str:
    """The handle of what `download` returned, with its version."""
    return f"{handle.partition('/versions/')[0]}/versions/{folder.name}"


def _explained(handle: str, error: Exception) -> DownloadError:
    """Describe an error of kagglehub in one sentence: what happened, what is left, what to do."""
    import requests
    from kagglehub.exceptions import DataCorruptionError

    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        arrived = sum(path.stat().st_size for path in _home(handle).glob("*.archive"))
        return DownloadError(
            f"The download of {handle} broke off {ATTEMPTS} times; {arrived / 1e6:.1f} MB have "
            "arrived and are kept: try again, and it goes on from there."
        )
    if isinstance(error, DataCorruptionError):
        return DownloadError(
            f"The download of {handle} was damaged on its way (its md5 is not the one that Kaggle "
            "states) and was thrown away: try again."
        )
    # kagglehub has no class for the third: a ValueError with this text.
    broken = isinstance(error, zipfile.BadZipFile | tarfile.ReadError)
    if broken or str(error) == "Unsupported archive type.":
        # kagglehub would take the file for a finished download the next time, and fail again.
        for path in _home(handle).glob("*.archive"):
            path.unlink()
        return DownloadError(
            f"What arrived for {handle} is no archive and was thrown away: try again, or download "
            "it in a browser and give its folder with --data."
        )
    if isinstance(error, requests.exceptions.RequestException) and error.response is not None:
        return _refused(handle, error.response.status_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DownloadError(
            f"There is no space left for {handle} in {_home(handle)}: make room, or set "
            "KAGGLEHUB_CACHE to a folder with space."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DownloadError(
            f"{error.filename or _home(handle)} can't be written ({error.strerror}): set "
            "KAGGLEHUB_CACHE, or HOME, to a folder that can be written, or give a folder that "
            "holds the data with --data."
        )
    lines = str(error).strip().splitlines()
    reason = shorten(lines[0], 200) if lines else type(error).__name__
    return DownloadError(
        f"{handle} could not be fetched from Kaggle ({reason}): connect to the network and try "
        "again, or give a folder that holds the data with --data."
    )


def _refused(handle: str, status: int) -> DownloadError:
    """Describe a request that Kaggle answered with an error, by its status."""
    if status in (401, 403):
        return DownloadError(
            f"Kaggle does not give {handle} to this user ({status}): set KAGGLE_API_TOKEN to a "
            "token from kaggle.com/settings and accept the dataset's terms on its page, or give a "
            "folder with --data."
        )
    if status == 404:
        return DownloadError(
            f"Kaggle has no dataset {handle} (404): check owner, name and version on kaggle.com, "
            "or give a folder with --data."
        )
    return DownloadError(
        f"Kaggle answered {handle} with an error ({status}): try again later, or give a folder "
        "with --data."
    )


def _home(handle: str) -> Path:
    """The folder in which kagglehub keeps all versions of a dataset."""
    from kagglehub.config import get_cache_folder

    return Path(get_cache_folder(), "datasets", *handle.split("/")[:2])


def _cached(handle: str) -> list[int]:
    """The versions of a handle without one that the cache holds whole, oldest first."""
    if "/versions/" in handle:
        return []
    marks = [path.stem for path in _home(handle).glob("*.complete") if path.stem.isdigit()]
    return sorted(int(mark) for mark in marks if (_home(handle) / "versions" / mark).is_dir())
