"""Bounds on how long a hub may take. The client has no timeout on some requests and tries others
again for a minute.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

CONNECT, ANSWER, GIVE_UP = 4.0, 8.0, 9.0
"""Seconds for a connection, for the next bytes of an answer, and for the first question as a
whole.
"""


PATIENT = 120.0
"""Seconds for an answer to an upload, after the host has proved to be up: a commit takes a hub a
while.
"""


AGENT = "dermhub"
"""Our name in the header User-Agent, which also marks the requests that are ours to bound."""


T = TypeVar("T")


class BusyError(Exception):
    """The hub answered 429 or 5xx; the client would wait and try again, for as long as the hub
    says, without a word.
    """

    def __init__(self, response: Any) -> None:
        super().__init__(response.status_code)
        self.response = response


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, or TimeoutError after `seconds`.

    A thread of its own, because neither the look-up of a name nor a host of many addresses heeds a
    timeout.
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
    """While it holds, requests of an httpx session that carry our name wait `answer` seconds for
    the next bytes.

    A GET that had no answer in that time is not made again, one that broke off is made once more
    (the rest of a file is another request), and 429 or 5xx ends the matter: TimeoutError and
    BusyError. Other users of the session notice nothing.
    """
    # By thread, because the client fetches files in several and repeats a request in the same one.
    last: dict[int, tuple[tuple[str, ...], int, float]] = {}

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
        asked = (request.method, str(request.url), request.headers.get("Range", ""))
        previous, times, since = last.get(threading.get_ident(), ((), 0, 0.0))
        if asked == previous and (times == 2 or time.monotonic() - since >= answer):
            raise TimeoutError
        last[threading.get_ident()] = asked, times + 1 if asked == previous else 1, time.monotonic()

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
    """While it holds, a library's logger prints nothing: what matters is said in one sentence
    afterwards.
    """

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
