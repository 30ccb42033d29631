"""The waiting room: Gradio's queue with bounds, a look at what came, and refusals in words.

Every way to ask (the page, gradio_client, plain HTTP) joins this queue, so that a refusal reaches
all of them as the same sentence.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import gradio as gr

from demo.server import fairness
from demo.server.event_log import EventLog
from demo.server.gradio_queue import ABSENT_TIME, HookedQueue, Outcome, Request
from demo.server.upload_folder import PrivateFolder

REFUSED = "derm-problem"
"""A word in the page's own refusals, by which the event log tells them from answers."""

REMEMBERED = 256
"""Refusals that wait for the page to ask why."""


class WaitingRoom(HookedQueue):
    """Gradio's queue for a page: one request is worked on, at most `limit` wait."""

    def __init__(
        self, page: gr.Blocks, event_log: EventLog, folder: PrivateFolder, limit: int
    ) -> None:
        super().__init__(page)
        self.limit = limit
        self.stopping = False
        self._event_log, self._folder = event_log, folder
        self._refusals: dict[str, str] = {}

    def refusal(self, request: Request) -> str:
        """Return why a request may not wait, "" where it may; remember and log a refusal."""
        kind, sentence = self._reason(request)
        if sentence:
            self._event_log.write(
                "answer", endpoint=request.endpoint, outcome=kind, waiting=len(self)
            )
            if request.visit is not None:
                self._refusals[request.visit] = sentence
                while len(self._refusals) > REMEMBERED:
                    del self._refusals[next(iter(self._refusals))]
        return sentence

    def why_refused(self, visit: str | None) -> str:
        """Return why the last request of a visit was refused, once; "" where it was not."""
        return self._refusals.pop(visit or "", "")

    def ended(self, outcome: Outcome) -> None:
        """Log how a request ended."""
        self._event_log.write(
            "answer",
            endpoint=outcome.endpoint,
            outcome=_word_for(outcome),
            waited=outcome.waited,
            seconds=outcome.seconds,
        )

    def _reason(self, request: Request) -> tuple[str, str]:
        """The kind of a refusal and its sentence, both empty where the request may wait."""
        if self.stopping:
            return "stopping", "The server is stopping: try again in a minute."
        for component, value in request.inputs:
            if isinstance(component, gr.Image) and _is_list_of_files(value):
                return (
                    "no-file",
                    f"{len(value)} files came, expected one image: send each by itself.",
                )
            if isinstance(component, gr.Image | gr.File | gr.Gallery):
                problem = self._no_file(value)
                if problem:
                    return "no-file", problem
                problem = _more_than_once(value)
                if problem:
                    return "duplicate", problem
        if len(self) >= self.limit:
            self.drop_left(ABSENT_TIME)
        return fairness.refusal(request, self.standing(), self.limit, self.places(request.kind))

    def _no_file(self, value: Any) -> str:
        """Say why a value is no uploaded file, or "" where it is one, or nothing at all."""
        if value is None:
            return ""
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return next(filter(None, map(self._no_file, value)), "")
        if isinstance(value, dict) and isinstance(value.get("image"), dict):  # a gallery's entry
            return self._no_file(value["image"])
        path = (value.get("path") or value.get("url")) if isinstance(value, dict) else value
        if isinstance(path, str) and ("://" in path or path.startswith("data:")):
            return (
                "An address came, which this server does not fetch: download the image and send "
                "the file."
            )
        if isinstance(value, dict) and isinstance(path, str):
            if self._folder.holds(path):
                return ""
            return (
                "A path came that is no upload of yours, or no longer: upload the image again, as "
                "a file."
            )
        return f"No file came but {_kind(value)}: expected an image, sent as a file."


def _more_than_once(value: Any) -> str:
    """Say that a file came several times in one request, or "" where each came once."""
    if not isinstance(value, list):
        return ""
    paths = Counter(str(item.get("path")) for item in value if isinstance(item, dict))
    most = max(paths.values(), default=1)
    return f"The same file came {most} times, expected each file once." if most > 1 else ""


def _is_list_of_files(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _word_for(outcome: Outcome) -> str:
    if not outcome.collected:
        return "left"
    if not outcome.success:
        return "failed"
    for value in outcome.values:
        if (isinstance(value, str) and REFUSED in value[:300]) or (
            isinstance(value, dict) and "error" in value
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
