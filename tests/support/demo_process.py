"""A running demo for the tests: app.py as a process of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

READY = 240
"""Seconds that a loaded machine gets to import torch and gradio."""


@dataclass
class Demo:
    """A server, where it listens, what it prints, and where it may write."""

    process: subprocess.Popen[str]
    url: str
    home: Path
    lines: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serve(
    home: Path,
    *options: object,
    port: int | None = None,
    notes: Path | None = None,
    lifetime: float | None = None,
    descriptors: int | None = None,
) -> Iterator[Demo]:
    """Start app.py with a private temporary folder and wait until it says that it is ready.

    With `notes`, every file that it writes and every address that it asks for is noted there (see
    audited_app.py). With `lifetime`, uploads stay for so many seconds (see hasty_app.py). It may
    have at most `descriptors` files and connections open.
    """
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO", "SPACE"))}
    environment |= {
        "TMPDIR": str(temporary),
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    program = [str(ROOT / "app.py")]
    if notes is not None:
        program = [str(ROOT / "tests" / "support" / "audited_app.py"), str(notes)]
    elif lifetime is not None:
        program = [str(ROOT / "tests" / "support" / "hasty_app.py"), str(lifetime)]
    command = [sys.executable, *program, "--port", str(port), *map(str, options)]
    if descriptors is not None:
        limited = 'ulimit -n "$0" && exec "$@"'
        command = ["sh", "-c", limited, str(descriptors), *command]
    process = subprocess.Popen(
        command,
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    demo = Demo(process, f"http://127.0.0.1:{port}", home)
    ready = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            demo.lines.append(line)
            if re.match("dermhub is ready: open ", line):
                ready.set()
        ready.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        assert ready.wait(READY), demo.lines
        assert process.poll() is None, demo.lines
        yield demo
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def trained(
    tiny_data: Path, finished_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Model folders of both tasks from real runs on drawings, with their cards and figures. Read
    only.
    """
    from tests.support.tiny import TINY_RUN, run_training

    out = tmp_path_factory.mktemp("runs") / "tiny-binary"
    run_training("--task", "binary", "--data", tiny_data, "--out", out, *TINY_RUN)
    return {"lesion": finished_run / "model", "binary": out / "model"}


@pytest.fixture(scope="session")
def demo(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One server for all tests, with two models that were trained on drawings."""
    home = tmp_path_factory.mktemp("home")
    with serve(home, "--binary", trained["binary"], "--lesion", trained["lesion"]) as running:
        yield running


@pytest.fixture(scope="session")
def client(demo: Demo) -> Any:
    """gradio_client, connected to the demo."""
    from gradio_client import Client

    return Client(demo.url, verbose=False)
