"""The waiting room: Gradio's queue with a bound in words, a look at what came, and nothing kept
after an answer.

Every way to ask (the page, gradio_client, plain HTTP) joins this queue, so a refusal reaches all of
them as the same sentence, where Gradio itself would say "error" or close the connection.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import gradio as gr
from gradio import route_utils, server_messages, state_holder
from gradio.queueing import Event, Queue

from demo.server.event_log import EventLog
from demo.server.uploads import PrivateFolder

COLLECTED = 60.0
"""Seconds in which a client fetches an answer that is ready; then it is forgotten."""


REFUSED = "No answer."
"""Words of the page's own refusals, by which the journal tells them from answers."""


REMEMBERED = 256
"""Refusals that wait for the page to ask why."""


class WaitingRoom(Queue):
    """Gradio's queue for a page: one request is worked on, at most `limit` wait."""

    def __init__(
        self, page: gr.Blocks, journal: EventLog, folder: PrivateFolder, limit: int
    ) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=None,
            blocks=page,
            default_concurrency_limit=1,
        )
        self.limit = limit
        self.stopping = False
        self._journal, self._folder = journal, folder
        self._finished: dict[str, float] = {}
        self._refusals: dict[str, str] = {}
        self._single: set[str] = set()

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Take a request in, or answer it at once with the sentence why not."""
        self._forget()
        fn = route_utils.get_fn(self.blocks, None, body)
        kind, sentence = self._refusal(fn, body.data)
        named = body.session_hash is not None
        if not sentence:
            taken = await super().push(body, request, username)
            if not named and taken[0]:
                self._single.add(str(taken[1]))
            return taken
        self._journal.write(
            "answer", endpoint=fn.api_name or "page", outcome=kind, waiting=len(self)
        )
        event = Event(body.session_hash, fn, request, username)
        if event.session_hash not in self.pending_messages_per_session:
            self.pending_messages_per_session[event.session_hash] = asyncio.Queue()
        self.pending_event_ids_session.setdefault(event.session_hash, set()).add(event._id)
        if named:
            self._refusals[event.session_hash] = sentence
            while len(self._refusals) > REMEMBERED:
                del self._refusals[next(iter(self._refusals))]
        else:
            self._single.add(event.session_hash)
        output = {"error": sentence, "title": "No answer", "visible": True, "duration": 10}
        self.send_message(
            event, server_messages.ProcessCompletedMessage(output=output, success=False)
        )
        return True, event._id, "success"

    def why(self, session: str | None) -> str:
        """Why the last request of a visit was refused, once; "" where it was not."""
        return self._refusals.pop(session or "", "")

    def send_message(self, event: Event, event_message: Any) -> None:
        """Pass a message on to the one who asked, and note in the journal how a request ended."""
        now = time.monotonic()
        if isinstance(event_message, server_messages.ProcessStartsMessage):
            event.started = now  # type: ignore[attr-defined]
        elif isinstance(event_message, server_messages.ProcessCompletedMessage):
            self._finished[event.session_hash] = now
            started = getattr(event, "started", None)
            if started is not None:
                outcome = _outcome(event_message) if event.alive else "left"
                name, waited = event.fn.api_name or "page", started - event.enqueue_time
                self._journal.write(
                    "answer", endpoint=name, outcome=outcome, waited=waited, seconds=now - started
                )
        if event.session_hash in self.pending_messages_per_session:
            super().send_message(event, event_message)

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:  # noqa: ARG002
        """Nothing: Gradio would make a table of all past requests after each of them."""
        return {"functions": {}}

    def _refusal(self, fn: Any, data: list[Any] | None) -> tuple[str, str]:
        """The kind of a refusal and its sentence, both empty where the request may wait."""
        if self.stopping:
            return "stopping", "The server is stopping: try again in a minute."
        for block, value in zip(fn.inputs, data or [], strict=False):
            if (
                isinstance(block, gr.Image)
                and isinstance(value, list)
                and any(isinstance(one, dict) for one in value)
            ):
                return (
                    "no-file",
                    f"{len(value)} files came, expected one image: send each by itself.",
                )
            if isinstance(block, gr.Image | gr.File | gr.Gallery) and (
                problem := self._no_file(value)
            ):
                return "no-file", problem
        waiting = len(self)
        if waiting >= self.limit:
            known = self.process_time_per_fn[fn].avg_time if fn in self.process_time_per_fn else 1
            return "busy", (
                f"The server is busy: {waiting} requests wait and yours would be number "
                f"{waiting + 1}. "
                f"Try again in about {max(round(known * (waiting + 1)), 1)} seconds."
            )
        return "", ""

    def _no_file(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return next(filter(None, map(self._no_file, value)), "")
        if isinstance(value, dict) and isinstance(value.get("image"), dict):  # a gallery's entry
            return self._no_file(value["image"])
        path = (value.get("path") or value.get("url")) if isinstance(value, dict) else value
        if isinstance(path, str) and ("://" in path or path.startswith("data:")):
            return (
                "An address came, which this server does not fetch: download the image and "
                "send "
                "the file."
            )
        if isinstance(value, dict) and isinstance(path, str):
            if self._folder.holds(path):
                return ""
            return (
                "A path came that is no upload of yours, or no longer: upload the image again, "
                "as a file."
            )
        return f"No file came but {_kind(value)}: expected an image, sent as a file."

    def _forget(self) -> None:
        """Drop what Gradio would keep of answered requests: their messages, and the states of
        visits by API.
        """
        now = time.monotonic()
        for session in list(self.pending_messages_per_session):
            pending = self.pending_event_ids_session.get(session, set())
            if any(event in self.event_ids_to_events for event in pending):
                continue
            if not pending or now - self._finished.setdefault(session, now) > COLLECTED:
                self.pending_messages_per_session.pop(session, None)
                self.pending_event_ids_session.pop(session, None)
                self._finished.pop(session, None)
                if session in self._single:
                    self._single.discard(session)
                    self._drop_state(session)

    def _drop_state(self, session: str) -> None:
        holder = self.blocks.state_holder
        holder.session_data.pop(session, None)
        holder.time_last_used.pop(session, None)


def keep_no_values() -> None:
    """Stop Gradio from keeping each visit's last images and answers, for links that this server
    does not offer.
    """
    state_holder.SessionState._update_value_in_config = lambda *_: None  # type: ignore[method-assign]


def _outcome(message: Any) -> str:
    if not message.success:
        return "failed"
    for one in message.output.get("data") or []:
        if (isinstance(one, str) and REFUSED in one[:300]) or (
            isinstance(one, dict) and "error" in one
        ):
            return "refused"
    return "answered"


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "something else")
