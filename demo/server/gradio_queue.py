"""Gradio's queue with hooks: inner names of Gradio, as in gradio_inside.py, around its queue.

Written for Gradio 6.31. Importing it imports Gradio, which takes seconds.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from gradio import route_utils, server_messages
from gradio.context import LocalContext
from gradio.queueing import Event, Queue

from demo.gate.visitor import address_of

COLLECTION_TIME = 60.0
"""Seconds in which a client fetches an answer that is ready; then it is forgotten."""


ABSENT_TIME = 5.0
"""Seconds after which a request that nobody waits for makes room for another visitor's."""

LEFT_TIME = 30.0
"""Seconds after which a request that nobody waits for is dropped."""

NOBODY_WAITED = "Nobody waited for this answer, so it was not worked out: ask again."

NOT_ANSWERED = (
    "The request could not be answered: send as many values, and of the kinds, as the endpoint "
    "takes."
)


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
    """Time that the function took for so many images so far; 1 each before its first end."""

    address: str | None = None
    """Address of the client, as `visitor.address_of` gives it."""

    kind: str = ""
    """Gradio's name for the functions that share its places at work."""

    images: int = 1
    """Images that it asks about."""


@dataclass(frozen=True)
class Standing:
    """A request that waits in the queue or is worked on."""

    visit: str
    """As in `Request`; Gradio's name of the request where the client sends none."""

    address: str | None
    """As in `Request`."""

    kind: str
    """As in `Request`."""

    images: int
    """Images that it asks about."""

    seconds: float
    """Seconds that it still takes, by the times of earlier ones."""

    running: bool
    """False where it waits."""


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


def images_in(data: Sequence[Any] | None) -> int:
    """Return how many images the values of a request name, 1 at least."""
    lists = [value for value in data or () if isinstance(value, list)]
    return max([1, *map(len, lists)])


def _failed(sentence: str) -> Any:
    output = {"error": sentence, "title": "No answer", "visible": True, "duration": 10}
    return server_messages.ProcessCompletedMessage(output=output, success=False)


class HookedQueue(Queue, ABC):
    """Gradio's queue with two hooks, and nothing kept after an answer.

    A subclass says in `refusal` what is not taken in, and learns in `ended` how the rest ended.
    Overridden are Gradio's `push` (called when a request comes, in whatever way), `send_message`
    (called for each message to a client), `get_events` (called for the next to work on) and
    `compute_analytics_summary`.
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
        self._listeners: Counter[str] = Counter()
        self._paces: dict[int, tuple[float, float]] = {}

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
                seconds=self._expected(fn, images_in(body.data)),
                images=images_in(body.data),
                address=address_of(request.scope) if request is not None else None,
                kind=fn.concurrency_id,
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
        self.send_message(event, _failed(sentence))
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
            if not event_message.success and not event_message.output.get("error"):
                # Gradio says null where a function failed on what it was given.
                event_message.output["error"] = NOT_ANSWERED
            if event in self._started:
                if event_message.success:
                    self._learn_pace(event, now)
                self.ended(self._outcome(event, event_message, now))
        if event.session_hash in self.pending_messages_per_session:
            super().send_message(event, event_message)

    def listen(self, name: str) -> str:
        """Note that a client waits for the answers of a visit, or of a request; return the visit.

        What nobody waits for is worked on last, and after `LEFT_TIME` not at all.
        """
        visit = self._visit_of(name) or name
        self._listeners[visit] += 1
        return visit

    def leave(self, visit: str) -> None:
        """Note that a client does not wait any more."""
        self._listeners[visit] -= 1
        if self._listeners[visit] <= 0:
            del self._listeners[visit]

    def still_wanted(self) -> bool:
        """Tell the function that calls this whether anybody waits for its answer.

        Gradio puts the request's id into the context in which it runs a function.
        """
        event = self.event_ids_to_events.get(LocalContext.event_id.get(None) or "")
        if event is None:
            return True
        new = time.monotonic() - event.enqueue_time < LEFT_TIME
        return event.alive and (new or self._listeners[event.session_hash] > 0)

    def knows(self, event_id: str) -> bool:
        """Tell whether a request waits, is worked on, or has an answer that nobody has fetched."""
        return self._visit_of(event_id) is not None

    def is_awaited(self, event_id: str) -> bool:
        """Tell whether a client waits for a request's answer."""
        return self._listeners[self._visit_of(event_id) or event_id] > 0

    def belongs_to(self, event_id: object, visit: object) -> bool:
        """Tell whether a request is a visit's, or is not there any more."""
        owner = self._visit_of(event_id) if isinstance(event_id, str) else None
        return owner is None or owner == visit

    def standing(self) -> list[Standing]:
        """Return the requests that wait or are worked on."""
        running = [event for job in self.active_jobs if job for event in job]
        waiting = [e for queue in self.event_queue_per_concurrency_id.values() for e in queue.queue]
        return [self._standing(event, True) for event in running] + [
            self._standing(event, False) for event in waiting
        ]

    def places(self, kind: str) -> int:
        """Return how many requests of a kind are worked on at a time."""
        queue = self.event_queue_per_concurrency_id.get(kind)
        return (queue.concurrency_limit if queue else None) or 1

    def get_events(self) -> Any:
        """Hand out the next request to work on: first those that somebody waits for."""
        self.drop_left(LEFT_TIME)
        for queue in self.event_queue_per_concurrency_id.values():
            if queue.queue and not self._listeners[queue.queue[0].session_hash]:
                queue.queue.sort(key=lambda event: not self._listeners[event.session_hash])
        return super().get_events()

    def drop_left(self, patience: float) -> None:
        """Drop what has waited for so many seconds with nobody who waits for it."""
        now = time.monotonic()
        for queue in self.event_queue_per_concurrency_id.values():
            for event in list(queue.queue):
                if self._listeners[event.session_hash] or now - event.enqueue_time <= patience:
                    continue
                queue.queue.remove(event)
                self.event_ids_to_events.pop(event._id, None)
                self._started[event] = now
                event.alive = False
                self.send_message(event, _failed(NOBODY_WAITED))

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: Gradio would make a table of all past requests after each of them."""
        return {"functions": {}}

    def _visit_of(self, event_id: str) -> str | None:
        event = self.event_ids_to_events.get(event_id)
        if event is not None:
            return event.session_hash
        pending = self.pending_event_ids_session.items()
        return next((visit for visit, ids in pending if event_id in ids), None)

    def _standing(self, event: Event, running: bool) -> Standing:
        images = images_in(event.data.data if event.data else [])
        passed = time.monotonic() - self._started[event] if event in self._started else 0.0
        return Standing(
            visit=event.session_hash,
            address=address_of(event.request.scope) if event.request is not None else None,
            kind=event.concurrency_id,
            images=images,
            seconds=max(self._expected(event.fn, images) - passed, 0.0),
            running=running,
        )

    def _expected(self, fn: Any, images: int) -> float:
        seconds, read = self._paces.get(fn._id, (1.0, 1.0))
        return seconds / read * images

    def _learn_pace(self, event: Event, now: float) -> None:
        images = images_in(event.data.data if event.data else [])
        seconds, read = self._paces.get(event.fn._id, (0.0, 0.0))
        # Older ones count less and less, so that a slow start is forgotten.
        self._paces[event.fn._id] = (
            0.9 * seconds + now - self._started[event],
            0.9 * read + images,
        )

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
