"""Growth of cost with use, as plots: archives of more files, and more visitors at once.

    PYTHONPATH=. python benchmarks/growth_use.py --data HAM --out docs/figures

Writes growth_archive.png and growth_clients.png and prints the same as tables. An archive is a
folder of links to images of HAM, scored by one `predict --images` with its start; memory is the sum
of its processes (VmRSS of Linux, what they share counts for each), its largest value. Visitors ask
the demo without pause through the loopback interface (`load.py`), so that they share the cores with
the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from growth import plot
from load import Load, client, function_of, one_request
from running import ROOT, App, machine, process_memory, running

from dermhub.data import image_files
from dermhub.images.drawn_lesions import draw
from tests.support import odd_files

ARCHIVES = (10, 100, 1000, 3000, 10_000)
"""Numbers of files."""

CLIENTS = (1, 2, 4, 8, 16, 32)
"""Numbers of visitors at once."""

WARM = 20
"""Requests before anything is measured."""

SAMPLE = 0.1
"""Seconds between two measurements of memory."""

Row = tuple[float, float, float]
"""Number of files or clients, and the two values that are shown of it."""


def main() -> None:
    """Print the tables and write the plots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--seconds", type=float, default=8.0, help="time of each number of clients")
    options = parser.parse_args()
    images = image_files.find(options.data)
    archives = [_archive(images[:number]) for number in ARCHIVES if number <= len(images)]
    with running() as app:
        clients = asyncio.run(_visits(app, options.seconds))
    print(f"{machine()}\n")
    print("| files | files/s, with the start | most memory, MB |\n|---|---|---|")
    for files, rate, memory in archives:
        print(f"| {files:,.0f} | {rate:.1f} | {memory:.0f} |")
    print("\n| visitors at once | answers/s | median wait, s |\n|---|---|---|")
    for number, rate, wait in clients:
        print(f"| {number:.0f} | {rate:.1f} | {wait:.2f} |")
    options.out.mkdir(parents=True, exist_ok=True)
    heights = ("files a second, with the start", "most memory, MB")
    plot(options.out / "growth_archive.png", "files in the archive", heights, archives)
    heights = ("answers a second", "median wait, s")
    plot(options.out / "growth_clients.png", "visitors at once", heights, clients)


def _archive(images: Sequence[Path]) -> Row:
    """Score so many files: their number, files a second, and the most memory in MB."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "images")
        folder.mkdir()
        for image in images:
            (folder / image.name).symlink_to(image.resolve())
        command = [sys.executable, "-m", "dermhub", "predict", "--images", str(folder)]
        command += ["--out", str(Path(place, "scores.csv"))]
        most = 0.0
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                with contextlib.suppress(OSError):  # it may end meanwhile
                    most = max(most, _memory(process.pid))
                time.sleep(SAMPLE)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit("growth_use.py: predict --images failed.")
    return len(images), len(images) / seconds, most


def _memory(pid: int) -> float:
    """Memory of a process and of those that it has started, in MB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return process_memory("VmRSS", pid) + sum(_memory(int(child)) for child in children)


async def _visits(app: App, seconds: float) -> list[Row]:
    """Let more and more clients ask: their number, answers a second, and the median wait."""
    rows: list[Row] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=app.url, timeout=120, limits=limits) as http:
        function = await function_of(http, "predict")
        photo = odd_files.saved("JPEG", draw(7, (600, 450), 0.7), quality=90)
        warm = Load(app, http, function, photo)
        for _ in range(WARM):
            await one_request(warm)
        for number in CLIENTS:
            load = Load(app, http, function, photo)
            start = time.perf_counter()
            await asyncio.gather(*(client(load, start + seconds) for _ in range(number)))
            taken = time.perf_counter() - start
            waits = [wait for _, wait in load.answers]
            if errors := {text for text in load.refusals if text != "busy"}:
                raise SystemExit(f"growth_use.py: {number} clients got {errors}.")
            rows.append((number, len(waits) / taken, statistics.median(waits)))
    return rows


if __name__ == "__main__":
    main()
