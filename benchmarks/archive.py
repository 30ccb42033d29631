"""Archive scoring against the bound that decoding and the model leave on the same cores.

    PYTHONPATH=. python benchmarks/archive.py --data HAM

Each side is a process of its own, which warms up and then times itself; the rounds are interleaved.
The bound is what a program would reach that loses nothing between decoding and the model: 1 / (1 /
decoding + 1 / model) files a second, each measured alone on all cores at its best (batch size; a
lane for each core, or all cores in one call). Last comes the command itself over the whole folder,
watched through /proc (Linux).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from running import ROOT, machine, process_memory

BATCHES = (1, 4, 8, 16)
LANES = "a lane for each core"
THREADS = "all cores in one call"


def main() -> None:
    """Print the table; with `--side`, one side's files a second instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the images")
    parser.add_argument("--model", default="lesion")
    parser.add_argument("--files", type=int, default=768, help="images of the folder in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", help="(used by itself)")
    parser.add_argument("--batch", type=int, default=4, help="(used by itself)")
    options = parser.parse_args()
    if options.side:
        print(_side(options))
        return
    print(f"{machine()}\n")
    ways = [(threading, batch) for threading in (LANES, THREADS) for batch in BATCHES]
    tried = {way: rate(options, *way) for way in ways}
    threading, batch = max(tried, key=lambda way: tried[way])
    print(
        f"The model alone is fastest with {threading} and batches of {batch}, of {len(tried)} ways "
        "that were tried.\n"
    )
    sides = {"decode": 8, "prepare": 8, threading: batch, "score": 4}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, size in sides.items():
            rates[name].append(rate(options, name, size))
    _table({name: statistics.median(every) for name, every in rates.items()}, threading)
    _whole(options)


def _table(rates: dict[str, float], model: str) -> None:
    """Print the table of files a second; `model` is the side of the bare model."""

    def bound(first: str) -> float:
        """Files a second of a side and the model on the same cores, without any loss."""
        return 1 / (1 / rates[first] + 1 / rates[model])

    print("| what | files/s (median) | scoring against it |\n|---|---|---|")
    rows = {
        "decoding and scaling, alone": rates["decode"],
        "the same with image quality and seen-before, alone": rates["prepare"],
        "the model's forward pass, alone": rates[model],
        "bound of decoding and model": bound("decode"),
        "bound with image quality and seen-before": bound("prepare"),
        "archive scoring in threads (all, with gate, calibration, journal)": rates["score"],
    }
    for name, rate in rows.items():
        ratio = f"{rates['score'] / rate:.2f}" if name.startswith("bound") else ""
        print(f"| {name} | {rate:.1f} | {ratio} |")


def rate(options: argparse.Namespace, side: str, batch: int) -> float:
    """Measure a side in a process of its own: files a second.

    `options` holds the folder `data`, the `model`, and the number of `files`.
    """
    command = [sys.executable, __file__, "--data", str(options.data), "--model", options.model]
    command += ["--files", str(options.files), "--side", side, "--batch", str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(_cores()) if side == THREADS else "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _side(options: argparse.Namespace) -> float:
    """Measure one side in this process: files a second."""
    import numpy as np

    from dermhub import load
    from dermhub.images.decode import to_rgb
    from dermhub.images.photo import Photo
    from dermhub.images.view import to_array
    from dermhub.scoring import image_folder

    classifier = load(options.model)
    spec = classifier.config.input
    folder = options.data
    every = image_folder.relative_names(folder)
    names = every[:: max(1, len(every) // options.files)][: options.files]
    count = len(names) // options.batch
    images = np.zeros((options.batch, 3, spec.size, spec.size), np.float32)

    def forward(_: int) -> None:
        classifier.engine.forward(images)

    def decode(name: str) -> None:
        to_array(to_rgb(folder / name), spec)

    def prepare(name: str) -> None:
        photo = Photo.open(folder / name)
        photo.array(spec), photo.quality, classifier.seen and photo.hashes

    def score(some: Sequence[str]) -> int:
        rows = image_folder.score_images(classifier, folder, some, options.batch, _cores())
        return sum(len(batch) for batch in rows)

    if options.side in (LANES, THREADS):
        lanes = _cores() if options.side == LANES else 1
        return float(options.batch * count / _timed(forward, range(count), lanes))
    if options.side == "decode":
        return len(names) / _timed(decode, names, _cores())
    if options.side == "prepare":
        return len(names) / _timed(prepare, names, _cores())
    score(names[: 4 * options.batch])  # warm up
    start = time.perf_counter()
    return score(names) / (time.perf_counter() - start)


def _timed(call: Callable[[Any], object], items: Sequence[Any], lanes: int) -> float:
    """Seconds that a call takes for all items, several side by side."""
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(call, items[: 4 * lanes]))  # warm up
        start = time.perf_counter()
        list(pool.map(call, items))
        return time.perf_counter() - start


def _whole(options: argparse.Namespace) -> None:
    """Score the whole folder with the command that users give; print its rate and memory."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "dermhub", "predict", "--images", str(options.data)]
        command += ["--model", options.model, "--out", str(Path(out, "scores.csv"))]
        used: list[float] = []
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                with contextlib.suppress(OSError):  # it may end meanwhile
                    used.append(process_memory("VmRSS", process.pid))
                time.sleep(0.2)
            output = process.stdout.read() if process.stdout else ""
        seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}.")
    total = int(re.search(r"([\d,]+) files", output)[1].replace(",", ""))  # type: ignore[index]
    quarters = [used[len(used) * i // 4 : len(used) * (i + 1) // 4] for i in range(4)]
    medians = ", ".join(f"{statistics.median(quarter):.0f}" for quarter in quarters)
    print(
        f"\nThe whole folder, `python -m dermhub predict --images`: {total:,} files in "
        f"{seconds:.0f} s with the start, "
    )
    print(f"{total / seconds:.1f} files/s; memory by quarter of the time (median, MB): {medians}.")


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
