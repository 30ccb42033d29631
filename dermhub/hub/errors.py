"""Errors of the hub's client, each turned into one sentence.

The client raises many kinds of errors, of its own, of its transport and of the file system, with
several lines each. Status codes and the header X-Error-Code are the hub's protocol; see "Errors" in
the documentation of huggingface_hub. The client and its transport, httpx2, are imported late.
"""

from __future__ import annotations

import errno
import os
from textwrap import shorten
from typing import Any
from urllib.parse import unquote, urlsplit

from dermhub.hub import environment
from dermhub.hub.timeouts import BusyError

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def sentence(error: BaseException, repository: str, revision: str, host: str, cache: str) -> str:
    """Describe an error of the hub's client: what came, and what to do.

    `host` is the hub's address and `cache` the folder that downloads go to.
    """
    from httpx2 import HTTPStatusError
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    # The client says "not in the cache" and keeps why it could not be fetched as the cause.
    while error.__cause__ and isinstance(error, LocalEntryNotFoundError | RuntimeError):
        error = error.__cause__
    if isinstance(error, HfHubHTTPError | HTTPStatusError | BusyError):
        return _refusal(error, error.response, repository, revision, host)
    if isinstance(error, OfflineModeIsEnabled):
        return (
            f"{repository}@{revision} is not whole in the cache and HF_HUB_OFFLINE is set: fetch "
            "it once with a network, or unset it."
        )
    return (
        _broken_setting(error)
        or _lost_connection(error, f"{repository}@{revision}", host)
        or _failed_write(error, f"{repository}@{revision}", cache)
        or (
            f"{repository}@{revision}: {host} or its client failed ({type(error).__name__}: "
            f"{_first_line(error)}): try again."
        )
    )


def _broken_setting(error: BaseException) -> str:
    """The sentence for a variable with which no connection can be made, "" where there is none."""
    # A file of the cache that can't be written names itself, or has one of these reasons.
    written = isinstance(error, OSError) and (
        error.filename not in (None, *os.environ.values())
        or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    )
    return "" if written else next(iter(environment.hub_problems().values()), "")


def _lost_connection(error: BaseException, wanted: str, host: str) -> str:
    """The sentence for an error of the network, "" for any other."""
    from httpx2 import (
        ConnectError,
        NetworkError,
        ProxyError,
        RemoteProtocolError,
        TimeoutException,
    )

    if isinstance(error, TimeoutException | TimeoutError):
        return f"{host} does not answer, or breaks off again and again: try again later."
    # ConnectError is a NetworkError, and comes first.
    if isinstance(error, ConnectError | ProxyError | ConnectionError):
        variable = environment.proxy_variable(host)
        if variable:
            return (
                f"{host} can't be reached through the proxy of {variable} ({_first_line(error)}): "
                f"start that proxy, or unset {variable}."
            )
        return (
            f"{host} can't be reached ({_first_line(error)}): connect to the network and try again."
        )
    if isinstance(error, RemoteProtocolError | NetworkError):
        return f"{host} broke off while it sent {wanted} ({_first_line(error)}): try again."
    return ""


def _failed_write(error: BaseException, wanted: str, cache: str) -> str:
    """The sentence for a file that came incomplete or can't be written, "" for any other error."""
    if not isinstance(error, OSError):
        return ""
    if "Consistency check failed" in str(error):
        reason = _first_line(error).removeprefix("Consistency check failed: ").rstrip(".")
        return f"{wanted} came incomplete ({reason}): try again."
    if error.errno is None:
        return ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room there, or set" if full else "set"
    reason = error.strerror or str(error)
    return (
        f"The cache {cache} can't be written ({reason}): {advice} HF_HOME to a folder that can be "
        "written."
    )


def _refusal(error: BaseException, response: Any, repository: str, revision: str, host: str) -> str:
    """The sentence for a request that the hub answered with an error."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = int(response.status_code)
    # A GatedRepoError is a RepositoryNotFoundError, and comes first.
    if isinstance(error, GatedRepoError):
        return (
            f"{repository} is gated ({status}): ask for access on {host}/{repository}, then "
            f"{LOG_IN}."
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{repository} has no revision {revision!r} ({status}): look at "
            f"{host}/{repository}/commits."
        )
    if isinstance(error, RemoteEntryNotFoundError):
        path = unquote(urlsplit(str(response.request.url)).path)
        name = path.partition(f"/resolve/{revision}/")[2]
        return (
            f"{repository}@{revision} has no file {name or 'of that name'} ({status}): ask its "
            "owner."
        )
    if status == 401 and response.headers.get("X-Error-Code") != "RepoNotFound":
        # The client takes most of these for a missing repository, also where a token has expired.
        return (
            f"{host} wants to know who asks for {repository} (401): {LOG_IN}; an old token may "
            "have expired."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return (
            f"{host} has no repository {repository}, or it is private ({status}): check the name, "
            f"or {LOG_IN}."
        )
    if status == 403:
        return f"{host} does not permit this on {repository} (403): {LOG_IN} to a token that may."
    if status == 429:
        seconds = response.headers.get("Retry-After", "")
        pause = f"in {seconds} s" if seconds.isdigit() else "in a few minutes"
        return (
            f"{host} has had too many requests (429): try again {pause}; a token (HF_TOKEN) allows "
            "more."
        )
    if status >= 500:
        return f"{host} is out of order ({status}): try again later."
    reason = response.headers.get("X-Error-Message") or "no reason given"
    return f"{host} refuses {repository}@{revision} ({status}: {shorten(reason, 200)})."


def _first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; its class's name where it has no text."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0], 200).rstrip(".") if lines else type(error).__name__
