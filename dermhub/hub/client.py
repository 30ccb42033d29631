"""Models on a Hugging Face hub: fetched, verified and pushed.

A copy in the cache stays usable whatever happens to the hub, and a host that is down is given up
within 10 s. The hub's client, huggingface_hub, is imported late.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dermhub import files, regular_files
from dermhub.errors import ConfigError, DermhubError, DownloadError, ModelError
from dermhub.hub import environment, timeouts
from dermhub.hub.errors import LOG_IN, sentence
from dermhub.hub.pins import Entry, Stated
from dermhub.hub.timeouts import AGENT, bounded, silenced, within
from dermhub.layout import CONFIG, GRAPH, PATTERNS, WEIGHTS

HANDLE = re.compile(r"(\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?)(?:@([\w-][\w./-]*))?", re.ASCII)
"""The form org/name or org/name@revision, in two groups."""

MOST_FILES = 200
"""Files that are fetched of a repository; a model with all its figures has 30."""

LARGE = (WEIGHTS, GRAPH)
"""Files whose largest size a variable of the environment sets (`regular_files.LIMIT`)."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit, and also the git hash of a file."""


@dataclass(frozen=True)
class Pushed:
    """The result of a push: the address, the commit that holds everything, and if it is new."""

    url: str
    revision: str
    changed: bool


def parse(handle: str) -> tuple[str, str]:
    """Split 'org/name' or 'org/name@revision' into repository and revision ('main' if not given).

    Raises ModelError for any other text.
    """
    match = HANDLE.fullmatch(handle)
    if match is None or ".." in handle or "--" in match[1] or match[1].endswith((".git", ".")):
        raise ModelError(f"{handle!r} names no repository: expected org/name or org/name@revision.")
    return match[1], match[2] or "main"


def is_handle(text: str) -> bool:
    """Tell if a text has the form org/name or org/name@revision."""
    return HANDLE.fullmatch(text) is not None


def fetch(
    repository: str, revision: str = "main", stated: Mapping[str, tuple[str, int]] | None = None
) -> Path:
    """Fetch a repository's files if need be, verify them, and return their folder in the cache.

    A commit (40 hexadecimal digits) that is in the cache costs no request. A branch is looked up
    each time; where that fails and a copy is in the cache, a line on stderr says so and the copy is
    used. `stated` gives the sha256 and size of files (see `pins.Entry`). Raises DownloadError,
    ModelError for files with other bytes, and ConfigError for an environment in which the hub's
    client can't work.
    """
    _check_environment()
    needed = stated or (WEIGHTS, CONFIG)
    folder = None
    if COMMIT.fullmatch(revision):
        folder = _cached(repository, revision, needed, whole=stated is None)
    if folder is None:
        try:
            folder = _download(repository, revision, needed)
        except DownloadError as error:
            folder = _cached(repository, revision, needed, whole=False)
            if folder is None:
                raise
            import huggingface_hub

            if not huggingface_hub.is_offline_mode():
                print(
                    f"dermhub: {error} Going on with the cached copy {folder.name[:12]}.",
                    file=sys.stderr,
                )
    _verify(folder, repository, stated or {})
    return folder


def push(
    contents: Mapping[str, Path | bytes],
    repository: str,
    kind: str,
    message: str,
    private: bool = False,
) -> Pushed:
    """Send files (path in the repository -> content) as one commit.

    `kind` is "model" or "space". The repository is made if need be. Contents that are already
    there, byte for byte, make no commit. Raises ConfigError without a token, when `private` is
    asked of a public repository, and as `fetch`; DownloadError when the hub can't be reached or
    refuses.
    """
    _check_environment()
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if huggingface_hub.get_token() is None:
        raise ConfigError(
            f"To push to {repository} the hub must know you: {LOG_IN} to a token with write access."
        )

    with _client(repository, "main", timeouts.PATIENT) as api:
        try:
            before = within(
                timeouts.GIVE_UP,
                lambda: api.repo_info(repository, repo_type=kind, timeout=timeouts.ANSWER),
            )
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            before = None
            sdk = {"space_sdk": "gradio"} if kind == "space" else {}
            # None leaves it to the account whether new repositories are public.
            api.create_repo(repository, repo_type=kind, private=private or None, **sdk)
        if private and before is not None and not before.private:
            raise ConfigError(
                f"{repository} exists and is public: make it private in its settings, or drop "
                "--private."
            )
        operations = [
            huggingface_hub.CommitOperationAdd(name, content) for name, content in contents.items()
        ]
        commit = api.create_commit(repository, operations, commit_message=message, repo_type=kind)
    url = f"{api.endpoint}/{'spaces/' if kind == 'space' else ''}{repository}"
    return Pushed(url, str(commit.oid), before is None or commit.oid != before.sha)


def model_files(folder: Path) -> dict[str, Path]:
    """Name -> path of the files of a model's repository: weights, JSON, Markdown and figures."""
    paths = [
        path for pattern in PATTERNS for path in sorted(folder.glob(pattern)) if path.is_file()
    ]
    return {path.relative_to(folder).as_posix(): path for path in paths}


def own_files(folder: Path) -> dict[str, Path]:
    """Name -> path of the files to publish of a model folder, as `model_files`.

    Raises ConfigError for a link that leads out of the folder, behind which anything may lie.
    """
    found = model_files(folder)
    check_links(folder, found.values())
    return found


def check_links(folder: Path, paths: Iterable[Path]) -> None:
    """Raise ConfigError for a path below a folder that is a link out of it."""
    root = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise ConfigError(
                f"{path} is a link that leads out of {folder}, and is not published: put a copy of "
                "the file in its place, or remove it."
            )


def pretrained_weights(repository: str, name: str) -> Path:
    """Fetch one file of weights, and return its path in the cache; see `fetch`.

    Where the hub can't be asked, a copy in the cache is used. Raises DownloadError, and ConfigError
    as `fetch` does.
    """
    _check_environment()
    try:
        with _client(repository, "main", timeouts.ANSWER) as api:
            # Bounded as a whole: neither the look-up of a name nor a host of many addresses is.
            within(timeouts.GIVE_UP, lambda: api.model_info(repository, timeout=timeouts.ANSWER))
            return Path(api.hf_hub_download(repository, name, etag_timeout=timeouts.ANSWER))
    except DownloadError:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError

        with contextlib.suppress(LocalEntryNotFoundError):
            return Path(huggingface_hub.hf_hub_download(repository, name, local_files_only=True))
        raise


def describe(folder: Path, id: str, repository: str, revision: str, task: str) -> Entry:
    """The catalogue's entry of a folder that was pushed to a commit."""
    stated = {
        name: Stated(files.sha256(path), path.stat().st_size)
        for name, path in model_files(folder).items()
    }
    return Entry(id, repository, revision, stated, task)


def _check_environment() -> None:
    """Raise ConfigError for an environment in which the hub's client can't be imported or used."""
    problems = environment.import_problems().values()
    problem = next(iter(problems), "") or environment.home_problem(*environment.HUB_FOLDERS)
    if problem:
        raise ConfigError(problem)


def _check_sizes(siblings: Iterable[Any], repository: str) -> None:
    """Raise ModelError for files that are larger or more than any model's, before they are fetched.

    `siblings` are the hub's list of files; a mirror may leave their sizes out.
    """
    wanted = [
        file
        for file in siblings
        if any(PurePosixPath(str(file.rfilename)).match(each) for each in PATTERNS)
    ]
    if len(wanted) > MOST_FILES:
        raise ModelError(
            f"{repository} has {len(wanted):,} files of a model, expected at most {MOST_FILES}: "
            "nothing was fetched."
        )
    for file in wanted:
        name = str(file.rfilename)
        if file.size is None:
            continue
        most = regular_files.largest(name)
        if file.size > most:
            advice = f" ({regular_files.LIMIT} raises the limit)" if name in LARGE else ""
            raise ModelError(
                f"{name} of {repository} has {file.size // 10**6:,} MB, expected at most "
                f"{most // 10**6:,} MB{advice}: it was not fetched."
            )


def _cached(repository: str, revision: str, needed: Iterable[str], whole: bool) -> Path | None:
    """The snapshot in the cache, without any request; None where it lacks one of `needed`.

    With `whole` only if the commit's own list of files is in the cache and nothing is missing.
    """
    import huggingface_hub
    from huggingface_hub.errors import (
        CachedRepoTreeNotFoundError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
    )

    try:
        if whole:
            huggingface_hub.get_cached_repo_tree(repository, revision=revision)
        folder = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(PATTERNS), local_files_only=True
            )
        )
    except (CachedRepoTreeNotFoundError, IncompleteSnapshotError, LocalEntryNotFoundError):
        return None
    return folder if all((folder / name).is_file() for name in needed) else None


def _download(repository: str, revision: str, needed: Iterable[str]) -> Path:
    with _client(repository, revision, timeouts.ANSWER) as api:
        info = within(
            timeouts.GIVE_UP,
            lambda: api.model_info(
                repository, revision=revision, timeout=timeouts.ANSWER, files_metadata=True
            ),
        )
        _check_sizes(info.siblings or (), repository)
        sha = str(info.sha)
        snapshot = api.snapshot_download(
            repository, revision=sha, allow_patterns=PATTERNS, etag_timeout=timeouts.ANSWER
        )
    folder = Path(snapshot)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise DownloadError(
            f"{repository}@{revision} has no {', '.join(missing)}: it is not a model that dermhub "
            "wrote; pickles and code are never fetched."
        )
    if revision != sha:
        # Only now, as the client's documentation of the cache has it: a fetch that failed must not
        # hide the old copy.
        with contextlib.suppress(ConfigError):
            files.write_text(folder.parent.parent / "refs" / revision, sha)
    return folder


def _verify(folder: Path, repository: str, stated: Mapping[str, tuple[str, int]]) -> None:
    """Compare every file with its stated hash and size, else with its hash in the hub's listing.

    Raises ModelError where one differs. Wrong files are removed from the cache, so that the next
    fetch gets them anew. The client checks sizes alone over plain HTTP. It names a file in the
    cache by its ETag: the sha256 of an LFS file, the git hash of another
    (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
    """
    wrong = []
    for name, path in model_files(folder).items():
        blob = path.resolve()
        if name in stated:
            source = "the catalogue"
            difference = _difference(blob, *stated[name])
        else:
            source = "the hub"
            difference = _difference(blob, blob.name, blob.stat().st_size)
        if difference is not None:
            kind, actual, expected = difference
            wrong.append(
                f"{name} of {repository}@{folder.name} has the {kind} {actual}, but {source} "
                f"states {expected}"
            )
            with contextlib.suppress(OSError):
                path.unlink()
                # A link that leads out of the cache was put there by somebody.
                if blob.is_relative_to(folder.parent.parent.resolve()):
                    blob.unlink(missing_ok=True)
    if wrong:
        more = f" (and {len(wrong) - 1} more such)" if len(wrong) > 1 else ""
        raise ModelError(
            f"{wrong[0]}{more}: this copy was removed from the cache; fetch it again, and tell the "
            "owner if it comes back."
        )


def _difference(path: Path, expected: str, size: int) -> tuple[str, object, object] | None:
    """The difference between a file and a hash and size: its kind, actual and expected value.

    None where there is no difference, and where `expected` is no hash.
    """
    actual_size = path.stat().st_size
    if actual_size != size:
        return "size", actual_size, size
    if COMMIT.fullmatch(expected):
        kind = "git hash"
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.sha1(b"blob %d\0" % size))
        actual = digest.hexdigest()
    elif re.fullmatch("[0-9a-f]{64}", expected):
        kind = "sha256"
        actual = files.sha256(path)
    else:
        # A cache without symbolic links, where files have their own names and not their hashes.
        return None
    return None if actual == expected else (kind, actual, expected)


@contextlib.contextmanager
def _client(repository: str, revision: str, answer: float) -> Iterator[Any]:
    """The hub's client, silent and bounded; its errors become a DownloadError of one sentence."""
    import huggingface_hub

    api = huggingface_hub.HfApi(user_agent=AGENT)
    try:
        with bounded(huggingface_hub.get_session(), answer), silenced("huggingface_hub"):
            yield api
    except DermhubError:
        raise
    except Exception as error:
        # The errors of huggingface_hub, of its transport and of the file system have no common base
        # but Exception.
        cache = huggingface_hub.constants.HF_HUB_CACHE
        raise DownloadError(sentence(error, repository, revision, api.endpoint, cache)) from error
