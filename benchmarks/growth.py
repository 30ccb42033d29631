"""How cost grows: latency against image size, images a second against batch, and memory against
both, as plots.

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
"""How long a point is measured in a round, at least three passes."""

Place = tuple[int, int]
Point = dict[str, float]


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
    own = model.config.input.size
    sizes, batches = [(size, 1) for size in SIZES], [(own, batch) for batch in BATCHES]
    with tempfile.TemporaryDirectory() as out:
        folders = {
            size: _of_size(model.folder, size, Path(out, str(size))) for size in {*SIZES, own}
        }
        engines = {size: load(folder).engine for size, folder in folders.items()}
        points = _measure(engines, [*sizes, *batches], options.rounds)
        for (size, batch), found in points.items():
            command = [sys.executable, __file__, "--point", str(folders[size]), str(batch)]
            found["mb"] = float(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout
            )
    print(f"{machine()}; {options.model}, {engines[own].runtime}\n")
    print("| image size (batch 1) | ms | memory, MB |\n|---|---|---|")
    for place in sizes:
        print(f"| {place[0]} | {points[place]['ms']:.1f} | {points[place]['mb']:.0f} |")
    print(f"\n| batch ({own} pixels) | images/s | memory, MB |\n|---|---|---|")
    for place in batches:
        print(
            f"| {place[1]} | {1000 * place[1] / points[place]['ms']:.1f} | "
            f"{points[place]['mb']:.0f} |"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    by_size = [(place[0], points[place]["ms"], points[place]["mb"]) for place in sizes]
    by_batch = [
        (place[1], 1000 * place[1] / points[place]["ms"], points[place]["mb"]) for place in batches
    ]
    _plot(options.out / "growth_size.png", "image size, pixels (batch 1)", "latency, ms", by_size)
    _plot(
        options.out / "growth_batch.png",
        f"batch ({own} x {own} pixels)",
        "images a second",
        by_batch,
    )


def _measure(engines: dict[int, Any], places: list[Place], rounds: int) -> dict[Place, Point]:
    taken: dict[Place, list[float]] = {place: [] for place in places}
    for _ in range(rounds):
        for place in places:
            images, engine = _images(*place), engines[place[0]]
            engine.forward(images)
            end, start = time.perf_counter() + SECONDS, 0.0
            seconds: list[float] = []
            while start < end or len(seconds) < 3:
                start = time.perf_counter()
                engine.forward(images)
                seconds.append(time.perf_counter() - start)
            taken[place].append(statistics.median(seconds))
    return {place: {"ms": 1000 * statistics.median(found)} for place, found in taken.items()}


def _memory_of(folder: str, batch: str) -> float:
    from dermhub import load

    engine = load(folder).engine
    images = _images(engine.config.input.size, int(batch))
    forget_peak()  # of loading
    for _ in range(3):
        engine.forward(images)
    return process_memory("VmHWM")


def _of_size(folder: Path, size: int, to: Path) -> Path:
    """A copy of a model that takes images of another size, without what was fitted to the first
    one.
    """
    from dermhub import layout
    from dermhub.models.engines import select
    from dermhub.models.folder import ModelFolder
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
    import numpy as np

    return np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)


def _plot(path: Path, across: str, up: str, points: Sequence[tuple[float, float, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    places = [point[0] for point in points]
    for axes, values, label in ((left, 1, up), (right, 2, "memory of the process, MB")):
        axes.plot(places, [point[values] for point in points], "o-", color="#0b5c8a")
        axes.set(
            xlabel=across,
            ylabel=label,
            xscale="log",
            ylim=(0, 1.08 * max(point[values] for point in points)),
        )
        axes.set_xticks(places, [f"{place:g}" for place in places], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
