"""The inside of a decoding process: files come in on stdin, measured photos go out on stdout.

`python -m demo.decode_child MEGABYTES SECONDS`; `demo.decoding` starts it. A file that takes more
memory is refused; one that takes more time of the processor ends the process. It imports neither
PyTorch nor Gradio, and ends when its stdin does, however the server ended.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from dermhub import ImageError, InputSpec, Photo, draw

PICTURE = 1280
"""Longest side, in pixels, of the picture of a photograph that an answer shows."""

PHOTO, REFUSED, MEMORY = b"P", b"R", b"M"
"""First byte of a reply: with a photo, with a refusal in words, and that memory ran out."""

REQUEST = struct.Struct("<II")
"""Length of a request's JSON, and of the file that follows it."""

REPLY = struct.Struct("<cI")
"""First byte of a reply, and the length of what follows it."""


def photo_of(content: bytes, specs: Iterable[InputSpec]) -> Photo:
    """Decode and measure a file, as `dermhub.Photo.reduced` has it; the same in any process.

    Raises ImageError for bytes that are no usable image.
    """
    return Photo.open(content).reduced(PICTURE, specs)


def main() -> None:
    """Answer requests until stdin ends."""
    megabytes, seconds = map(float, sys.argv[1:])
    # A terminal and a service manager signal all processes, also while the server still waits for
    # a last answer.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    warm_up()
    # The objects that are there now stay, and need not be looked at after each file.
    gc.freeze()
    send(replies, PHOTO, json.dumps({"memory": limit_memory(megabytes)}).encode())
    while head := requests.read(REQUEST.size):
        about, length = REQUEST.unpack(head)
        specs = [spec_of(fields) for fields in json.loads(requests.read(about))]
        content = requests.read(length)
        limit_time(seconds)
        reply = reply_to(content, specs)
        limit_time(0)
        send(replies, *reply)
        del content, reply
        # An error and the frames that it went through hold each other, and with them the file: the
        # next one would have less memory than the bound says.
        gc.collect()


def reply_to(content: bytes, specs: Iterable[InputSpec]) -> tuple[bytes, bytes]:
    """Return the first byte of a reply to a file, and what follows it."""
    try:
        return PHOTO, photo_of(content, specs).to_bytes()
    except MemoryError:
        return MEMORY, b""
    except ImageError as error:
        # The decoder takes a lack of memory for damage of the file.
        context = error.__context__
        short = isinstance(context, MemoryError) or "out of memory" in str(context)
        return (MEMORY, b"") if short else (REFUSED, str(error).encode())


def spec_of(fields: dict[str, Any]) -> InputSpec:
    """Return an InputSpec from the JSON of its fields."""
    mean, std = tuple(fields.pop("mean")), tuple(fields.pop("std"))
    return InputSpec(mean=mean, std=std, **fields)


def warm_up() -> None:
    """Import and work out whatever the first file would otherwise wait for."""
    stream = io.BytesIO()
    draw(1).save(stream, "JPEG")
    photo_of(stream.getvalue(), [InputSpec(32)]).to_bytes()


def limit_memory(megabytes: float) -> bool:
    """Bound the memory beyond what is taken now; False where the system has no such bound."""
    if sys.platform != "linux":
        return False
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + int(megabytes * 1e6)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Without /proc, as in a bare chroot; or the process has a lower limit already.
    except (OSError, ValueError):
        return False
    return True


def limit_time(seconds: float) -> None:
    """End this process after that much more time of the processor, by SIGPROF; 0 for no limit."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def send(replies: IO[bytes], first: bytes, content: bytes) -> None:
    """Write a reply."""
    replies.write(REPLY.pack(first, len(content)))
    replies.write(content)
    replies.flush()


if __name__ == "__main__":
    main()
