"""The event log: JSON lines about what happened, with nothing in them that a visitor brought."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from demo.server.event_log import EventLog


@pytest.fixture
def written() -> io.StringIO:
    """The stream that an event log writes to."""
    return io.StringIO()


@contextlib.contextmanager
def taken_over() -> Iterator[io.StringIO]:
    """The stream of an event log that has taken over what others print and log."""
    streams, handlers, level = (
        (sys.stdout, sys.stderr),
        logging.root.handlers[:],
        logging.root.level,
    )
    written = io.StringIO()
    EventLog(written).take_over()
    try:
        yield written
    finally:
        sys.stdout, sys.stderr = streams
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    """Its events, without their times."""
    events = [json.loads(line) for line in written.getvalue().splitlines()]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time"))
        for event in events
    )
    return events


def fail() -> None:
    """An error whose message quotes a visitor."""
    raise ValueError("patient-name.png is odd")


def test_an_event_is_a_line(written: io.StringIO) -> None:
    EventLog(written).write("answer", outcome="answered", seconds=0.123456, bytes=7, endpoint=None)
    assert lines(written) == [
        {"event": "answer", "outcome": "answered", "seconds": 0.123, "bytes": 7}
    ]


def test_a_fault_is_its_type_and_place(written: io.StringIO) -> None:
    try:
        fail()
    except ValueError as error:
        EventLog(written).fault(error, "test")
    (event,) = lines(written)
    assert re.fullmatch(r"test_event_log\.py:\d+", event.pop("where"))
    assert event == {"event": "fault", "source": "test", "error": "ValueError"}


def test_what_is_printed_leaves_no_words() -> None:
    with taken_over() as taken:
        print("a visitor sent patient-name.png")
        print("to stderr", "in parts", file=sys.stderr)
        try:
            fail()
        except ValueError:
            traceback.print_exc()
    first, second, third = lines(taken)
    assert first == {"event": "print", "characters": 31}
    assert second == {"event": "print", "characters": 18}
    assert re.fullmatch(r"test_event_log\.py:\d+", third.pop("where"))
    assert third == {"event": "fault", "source": "print", "error": "ValueError"}
    assert "patient" not in taken.getvalue()


def test_what_is_logged_leaves_no_words() -> None:
    with taken_over() as taken:
        logging.getLogger("uvicorn.error").info("nothing to say")
        logging.getLogger("uvicorn.error").warning("of %s", "patient-name.png")
        try:
            fail()
        except ValueError:
            logging.getLogger("asyncio").exception("while reading patient-name.png")
    first, second = lines(taken)
    assert (first["event"], first["source"], first["level"]) == ("log", "uvicorn.error", "warning")
    assert (second["event"], second["source"], second["error"]) == (
        "fault",
        "asyncio",
        "ValueError",
    )
    assert "patient" not in taken.getvalue()
