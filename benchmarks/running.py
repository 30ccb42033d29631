"""Helpers of the benchmarks: the demo in a process, memory through /proc (Linux), and medians."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

READY = 300.0
"""Seconds until the models have to be loaded."""


@dataclass(frozen=True)
class App:
    """A running demo: its process, its address, and the folder of its temporary files and log."""

    pid: int
    url: str
    folder: Path

    def family(self) -> list[int]:
        """The server's process, and the processes that it has started to decode."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def resident(self) -> float:
        """Memory of all its processes now, in MB (VmRSS; what they share counts for each)."""
        return sum(process_memory("VmRSS", pid) for pid in self.family())

    def peak(self) -> float:
        """The sum of the most memory of each process since `forget_peak`, in MB (VmHWM)."""
        return sum(process_memory("VmHWM", pid) for pid in self.family())

    def forget_peak(self) -> None:
        """Measure the peak from now on."""
        for pid in self.family():
            forget_peak(pid)

    def cpu(self) -> float:
        """Seconds of the processor that all its processes have used so far."""
        return _cpu(self.pid, 11, 12) + self.decoding_cpu()

    def descriptors(self) -> int:
        """Number of descriptors that the server's process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def decoding_cpu(self) -> float:
        """Seconds of the processor of the processes that decode, with those that have ended."""
        _, *children = self.family()
        # The system adds the time of a child to its parent's account when the child has ended.
        return _cpu(self.pid, 13, 14) + sum(_cpu(pid, 11, 12) for pid in children)


@contextlib.contextmanager
def running(*options: str) -> Iterator[App]:
    """Run app.py with the shipped models on a free port, and with a temporary folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *options]
        environment = {**os.environ, "TMPDIR": folder}
        with Path(folder, "log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            with process:
                try:
                    app = App(process.pid, f"http://127.0.0.1:{port}", Path(folder))
                    _wait(app, process)
                    yield app
                finally:
                    process.send_signal(signal.SIGTERM)
                    process.wait(60)


def _cpu(pid: int, *places: int) -> float:
    """Seconds in fields of a process's account (proc(5), stat), counted after its name."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[place]) for place in places) / os.sysconf("SC_CLK_TCK")


def process_memory(name: str, pid: int | str = "self") -> float:
    """Memory of a process in MB: "VmRSS", in use now, or "VmHWM", the most so far.

    Raises OSError when the process has ended.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    line = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    if line is None:
        raise ProcessLookupError(f"Process {pid} has ended.")
    return int(line[1]) * 1024 / 1e6


def forget_peak(pid: int | str = "self") -> None:
    """Measure the most memory from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def machine() -> str:
    """The date, this machine and its Python, in a line of Markdown."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = model[1] if model else platform.machine()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{time.strftime('%Y-%m-%d')}, {cores} cores of {name}, Python {platform.python_version()}"
    )


def medians(
    sides: dict[str, Callable[[], object]], rounds: int = 7, calls: int | dict[str, int] = 10
) -> dict[str, float]:
    """Median seconds of a call of each side, over interleaved rounds of `calls` calls a side."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            count = calls if isinstance(calls, int) else calls[name]
            began = time.perf_counter()
            for _ in range(count):
                side()
            # The first round only warms up.
            if number:
                times[name].append((time.perf_counter() - began) / count)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def versions(*packages: str) -> str:
    """The versions of installed packages, in a line."""
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


def _wait(app: App, process: subprocess.Popen[bytes]) -> None:
    """Wait until the models are loaded; raises SystemExit where the demo does not start."""
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{app.url}/healthz", timeout=5) as reply,
        ):
            if json.load(reply)["status"] == "ready":
                return
        time.sleep(0.2)
    raise SystemExit("The demo did not start: run app.py by itself to see why.")
