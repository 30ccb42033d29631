"""The time of one image in each engine on the CPU, with the same weights in all of them.

    PYTHONPATH=. python benchmarks/engines.py [--models FOLDER ...]
        [--scale tf_efficientnet_b4] [--no-compile]

Prints, as Markdown, for each model the median milliseconds of a forward pass of one image (logits
and feature maps) over interleaved rounds, against timm as it is and against the fastest, the
largest difference of a probability from timm's in fp32, and the share that is reached of the
machine's matrix-multiply peak in fp32 (of the peak in bf16 for what computes in it); then where the
time goes. OpenVINO is measured where it is installed (`pip install openvino`), `torch.compile`
where there is a C++ compiler (not for the model of --scale, which would take it minutes).
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peak
import torch
from numpy.typing import NDArray
from running import machine

from dermhub.images.view import InputSpec
from dermhub.layout import GRAPH
from dermhub.models import backbone, export, prediction, weights
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.models.engines import fused, graph_metadata, select
from dermhub.tasks import LESION
from dermhub.zones import Threshold

ROUNDS = 9
"""Rounds of each engine."""

SECONDS = 0.25
"""Least time of a round."""

DEFAULT = "dermhub (default)"
ON_TORCH = "dermhub on PyTorch"
EXPORT = "ONNX Runtime (dermhub's export)"

Floats = NDArray[np.float32]
Side = Callable[[Floats], Floats]
"""Images (N, 3, H, W) -> logits (N, C)."""


def by_torch(model: torch.nn.Module, layout: torch.memory_format) -> Side:
    """A torch module as it is, in a memory layout."""
    model = copy.deepcopy(model).to(memory_format=layout)

    def run(images: Floats) -> Floats:
        """Compute the logits."""
        batch = torch.from_numpy(images).contiguous(memory_format=layout)
        with torch.inference_mode():
            logits: Floats = model(batch).numpy()
            return logits

    return run


def by_compiler(model: torch.nn.Module, images: Floats) -> tuple[Side | None, str]:
    """`torch.compile` with inductor, compiled anew; None without a compiler. And a note."""
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        return None, "no C++ compiler"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        run = by_torch(torch.compile(model), torch.channels_last)  # type: ignore[arg-type]
        run(images)
    return run, f"{time.perf_counter() - start:.0f} s to compile"


def by_openvino(exported: Path, precision: str) -> Side:
    """OpenVINO on an exported model, for the latency of one answer."""
    core = importlib.import_module("openvino").Core()
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    hints["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
    model: Any = core.compile_model(core.read_model(str(exported / GRAPH)), "CPU", hints)
    return lambda images: np.asarray(model(images)[graph_metadata.LOGITS])


def sides(
    saved: Classifier, exported: Path, images: Floats, compiled: bool
) -> tuple[dict[str, Side], list[str]]:
    """Every engine that this machine can run, and a line for each that it can't."""
    model = saved.model
    folded = fused.fold(model, saved.config.input.size, pack=False)
    notes = []
    engines: dict[str, Side] = {
        "timm, eager": by_torch(model, torch.contiguous_format),
        "timm, eager, channels_last": by_torch(model, torch.channels_last),
        "the same, batch norms folded": by_torch(folded, torch.channels_last),
        DEFAULT: lambda images: saved.engine.forward(images)[0],
    }
    if saved.engine.runtime != "PyTorch":
        other = Classifier(saved.folder, runtime="torch").engine
        engines[ON_TORCH] = lambda images: other.forward(images)[0]
    runtime = Classifier(exported).engine
    engines[EXPORT] = lambda images: runtime.forward(images)[0]
    if importlib.util.find_spec("openvino"):
        engines |= {f"OpenVINO {name}": by_openvino(exported, name) for name in ("f32", "bf16")}
    else:
        notes.append("OpenVINO is not installed.")
    run, note = by_compiler(model, images) if compiled else (None, "left out")
    notes.append(f"torch.compile: {note}.")
    if run:
        engines["torch.compile (inductor)"] = run
    return engines, notes


def measure(engines: dict[str, Side], images: Floats) -> dict[str, list[float]]:
    """Milliseconds of a forward pass in each round, the rounds of all engines interleaved."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, run in engines.items():
            # The threads of another runtime spin for a while.
            time.sleep(0.05)
            run(images)
            calls = 0
            start = time.perf_counter()
            while (passed := time.perf_counter() - start) < SECONDS or calls < 3:
                run(images)
                calls += 1
            times[name].append(1000 * passed / calls)
    return times


def table(saved: Classifier, compiled: bool, best: float, half: float) -> None:
    """Measure a model and print its table; `best` and `half` are the peaks in fp32 and bf16."""
    size = saved.config.input.size
    images = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
    work = peak.macs(saved.model, size)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, "exported")
        export.export(saved, exported)
        engines, notes = sides(saved, exported, images, compiled)
        of_graph = peak.profile_graph(exported / GRAPH, images)
    answers = {
        name: prediction.calibrated(run(images), saved.config) for name, run in engines.items()
    }
    medians = {name: float(np.median(rounds)) for name, rounds in measure(engines, images).items()}
    eager = medians["timm, eager"]
    fastest = min(medians.values())
    print(
        f"\n{saved.name}: {saved.config.architecture}, {size} px, {work / 1e6:,.0f} million "
        "multiply-accumulates\n"
    )
    print(
        "| engine | ms | times faster than eager | of the fastest | probabilities differ by | "
        "share of the peak |"
    )
    print("|---|---|---|---|---|---|")
    for name, value in medians.items():
        apart = np.abs(answers[name] - answers["timm, eager"]).max()
        reached = work / value / 1e6 / (half if "bf16" in name else best)
        print(
            f"| {name} | {value:.1f} | {eager / value:.2f} | {value / fastest:.2f} | {apart:.0e} | "
            f"{reached:.0%} |",
            flush=True,
        )
    print(f"\n{' '.join(notes)}\n\n| time in % | {' | '.join(peak.KINDS)} |")
    print(f"|---|{'---|' * len(peak.KINDS)}")
    ours = ON_TORCH if ON_TORCH in engines else DEFAULT
    for name in ("timm, eager", "timm, eager, channels_last", ours):
        milliseconds = peak.profile(functools.partial(engines[name], images))
        print(f"| {name} | {peak.shares(milliseconds)} |", flush=True)
    print(f"| {EXPORT} | {peak.shares(of_graph)} |", flush=True)


def of_scale(architecture: str, folder: Path) -> Classifier:
    """A model of another architecture at its own image size, with random weights."""
    torch.manual_seed(0)
    model = backbone.build(architecture, len(LESION.classes)).eval()
    size = int(model.default_cfg["input_size"][-1])  # type: ignore[index]
    point = Threshold(value=0.5, aim="none", split="validation")
    config = ModelConfig(architecture, LESION, InputSpec(size=size), 1.0, {"none": point}, {})
    saved = weights.save(folder, model, config)
    made = export.graph(select.load_torch(saved))
    if made is not None:
        saved.write(saved.config, {GRAPH: made.content})
    return Classifier(folder, "random weights")


def main() -> None:
    """Read the options, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="*", default=[Path("model_cards/lesion")])
    parser.add_argument("--scale", default="tf_efficientnet_b4")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    best = peak.multiply_peak(torch.float32)
    half = peak.multiply_peak(torch.bfloat16)
    print(
        f"{machine()}, PyTorch {torch.__version__}, {threads} threads. Medians of {ROUNDS} "
        "interleaved rounds."
    )
    print(
        f"The peak: {best:.0f} billion multiply-accumulates a second in fp32, {half:.0f} in bf16."
    )
    for path in options.models:
        table(Classifier(path), options.compiled, best, half)
    with tempfile.TemporaryDirectory() as folder:
        table(of_scale(options.scale, Path(folder)), False, best, half)


if __name__ == "__main__":
    main()
