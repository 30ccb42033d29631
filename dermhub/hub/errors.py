"""What went wrong between here and a hub, as one sentence: the client's errors have many kinds and
several lines.

Status codes and the header X-Error-Code are the hub's protocol; see "Errors" in the documentation
of huggingface_hub. Classes are told apart by name, because `hub` alone imports the client.
"""

from __future__ import annotations

import errno
from textwrap import shorten
from typing import Any
from urllib.parse import unquote, urlsplit

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def sentence(error: BaseException, repository: str, revision: str, host: str, cache: str) -> str:
    """One sentence on an error of the hub's client: what came, and what to do.

    `host` is the hub's address and `cache` the folder that downloads go to.
    """
    what = f"{repository}@{revision}"
    # The client says "not in the cache" and keeps why it could not be fetched as the cause.
    while error.__cause__ is not None and {"LocalEntryNotFoundError", "RuntimeError"} & kinds(
        error
    ):
        error = error.__cause__
    names, response = kinds(error), getattr(error, "response", None)
    if response is not None:
        return _status(response, repository, revision, host)
    if "OfflineModeIsEnabled" in names:
        return (
            f"{what} is not whole in the cache and HF_HUB_OFFLINE is set: fetch it once with a "
            "network, or unset it."
        )
    if {"TimeoutException", "TimeoutError"} & names:
        return f"{host} does not answer, or breaks off again and again: try again later."
    if {"ConnectError", "ProxyError", "ConnectionError"} & names:
        return (
            f"{host} can't be reached ({first_line(error)}): connect to the network and try again."
        )
    if {"RemoteProtocolError", "NetworkError"} & names:
        return f"{host} broke off while it sent {what} ({first_line(error)}): try again."
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        reason = first_line(error).removeprefix("Consistency check failed: ").rstrip(".")
        return f"{what} came incomplete ({reason}): try again."
    if isinstance(error, OSError) and error.errno is not None:
        space = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "make room there, or set" if space else "set"
        reason = error.strerror or str(error)
        return (
            f"The cache {cache} can't be written ({reason}): {advice} HF_HOME to a folder that "
            "can be written."
        )
    return (
        f"{what}: {host} or its client failed ({type(error).__name__}: {first_line(error)}): "
        "try again."
    )


def _status(response: Any, repository: str, revision: str, host: str) -> str:
    status, code = int(response.status_code), response.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        return (
            f"{repository} is gated ({status}): ask for access on {host}/{repository}, then "
            f"{LOG_IN}."
        )
    if code == "RevisionNotFound":
        return (
            f"{repository} has no revision {revision!r} ({status}): look at "
            f"{host}/{repository}/commits."
        )
    if code == "EntryNotFound":
        name = unquote(urlsplit(str(response.request.url)).path).partition(f"/resolve/{revision}/")[
            2
        ]
        return (
            f"{repository}@{revision} has no file {name or 'of that name'} ({status}): ask its "
            "owner."
        )
    if code == "RepoNotFound" or status == 404:
        return (
            f"{host} has no repository {repository}, or it is private ({status}): check the "
            f"name, or {LOG_IN}."
        )
    if status == 401:
        return (
            f"{host} wants to know who asks for {repository} (401): {LOG_IN}; an old token may "
            "have expired."
        )
    if status == 403:
        return f"{host} does not permit this on {repository} (403): {LOG_IN} to a token that may."
    if status == 429:
        wait = response.headers.get("Retry-After", "")
        pause = f"in {wait} s" if wait.isdigit() else "in a few minutes"
        return (
            f"{host} has had too many requests (429): try again {pause}; a token (HF_TOKEN) "
            "allows more."
        )
    if status >= 500:
        return f"{host} is out of order ({status}): try again later."
    told = response.headers.get("X-Error-Message") or "no reason given"
    return f"{host} refuses {repository}@{revision} ({status}: {shorten(told, 200)})."


def kinds(error: BaseException) -> set[str]:
    """The names of an error's class and of all that it inherits from."""
    return {kind.__name__ for kind in type(error).__mro__}


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; its kind where it has no text."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0], 200).rstrip(".") if lines else type(error).__name__
