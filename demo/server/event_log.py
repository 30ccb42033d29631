"""The event log: a line of JSON on stderr for each event, about what happened and never to whom.

Nothing of a visitor enters it: no file name, no address, no word of a message that might quote one.
Of a wrong password it has the account, where there is such a one, and never what was typed.
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
        """Write a line: `time` in UTC, `event`, and the fields that are not None.

        Seconds are rounded to milliseconds.
        """
        now = time.time()
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        record: dict[str, Value] = {"time": f"{seconds}.{int(now % 1 * 1000):03d}Z", "event": event}
        for name, value in fields.items():
            if value is not None:
                record[name] = round(value, 3) if isinstance(value, float) else value
        with self._lock:
            self._stream.write(json.dumps(record) + "\n")
            self._stream.flush()

    def fault(self, error: BaseException, source: str) -> None:
        """Write the type of an error and its place in the code.

        Its message is left out, because it may hold the name of a file.
        """
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else None
        self.write("fault", source=source, error=type(error).__name__, where=where)

    def take_over(self) -> None:
        """Turn what libraries print or log from now on into events without its text."""
        sys.stderr = sys.stdout = _Muted(self)
        handler = _Handler(self)
        logging.root.handlers[:] = [handler]
        logging.root.setLevel(logging.WARNING)
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True


class _Handler(logging.Handler):
    def __init__(self, event_log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self.event_log = event_log

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.event_log.fault(record.exc_info[1], record.name)
        else:
            self.event_log.write(
                "log", source=record.name, level=record.levelname.lower(), line=record.lineno
            )


class _Muted(io.TextIOBase):
    """A stream that keeps of a traceback the type and the place, and nothing of any other text."""

    def __init__(self, event_log: EventLog) -> None:
        self.event_log = event_log
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
            self.event_log.write(
                "fault", source="print", error=error[1].rpartition(".")[2], where=where
            )
            self._local.where = None
        elif not where and line.strip() and not line.startswith("Traceback ("):
            self.event_log.write("print", characters=len(line))
