"""A real server deletes uploads in time: in a flood, without descriptors, and afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.support import odd_files
from tests.support.demo_client import Refused, as_file, ask, upload
from tests.support.demo_process import Demo, serve

pytestmark = pytest.mark.slow

LIFETIME = 3.0
"""Seconds that an upload stays in this server; a round of the sweeper comes four times in it."""

SLACK = 20.0
"""Seconds that a loaded machine gets beyond that."""

DESCRIPTORS = 200
"""Files and connections that the server may have open; it needs some 60 by itself."""

PHOTO = odd_files.saved("JPEG")


@pytest.fixture(scope="module")
def hasty(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server in which uploads live for `LIFETIME` seconds."""
    options = ("--binary", trained["binary"], "--lesion", trained["lesion"])
    home = tmp_path_factory.mktemp("home")
    with serve(home, *options, lifetime=LIFETIME, descriptors=DESCRIPTORS) as demo:
        yield demo


def left(demo: Demo) -> set[Path]:
    """Everything in the folder for uploads: files, and folders named by a file's hash."""
    (uploads,) = (demo.home / "tmp").glob("dermhub-uploads-*/uploads")
    # os.walk passes over a folder that is removed meanwhile.
    return {Path(base, name) for base, *names in os.walk(uploads) for name in chain(*names)}


def health(demo: Demo) -> dict[str, Any]:
    """What /healthz says of the sweeper."""
    with urllib.request.urlopen(f"{demo.url}/healthz", timeout=30) as reply:
        state: dict[str, Any] = json.load(reply)["sweeper"]
    return state


def wait_until_gone(demo: Demo, own: set[Path]) -> None:
    """Wait until only the page's own pictures are left."""
    deadline = time.monotonic() + 2 * LIFETIME + SLACK
    while left(demo) != own and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left(demo) == own


def flood(demo: Demo, seconds: float) -> int:
    """Upload from four clients at the same time, and return how many files were taken."""
    end = time.monotonic() + seconds

    def send(client: int) -> int:
        taken = 0
        while time.monotonic() < end:
            name = f"{client}-{taken}"
            files = [(f"{name}-{n}.jpg", PHOTO + f"{name}-{n}".encode()) for n in range(10)]
            with contextlib.suppress(Refused):
                upload(demo.url, files)
            taken += 10
        return taken

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(send, range(4)))


def broken_off(demo: Demo) -> None:
    """Begin to upload, and leave."""
    head = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="patient.jpg"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", int(demo.url.rpartition(":")[2]))) as client:
        client.sendall(head + bytes(50_000))


def test_nothing_outlives_a_flood(hasty: Demo) -> None:
    own = left(hasty)
    assert own
    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood, hasty, 2 * LIFETIME)
        most = 0
        while not flooding.done():
            broken_off(hasty)
            most = max(most, len(left(hasty)))
            time.sleep(0.2)
        assert flooding.result() >= 100
    assert most > len(own)
    wait_until_gone(hasty, own)
    assert health(hasty)["failed"] == 0


def test_nothing_outlives_a_server_without_descriptors(hasty: Demo) -> None:
    own = left(hasty)
    paths = upload(hasty.url, [(f"patient-{n}.jpg", PHOTO + b"%d" % n) for n in range(5)])
    assert all(Path(path).exists() for path in paths)
    port = int(hasty.url.rpartition(":")[2])
    held = []
    try:
        for _ in range(2 * DESCRIPTORS):
            held.append(socket.create_connection(("127.0.0.1", port)))
            held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
        # The connections are held: it is deleted while no descriptor is free.
        wait_until_gone(hasty, own)
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + SLACK
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if health(hasty)["failed"] == 0:
                break
        time.sleep(0.2)
    # And afterwards, all the same.
    (path,) = upload(hasty.url, [("patient.jpg", PHOTO)])
    # On a busy machine the file may be gone before its turn comes.
    answer = ask(hasty.url, as_file(path))
    assert "Probability of malignancy" in answer or "has deleted this image" in answer
    wait_until_gone(hasty, own)
    state = health(hasty)
    assert (state["failed"], state["error"]) == (0, "")
    assert state["seconds_ago"] < LIFETIME + SLACK
