"""Inner names of Gradio that the demo needs, each behind a function or class of our own.

Written for Gradio 6.31, whose documentation promises none of them. No other module of the demo uses
one, so that an upgrade of Gradio is checked against this file alone
(tests/demo/test_gradio_inside.py). Importing it imports Gradio, which takes seconds.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import gradio as gr
import jinja2
from gradio import networking, route_utils, routes, server_messages
from gradio.data_classes import FileData, ImageData, ListFiles
from gradio.queueing import Event, Queue
from gradio.state_holder import SessionState

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio.routes import App

COLLECTION_TIME = 60.0
"""Seconds in which a client fetches an answer that is ready; then it is forgotten."""


def limit_threads(page: gr.Blocks, number: int) -> None:
    """Run at most `number` functions of a page at a time. Call it before the queue is made.

    Gradio makes its thread pool, and a queue its workers, from `max_threads`. Only `Blocks.launch`
    takes it as an argument, and a mounted page is never launched: it would keep 40 threads.
    """
    page.max_threads = number


def limit_visits(page: gr.Blocks, number: int) -> None:
    """Remember the state of at most `number` visits. Call it before the page is mounted.

    Gradio keeps some 0.1 MB of each visit, for 10,000 visits: `state_session_capacity`, which only
    `Blocks.launch` takes as an argument, and which mounting copies into the page's StateHolder.
    """
    page.state_session_capacity = number


def keep_no_values() -> None:
    """Keep no images and answers of visits.

    After every request, Gradio writes what went in and what came out into the visit's copy of the
    page's configuration, by `SessionState._update_value_in_config`. It reads them for "deep links"
    alone, which this server does not offer.
    """
    SessionState._update_value_in_config = lambda *_: None  # type: ignore[method-assign]


def use_queue(page: gr.Blocks, queue: Queue) -> None:
    """Put a queue of our own in the place of the one that `Blocks.queue` has made.

    Gradio's routes and its startup look the queue up as `page._queue` each time, and `Blocks.queue`
    can make no other class than its own.
    """
    page._queue = queue


def check_files(page: gr.Blocks) -> None:
    """Have Gradio refuse files outside of the upload folder.

    Gradio compares a path that a client sends with the upload folder only where `has_launched` is
    set, which only `Blocks.launch` does.
    """
    page.has_launched = True


def pass_paths_on() -> None:
    """Give functions uploads as paths, unopened, instead of what Gradio makes of them.

    A function gets an image as its path, None where there is none, and files as a list of (path,
    name that the owner gave it). By itself, `Image.preprocess` opens every upload, fails on what
    Pillow can't open before our sentences are reached, and writes what is not RGB once more;
    `File.preprocess` drops the name and leaves an empty file for each upload.

    The classes are changed and not the page's components: of a component that was updated, as an
    example updates the image, Gradio makes a new one for the visit.
    """
    gr.Image.preprocess = _image_path  # type: ignore[method-assign,assignment]
    gr.File.preprocess = _named_paths  # type: ignore[method-assign,assignment]


def _image_path(_: gr.Image, payload: ImageData | None) -> str | None:
    return payload.path if payload else None


def _named_paths(_: gr.File, payload: ListFiles | FileData | None) -> list[tuple[str, str]]:
    if payload is None:
        return []
    files = payload.root if isinstance(payload, ListFiles) else [payload]
    return [(file.path, file.orig_name or Path(file.path).name) for file in files]


def put_in_front(html: str) -> None:
    """Put HTML at the top of the served page, in place of Gradio's own tags for link previews.

    Gradio serves `frontend/index.html` from `routes.templates`; what is given as `head` comes
    later, by a script, where no program that makes a preview would see it.
    """
    templates = routes.templates.env
    name = "frontend/index.html"
    assert templates.loader is not None
    source = templates.loader.get_source(templates, name)[0]
    rest = re.sub(r'<meta\s+(?:property="og:|name="twitter:)[^>]*/>', "", source)
    charset = '<meta charset="utf-8" />'
    front = rest.replace(charset, f"{charset}\n{{% raw %}}{html}{{% endraw %}}")
    templates.loader = jinja2.ChoiceLoader([jinja2.DictLoader({name: front}), templates.loader])


def mounted_app(outer: FastAPI) -> App:
    """Return Gradio's application, which `gr.mount_gradio_app` puts in the last route of `outer`.

    `Blocks.app` is another one, made by `Blocks.queue` and never served.
    """
    app: App = outer.routes[-1].app  # type: ignore[attr-defined]
    return app


def end_visits(page: gr.Blocks, app: App) -> None:
    """End the connections by which open pages show that they are alive. Call it in the app's loop.

    The heartbeat of each open page ends when `stop_event` is set, and that of each open answer when
    `is_running` is not; `Blocks.close` does both, but only for a page that was launched.
    """
    app.stop_event.set()
    page.is_running = False


def open_tunnel(host: str, port: int) -> str:
    """Return a public address for a server on this machine, through Gradio's tunnel.

    Only `Blocks.launch(share=True)` makes one. Gradio raises many kinds of error where there is no
    network, or the tunnel's program can't be fetched.
    """
    return networking.setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)


@dataclass(frozen=True)
class Request:
    """A request for a function of the page, before the queue takes it in."""

    endpoint: str
    """Name of the function in the API; "page" for a step of the page itself."""

    visit: str | None
    """Gradio's random name of the visit; None for a client that sends none."""

    inputs: tuple[tuple[Any, Any], ...]
    """Each component that the function reads, and what the client sent for it."""

    seconds: float
    """Mean time that the function took so far; 1 before its first end."""


@dataclass(frozen=True)
class Outcome:
    """The end of a request that the queue took in."""

    endpoint: str
    """As in `Request`."""

    collected: bool
    """False where the client has left meanwhile."""

    success: bool
    """False where the function raised an error."""

    values: tuple[Any, ...]
    """Values that the function returned."""

    waited: float
    """Seconds in the queue."""

    seconds: float
    """Seconds at work."""


class HookedQueue(Queue, ABC):
    """Gradio's queue with two hooks, and nothing kept after an answer.

    A subclass says in `refusal` what is not taken in, and learns in `ended` how the rest ended.
    Overridden are Gradio's `push` (called when a request comes, in whatever way), `send_message`
    (called for each message to a client) and `compute_analytics_summary`.
    """

    def __init__(self, page: gr.Blocks) -> None:
        # As `Blocks.queue()` makes it, but one request at a time where a function says nothing.
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=None,
            blocks=page,
            default_concurrency_limit=1,
        )
        self._started: WeakKeyDictionary[Event, float] = WeakKeyDictionary()
        self._finished: dict[str, float] = {}
        self._nameless: set[str] = set()

    @abstractmethod
    def refusal(self, request: Request) -> str:
        """Return the sentence with which a request is refused, "" where it may wait."""

    @abstractmethod
    def ended(self, outcome: Outcome) -> None:
        """Note how a request ended."""

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Take a request in, or answer it at once with the sentence of `refusal`.

        Gradio's own refusal reaches some clients as "error" and others as a closed connection. So
        a refused request gets an id and a message, as if it had been worked on.
        """
        self._forget_answered()
        fn = route_utils.get_fn(self.blocks, None, body)
        visit = body.session_hash
        sentence = self.refusal(
            Request(
                endpoint=fn.api_name or "page",
                visit=visit,
                inputs=tuple(zip(fn.inputs, body.data or [], strict=False)),
                seconds=self.process_time_per_fn[fn].avg_time
                if fn in self.process_time_per_fn
                else 1,
            )
        )
        if not sentence:
            taken = await super().push(body, request, username)
            if visit is None and taken[0]:
                # Gradio names a visit without a name after its only request.
                self._nameless.add(str(taken[1]))
            return taken
        event = Event(visit, fn, request, username)
        if event.session_hash not in self.pending_messages_per_session:
            self.pending_messages_per_session[event.session_hash] = asyncio.Queue()
        self.pending_event_ids_session.setdefault(event.session_hash, set()).add(event._id)
        if visit is None:
            self._nameless.add(event.session_hash)
        output = {"error": sentence, "title": "No answer", "visible": True, "duration": 10}
        self.send_message(
            event, server_messages.ProcessCompletedMessage(output=output, success=False)
        )
        return True, event._id, "success"

    def send_message(self, event: Event, event_message: Any) -> None:
        """Pass a message on to the client, and tell `ended` where it is the last one of a request.

        Gradio would raise KeyError for a client whose messages were dropped meanwhile.
        """
        now = time.monotonic()
        if isinstance(event_message, server_messages.ProcessStartsMessage):
            self._started[event] = now
        elif isinstance(event_message, server_messages.ProcessCompletedMessage):
            self._finished[event.session_hash] = now
            if event in self._started:
                self.ended(self._outcome(event, event_message, now))
        if event.session_hash in self.pending_messages_per_session:
            super().send_message(event, event_message)

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: Gradio would make a table of all past requests after each of them."""
        return {"functions": {}}

    def _outcome(self, event: Event, message: Any, now: float) -> Outcome:
        started = self._started[event]
        return Outcome(
            endpoint=event.fn.api_name or "page",
            collected=event.alive,
            success=message.success,
            values=tuple(message.output.get("data") or ()) if message.success else (),
            waited=started - event.enqueue_time,
            seconds=now - started,
        )

    def _forget_answered(self) -> None:
        """Drop the messages of answered requests, and the state of visits without a name.

        Gradio keeps the messages of 2,000 visits until their clients fetch them, and a state for
        each request by plain HTTP, which nobody can come back to.
        """
        now = time.monotonic()
        for session in list(self.pending_messages_per_session):
            pending = self.pending_event_ids_session.get(session, set())
            if any(event in self.event_ids_to_events for event in pending):
                continue
            if not pending or now - self._finished.setdefault(session, now) > COLLECTION_TIME:
                self.pending_messages_per_session.pop(session, None)
                self.pending_event_ids_session.pop(session, None)
                self._finished.pop(session, None)
                if session in self._nameless:
                    self._nameless.discard(session)
                    self._drop_state(session)

    def _drop_state(self, session: str) -> None:
        holder = self.blocks.state_holder
        holder.session_data.pop(session, None)
        holder.time_last_used.pop(session, None)
