"""Bounds on how long a hub may take.

The hub's client has no timeout on some requests, and tries others again for a minute.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

CONNECT = 4.0
"""Seconds for a connection."""

ANSWER = 8.0
"""Seconds for the next bytes of an answer."""

GIVE_UP = 9.0
"""Seconds for the first question as a whole."""

PATIENT = 120.0
"""Seconds for an answer to an upload to a host that is up: a commit takes a hub a while."""

AGENT = "dermhub"
"""Our name in the header User-Agent, which also marks the requests that are ours to bound."""

T = TypeVar("T")


class BusyError(Exception):
    """The hub answered 429 or 5xx.

    The client would wait and try again, for as long as the hub says, without a word.
    """

    def __init__(self, response: Any) -> None:
        super().__init__(response.status_code)
        self.response = response


@dataclass(frozen=True)
class _Request:
    """A request that a thread makes: how often in a row it was made, and when it was made last."""

    key: tuple[str, str, str]
    times: int
    started: float


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, or TimeoutError after `seconds`.

    The call runs in its own thread, because neither the look-up of a name nor a host of many
    addresses heeds a timeout.
    """
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


@contextlib.contextmanager
def bounded(session: Any, answer: float) -> Iterator[None]:
    """Bound the requests of an httpx session that carry our name, while the context lasts.

    They wait `answer` seconds for the next bytes. A GET that had no answer in that time is not made
    again, one that broke off is made once more (the rest of a file is another request), and 429 or
    5xx ends the matter: TimeoutError and BusyError. Other users of the session notice nothing.
    """
    # By thread, because the client fetches files in several and repeats a request in the same one.
    last: dict[int, _Request] = {}

    def before(request: Any) -> None:
        if AGENT not in request.headers.get("User-Agent", ""):
            return
        request.extensions["timeout"] = {
            "connect": CONNECT,
            "read": answer,
            "write": answer,
            "pool": answer,
        }
        if request.method not in ("GET", "HEAD"):
            return  # files that are uploaded are verified one after the other, at one address
        key = (request.method, str(request.url), request.headers.get("Range", ""))
        thread = threading.get_ident()
        now = time.monotonic()
        previous = last.get(thread)
        times = 0
        if previous is not None and previous.key == key:
            times = previous.times
            if times == 2 or now - previous.started >= answer:
                raise TimeoutError
        last[thread] = _Request(key, times + 1, now)

    def after(response: Any) -> None:
        busy = response.status_code == 429 or response.status_code >= 500
        if busy and AGENT in response.request.headers.get("User-Agent", ""):
            raise BusyError(response)

    hooks = session.event_hooks
    hooks["request"].append(before)
    hooks["response"].append(after)
    try:
        yield
    finally:
        hooks["request"].remove(before)
        hooks["response"].remove(after)


@contextlib.contextmanager
def silenced(name: str) -> Iterator[None]:
    """Keep a library's logger from printing: what matters is said in one sentence afterwards."""

    def nothing(_: logging.LogRecord) -> bool:
        return False

    handlers = list(logging.getLogger(name).handlers)
    for handler in handlers:
        handler.addFilter(nothing)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(nothing)
