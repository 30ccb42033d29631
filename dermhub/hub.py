"""Models of the Hugging Face hub: found by name and revision, kept in its cache, checked, never run as code.

The only importer of huggingface_hub. Its client doesn't compare hashes over plain HTTP, so that is done here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dermhub import files
from dermhub.catalog import Entry
from dermhub.errors import ConfigError, DownloadError, ModelError

ALLOWED = ("config.json", "model.safetensors", "metrics.json", "README.md", "figures/*.png")
"""All that is ever fetched: no pickle and no code, whatever else a repository holds."""

NEEDED = ("config.json", "model.safetensors")
PATIENCE = 5.0
"""Seconds that the hub gets for its first answer; a host that is down must not hold anyone up."""

HANDLE = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w./-]*)?")
COMMIT = re.compile("[0-9a-f]{40}")


def is_handle(name: str) -> bool:
    """Whether a text has the form ORG/NAME or ORG/NAME@REVISION."""
    return HANDLE.fullmatch(name) is not None


def parse(handle: str) -> tuple[str, str]:
    """Repository and revision (a branch, a tag or 40 hexadecimal digits; "main" where none is given).

    Raises ConfigError for anything that is not of the form ORG/NAME[@REVISION].
    """
    if not is_handle(handle):
        raise ConfigError(f"{handle!r} is no model of the hub, expected ORG/NAME or ORG/NAME@REVISION.")
    repository, _, revision = handle.partition("@")
    return repository, revision or "main"


def fetch(handle: str) -> Path:
    """The folder in the hub's cache that holds a model; what is there already is not asked for again.

    A full commit in the cache costs no request. For a branch or tag the hub is asked what it is now; where that
    fails, the cached state is used with a warning on stderr. Raises DownloadError when there is none.
    """
    from huggingface_hub import HfApi, snapshot_download

    repository, revision = parse(handle)
    folder = cached(repository, revision) if COMMIT.fullmatch(revision) else None
    if folder is not None:
        return folder
    try:
        HfApi().model_info(repository, revision=revision, timeout=PATIENCE)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[*ALLOWED], etag_timeout=PATIENCE))
    # The errors of httpx2, of the hub's client and of the disk have no common base.
    except Exception as error:
        folder = cached(repository, revision)
        if folder is None:
            raise explain(handle, error) from error
        print(f"dermhub: {explain(handle, error)} The copy in the cache is used.", file=sys.stderr)
        return folder


def fetch_entry(entry: Entry) -> Path:
    """`fetch` for an entry of the catalogue, whose files must have the sizes and hashes that it states.

    Raises ModelError naming a file that differs; that file is taken out of the cache.
    """
    folder = fetch(f"{entry.repository}@{entry.revision}")
    for name, (expected, size) in entry.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{entry.repository} lacks {name} at {entry.revision}: update dermhub.")
        found = files.sha256(path)
        if found != expected:
            length = path.stat().st_size
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise ModelError(
                f"{name} of {entry.repository} has sha256 {found} and {length} bytes, expected {expected} and {size}: "
                "it was damaged on its way or replaced and is deleted; fetch it again."
            )
    return folder


def cached(repository: str, revision: str) -> Path | None:
    """The folder of a revision in the cache, without a request; None where it is not there whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=[*ALLOWED], local_files_only=True)
        )
    except LocalEntryNotFoundError:
        return None
    return folder if all((folder / name).is_file() for name in NEEDED) else None


def copy(folder: Path, to: Path) -> None:
    """Copy a model folder's files, each atomically; raises ConfigError where another file would be replaced."""
    found = [path for pattern in ALLOWED for path in sorted(folder.glob(pattern))]
    for path in found:
        target = to / path.relative_to(folder)
        if target.exists() and files.sha256(target) != files.sha256(path):
            raise ConfigError(f"{target} exists and differs: give another folder with --to, or remove it.")
    for path in found:
        files.write_bytes(to / path.relative_to(folder), path.read_bytes())


def explain(handle: str, error: Exception) -> DownloadError:
    """What went wrong, in one sentence."""
    from huggingface_hub import constants, errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.OfflineModeIsEnabled):
        text = f"{handle} is not in the cache and HF_HUB_OFFLINE is set: unset it once to fetch the model."
    elif isinstance(error, errors.GatedRepoError):  # a kind of RepositoryNotFoundError, so it comes first
        text = f"{handle} is gated: accept its terms on its page, then log in with `hf auth login`."
    elif isinstance(error, errors.RepositoryNotFoundError):
        text = f"The hub has no repository {handle}, or it is private: check the name, or log in with `hf auth login`."
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"The hub has the repository of {handle}, but not that revision: check what follows the @."
    elif status in (401, 403):
        text = f"The hub does not let you read {handle} ({status}): log in with `hf auth login`."
    elif status == 429:
        text = f"The hub answers too many requests at the moment (429), and {handle} was not fetched: try again later."
    elif status is not None:
        text = f"The hub failed ({status}) while {handle} was fetched: try again later, or give a model folder."
    elif isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        text = f"{error.filename} can't be written ({error.strerror}): make space, or set HF_HOME to another folder."
    else:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        text = (
            f"{handle} could not be fetched from {constants.ENDPOINT} ({reason}): connect to the network and try "
            "again, or give a model folder."
        )
    return DownloadError(text)
