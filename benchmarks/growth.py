"""Growth of cost, as plots: latency by image size, images a second by batch, memory by both.

    PYTHONPATH=. python benchmarks/growth.py --out docs/figures

Writes growth_size.png and growth_batch.png and prints the same as tables. Times are medians of
interleaved rounds. For each image size a model of that size is made, with the same weights and a
graph of its own, and runs as any other does. Memory is measured in a process of its own for each
point, so that none counts for another: the most that the whole process had in use during forward
passes (VmHWM of Linux), Python, the runtime and the model included.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from running import forget_peak, machine, process_memory

SIZES = (96, 128, 160, 192, 224, 288, 384, 512)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 0.4
"""Time for which a point is measured in a round, at least three passes."""

Place = tuple[int, int]
"""(image size, batch)."""

Point = dict[str, float]
"""Milliseconds of a forward pass (`ms`), and megabytes in use (`mb`)."""


def main() -> None:
    """Print the tables and write the plots; with `--point`, measure one point instead."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="lesion")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--point", nargs=2, metavar=("FOLDER", "BATCH"), help="(used by itself)")
    options = parser.parse_args()
    if options.point:
        print(_memory_of(*options.point))
        return
    from dermhub import load

    model = load(options.model)
    usual = model.config.input.size
    sizes = [(size, 1) for size in SIZES]
    batches = [(usual, batch) for batch in BATCHES]
    with tempfile.TemporaryDirectory() as out:
        folders = {
            size: _of_size(model.folder, size, Path(out, str(size))) for size in {*SIZES, usual}
        }
        engines = {size: load(folder).engine for size, folder in folders.items()}
        points = _measure(engines, [*sizes, *batches], options.rounds)
        for (size, batch), point in points.items():
            command = [sys.executable, __file__, "--point", str(folders[size]), str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            point["mb"] = float(done.stdout)
    by_size = [(size, points[size, 1]["ms"], points[size, 1]["mb"]) for size, _ in sizes]
    by_batch = [
        (batch, 1000 * batch / points[usual, batch]["ms"], points[usual, batch]["mb"])
        for _, batch in batches
    ]
    print(f"{machine()}; {options.model}, {engines[usual].runtime}\n")
    print("| image size (batch 1) | ms | memory, MB |\n|---|---|---|")
    for size, milliseconds, megabytes in by_size:
        print(f"| {size} | {milliseconds:.1f} | {megabytes:.0f} |")
    print(f"\n| batch ({usual} pixels) | images/s | memory, MB |\n|---|---|---|")
    for batch, rate, megabytes in by_batch:
        print(f"| {batch} | {rate:.1f} | {megabytes:.0f} |")
    options.out.mkdir(parents=True, exist_ok=True)
    memory = "memory of the process, MB"
    across = "image size, pixels (batch 1)"
    plot(options.out / "growth_size.png", across, ("latency, ms", memory), by_size)
    across = f"batch ({usual} x {usual} pixels)"
    plot(options.out / "growth_batch.png", across, ("images a second", memory), by_batch)


def _measure(engines: dict[int, Any], places: list[Place], rounds: int) -> dict[Place, Point]:
    """Measure the time of a forward pass at every point, the rounds of all points interleaved."""
    taken: dict[Place, list[float]] = {place: [] for place in places}
    for _ in range(rounds):
        for place in places:
            images = _images(*place)
            engine = engines[place[0]]
            engine.forward(images)
            end = time.perf_counter() + SECONDS
            start = 0.0
            seconds: list[float] = []
            while start < end or len(seconds) < 3:
                start = time.perf_counter()
                engine.forward(images)
                seconds.append(time.perf_counter() - start)
            taken[place].append(statistics.median(seconds))
    return {place: {"ms": 1000 * statistics.median(seconds)} for place, seconds in taken.items()}


def _memory_of(folder: str, batch: str) -> float:
    """The most memory in MB that this process has in use during forward passes."""
    from dermhub import load

    engine = load(folder).engine
    images = _images(engine.config.input.size, int(batch))
    forget_peak()  # that of loading
    for _ in range(3):
        engine.forward(images)
    return process_memory("VmHWM")


def _of_size(folder: Path, size: int, to: Path) -> Path:
    """Copy a model for images of another size, without what was fitted to the usual size."""
    from dermhub import layout
    from dermhub.models.engines import select
    from dermhub.models.model_folder import ModelFolder
    from dermhub.release import sidecars

    to.mkdir()
    shutil.copy(folder / layout.WEIGHTS, to)
    config = ModelFolder(folder).config
    spec = dataclasses.replace(config.input, size=size)
    config = dataclasses.replace(config, input=spec, conformal=None, files={})
    changed = ModelFolder(to).write(config, {})
    sidecars.write(changed, config, {}, sidecars.graph(select.load_torch(changed)))
    return to


def _images(size: int, batch: int) -> Any:
    """A batch of noise, (batch, 3, size, size)."""
    import numpy as np

    return np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)


def plot(
    path: Path, across: str, up: tuple[str, str], rows: Sequence[tuple[float, float, float]]
) -> None:
    """Draw two curves over the first value of each row, with the labels `across` and `up`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, both = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    places, *values = zip(*rows, strict=True)
    for axes, label, heights in zip(both, up, values, strict=True):
        axes.plot(places, heights, "o-", color="#0b5c8a")
        axes.set(xlabel=across, ylabel=label, xscale="log", ylim=(0, 1.08 * max(heights)))
        axes.set_xticks(places, [f"{place:,g}" for place in places], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
