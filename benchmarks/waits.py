"""What people wait for, beside the least that decoding and the models alone take.

    PYTHONPATH=. python benchmarks/waits.py --data HAM [--rounds 9] [--archive-rounds 3]

Prints one table. A bound and what is measured against it take turns; a figure is the median of the
rounds, and the ratio that of their medians.

- predict: from the bytes of a drawn JPEG to a `Prediction`; the bound is Pillow's decoding of all
  pixels and the engine's bare forward pass.
- the page: from the bytes of an upload to the HTML of the answer with all maps, decoded in the
  process that the server keeps for it; the bound is one decoding and a forward pass of each model.
- archive: files a second of `python -m dermhub predict --images` over the whole folder, its start
  included, as one command, and as two side by side with `--shard`; the bound is that of
  `archive.py`, decoding with scaling and the model's forward pass, each at its best, without any
  loss between them.

`engines.py` measures other engines, and `training.py` an epoch against
bare steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import archive
from predict import decoded, jpeg
from running import ROOT, machine, medians, versions

from demo.decode_limits import Limits
from demo.decoding import DecodingProcesses
from demo.models import Pair
from demo.page import answer
from demo.reading import read
from dermhub import load
from dermhub.images.photo import Photo

SIZES = {(600, 450): (20, 1.6), (4000, 3000): (3, 1.25)}
"""(width, height) of an image -> calls in a round, and the largest ratio that is asked for."""

PAGE = 2.0
"""Largest ratio that is asked for of the page."""

ARCHIVE = {1: 0.85, 2: 0.95}
"""Number of commands side by side -> least share of the bound that is asked for."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with images; without it, no archive")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--archive-rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}, {versions('numpy', 'pillow', 'onnxruntime')}\n")
    print("| what | measured | bound | ratio | asked for |\n|---|---|---|---|---|")
    for size, (calls, most) in SIZES.items():
        print(_predict(size, options.rounds, calls, most), flush=True)
    print(_page((600, 450), options.rounds), flush=True)
    if options.data:
        for line in _archives(options.data, options.archive_rounds):
            print(line, flush=True)


def _predict(size: tuple[int, int], rounds: int, calls: int, most: float) -> str:
    """Return the row of `predict` for an image of that (width, height)."""
    model = load("lesion")
    content = jpeg(size)
    batch = Photo.open(content).array(model.config.input)[None].copy()

    def bound() -> None:
        decoded(content)
        model.engine.forward(batch)

    def predict() -> None:
        model.predict(content)

    seconds = medians({"bound": bound, "predict": predict}, rounds, calls)
    name = f"`predict` from the bytes of a JPEG of {size[0]} x {size[1]}"
    return _row(name, 1000 * seconds["predict"], 1000 * seconds["bound"], "ms", f"at most {most}")


def _page(size: tuple[int, int], rounds: int) -> str:
    """Return the row of the page's answer."""
    pair = Pair(load("binary"), load("lesion"))
    content = jpeg(size)
    batch = Photo.open(content).array(pair.lesion.config.input)[None].copy()
    processes = DecodingProcesses(Limits())

    def bound() -> None:
        decoded(content)
        for model in (pair.binary, pair.lesion):
            model.engine.forward(batch)

    def page() -> None:
        reading = read(pair, processes.decode(content, pair.inputs))
        answer.answer(reading, pair.track_record, "fast")

    try:
        seconds = medians({"bound": bound, "page": page}, rounds, 10)
    finally:
        processes.close()
    name = f"the page's answer to both tasks with maps, {size[0]} x {size[1]}"
    return _row(name, 1000 * seconds["page"], 1000 * seconds["bound"], "ms", f"at most {PAGE}")


def _archives(data: Path, rounds: int) -> list[str]:
    """Return the rows of an archive, as one command and as two shards."""
    options = argparse.Namespace(data=data, model="lesion", files=768)
    ways = [(way, batch) for way in (archive.LANES, archive.THREADS) for batch in (1, 4, 8)]
    tried = {way: archive.rate(options, *way) for way in ways}
    way, batch = max(tried, key=lambda each: tried[each])
    bounds = []
    rates: dict[int, list[float]] = {number: [] for number in ARCHIVE}
    for _ in range(rounds):
        decoding, model = archive.rate(options, "decode", 8), archive.rate(options, way, batch)
        bounds.append(1 / (1 / decoding + 1 / model))
        for number in ARCHIVE:
            rates[number].append(_scored(data, number))
    bound = statistics.median(bounds)
    names = {1: "archive, one command", 2: "archive, two commands with `--shard`"}
    return [
        _row(names[number], statistics.median(rates[number]), bound, "files/s", f"at least {least}")
        for number, least in ARCHIVE.items()
    ]


def _scored(data: Path, number: int) -> float:
    """Score a folder by so many commands side by side: files a second, with their start."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "dermhub", "predict", "--images", str(data)]
        cores = len(os.sched_getaffinity(0))
        start = time.perf_counter()
        running = [
            subprocess.Popen(
                [
                    *(*command, "--shard", f"{shard}/{number}"),
                    *("--out", str(Path(out, f"{shard}.csv"))),
                    *("--workers", str(max(cores // number, 1))),
                ],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
            )
            for shard in range(1, number + 1)
        ]
        if any(process.wait() for process in running):
            raise SystemExit("waits.py: predict --images failed.")
        seconds = time.perf_counter() - start
        rows = sum(
            Path(out, f"{shard}.csv").read_bytes().count(b"\n") - 1
            for shard in range(1, number + 1)
        )
    return rows / seconds


def _row(name: str, measured: float, bound: float, unit: str, asked: str) -> str:
    return (
        f"| {name} | {measured:.1f} {unit} | {bound:.1f} {unit} | {measured / bound:.2f} | "
        f"{asked} |"
    )


if __name__ == "__main__":
    main()
