"""The last wall before the decoder: uploads are decoded in processes with bounds of their own.

The decoder refuses every file that is known to be made to exhaust it. The next unknown one costs a
process of this pool and gets a sentence, and everybody else is served meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from demo.decode_child import MEMORY, PHOTO, REPLY, REQUEST
from demo.decode_limits import Limits
from dermhub import ImageError, InputSpec, Photo

ROOT = Path(__file__).resolve().parent.parent

PROCESSES = 3
"""Processes that wait for files: as many requests as are worked on at a time."""

MOST_FILES = 500
"""Files after which a process is replaced, so that nothing grows in it."""

SIGPROF = 27 if sys.platform == "win32" else signal.SIGPROF
"""Ends a process that has used up its time."""

PATIENCE = 10
"""Longest time that a file may take by the clock, in times of the processor's time.

It only ends what hangs without working; a busy machine takes longer for honest files, too.
"""

SMALL_MEMORY = {
    # glibc would reserve as much address space for each thread as the limit leaves.
    "MALLOC_ARENA_MAX": "1",
    # Else it keeps the place of a large block that was freed, torn to pieces, and of the bound less
    # and less is left.
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000",
    # Matrices are 64 x 64 at most, and each thread of a library takes memory.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

_AGAIN = "scale it down, or save it anew as an ordinary JPEG"

NO_PROCESS = "The server can't decode images at the moment: try again in a minute."

Report = Callable[[str, float], None]
"""Is told of a file that a process did not survive: "memory", "time" or "died"; and the seconds."""


class DiedError(Exception):
    """Raised where a process ended while it decoded; the text says of what."""


class DecodingProcesses:
    """A pool of warm processes that decode and measure files.

    Several threads may use it. A process that is lost is replaced. Raises OSError where no process
    can be started.
    """

    def __init__(self, limits: Limits, report: Report = lambda *_: None) -> None:
        self.limits = limits
        self._report = report
        self._lock = threading.Lock()
        self._closed = False
        self._processes: set[_Process] = set()
        self._free: queue.Queue[_Process | None] = queue.Queue()
        try:
            for _ in range(PROCESSES):
                self._free.put(self._start())
        except OSError:
            self.close()
            raise

    def decode(self, content: bytes, specs: Sequence[InputSpec]) -> Photo:
        """Decode and measure a file in a process, with the result of `decode_child.photo_of`.

        Raises ImageError for bytes that are no usable image, that take too much memory or time, or
        that end the process.
        """
        began = time.monotonic()
        process = self._free.get()
        try:
            if process is None or process.lost:
                process = self._replaced(process)
            if process is None:
                raise ImageError(NO_PROCESS)
            first, reply = process.ask(content, specs, self.limits.seconds * PATIENCE)
        except DiedError as error:
            raise self._refusal(str(error), began) from None
        finally:
            if process is not None and (process.lost or process.files >= MOST_FILES):
                process = self._replaced(process)
            self._free.put(process)
        if first == MEMORY:
            raise self._refusal("memory", began)
        if first != PHOTO:
            raise ImageError(reply.decode())
        return Photo.from_bytes(reply)

    def missing(self) -> str:
        """Say which limit this system does not have, or ""; waits until a process is ready.

        Raises DiedError where none works.
        """
        process = self._free.get()
        try:
            if process is None:
                raise DiedError("not started")
            bounded = process.is_bounded()
        finally:
            self._free.put(process)
        if bounded:
            return ""
        return "this system can't bound the memory of a process, so only the time is limited"

    def close(self) -> None:
        """End all processes; what they are working on is cut off."""
        with self._lock:
            self._closed = True
            processes = list(self._processes)
            self._processes.clear()
        for process in processes:
            process.end()

    def _start(self) -> _Process:
        process = _Process(self.limits)
        with self._lock:
            self._processes.add(process)
            closed = self._closed
        if closed:
            process.end()
        return process

    def _replaced(self, process: _Process | None) -> _Process | None:
        """End a process, if any, and start another; None where that is not possible now."""
        if process is not None:
            process.end()
            with self._lock:
                self._processes.discard(process)
        # No memory, or no descriptor: the next file tries again.
        with contextlib.suppress(OSError):
            return None if self._closed else self._start()
        return None

    def _refusal(self, reason: str, began: float) -> ImageError:
        with contextlib.suppress(Exception):
            self._report(reason, time.monotonic() - began)
        took = {
            "memory": f"takes more than {self.limits.megabytes:g} MB of memory to decode",
            "time": f"takes more than {self.limits.seconds:g} seconds to decode",
        }.get(reason, "can't be decoded: it made the decoder break down")
        return ImageError(f"the uploaded data {took}; {_AGAIN}, and upload that.")


class _Process:
    """A process that decodes, with its pipes."""

    def __init__(self, limits: Limits) -> None:
        command = [sys.executable, "-P", "-m", "demo.decode_child"]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._child = subprocess.Popen(
            [*command, str(limits.megabytes), str(limits.seconds)],
            env={**os.environ, **SMALL_MEMORY, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # An error as Python prints it may quote the file.
            stderr=subprocess.DEVNULL,
            pipesize=2**20,
        )
        self.files = 0
        self._bounded: bool | None = None
        self._late = False

    @property
    def lost(self) -> bool:
        """True where it has ended."""
        return self._child.poll() is not None

    def is_bounded(self) -> bool:
        """Tell whether its memory has a bound; waits until it is ready. Raises DiedError."""
        if self._bounded is None:
            try:
                _, reply = self._reply()
            except (OSError, EOFError):
                raise self._death() from None
            self._bounded = bool(json.loads(reply)["memory"])
        return self._bounded

    def ask(
        self, content: bytes, specs: Sequence[InputSpec], patience: float
    ) -> tuple[bytes, bytes]:
        """Send a file and return the first byte of the reply, and the rest. Raises DiedError."""
        self.is_bounded()
        self.files += 1
        about = json.dumps([asdict(spec) for spec in specs]).encode()
        timer = threading.Timer(patience, self._end_late)
        timer.start()
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(REQUEST.pack(len(about), len(content)) + about)
            self._child.stdin.write(content)
            self._child.stdin.flush()
            return self._reply()
        # A broken pipe, or an end in the middle of a reply.
        except (OSError, EOFError):
            raise self._death() from None
        finally:
            timer.cancel()

    def end(self) -> None:
        """End it, whatever it does."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            # A part of a file may still be on its way.
            with contextlib.suppress(OSError):
                pipe.close()

    def _end_late(self) -> None:
        self._late = True
        self._child.kill()

    def _reply(self) -> tuple[bytes, bytes]:
        assert self._child.stdout is not None
        head = self._child.stdout.read(REPLY.size)
        if len(head) < REPLY.size:
            raise EOFError
        first, length = REPLY.unpack(head)
        content = self._child.stdout.read(length)
        if len(content) < length:
            raise EOFError
        return first, content

    def _death(self) -> DiedError:
        """Wait for its end and say what it died of."""
        self._child.kill()
        status = self._child.wait()
        return DiedError("time" if self._late or status == -SIGPROF else "died")
