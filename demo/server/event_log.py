"""What the server says while it runs: one line of JSON an event on stderr, about what happened and
never about whom.

Nothing of a visitor enters it: no file name, no address, no word of a message that might quote one.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import time
import traceback
from typing import TextIO

Value = str | int | float | None


class EventLog:
    """Writes events to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Value) -> None:
        """One line: `time` in UTC, `event`, and the fields; seconds are rounded to milliseconds."""
        now = time.time()
        stamp = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        )
        shown = {
            name: round(v, 3) if isinstance(v, float) else v
            for name, v in fields.items()
            if v is not None
        }
        with self._lock:
            self._stream.write(json.dumps({"time": stamp, "event": event, **shown}) + "\n")
            self._stream.flush()

    def fault(self, error: BaseException, source: str) -> None:
        """An error as its type and the place in the code; its message may hold a file's name, so it
        is left out.
        """
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else None
        self.write("fault", source=source, error=type(error).__name__, where=where)

    def take_over(self) -> None:
        """From now on, what libraries print or log arrives here as events without its text."""
        sys.stderr = sys.stdout = _Muted(self)
        handler = _Handler(self)
        logging.root.handlers[:] = [handler]
        logging.root.setLevel(logging.WARNING)
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True


class _Handler(logging.Handler):
    def __init__(self, journal: EventLog) -> None:
        super().__init__(logging.WARNING)
        self.journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.journal.fault(record.exc_info[1], record.name)
        else:
            self.journal.write(
                "log", source=record.name, level=record.levelname.lower(), line=record.lineno
            )


class _Muted(io.TextIOBase):
    """A stream that keeps nothing of what it is given but the type and the place of an error in a
    traceback.
    """

    def __init__(self, journal: EventLog) -> None:
        self.journal = journal
        self._local = threading.local()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        pending = getattr(self._local, "pending", "") + text
        *lines, self._local.pending = pending.split("\n")
        for line in lines:
            self._line(line)
        return len(text)

    def _line(self, line: str) -> None:
        place = re.match(r'\s+File ".*?([^/\\"]+)", line (\d+), in ', line)
        if place:
            self._local.where = f"{place[1]}:{place[2]}"
            return
        where = getattr(self._local, "where", None)
        # The line that ends a traceback: the error's type, with or without a message.
        error = re.match(r"([A-Za-z_][\w.]*)(:|$)", line)
        if where and error:
            self.journal.write(
                "fault", source="print", error=error[1].rpartition(".")[2], where=where
            )
            self._local.where = None
        elif not where and line.strip() and not line.startswith("Traceback ("):
            self.journal.write("print", characters=len(line))
