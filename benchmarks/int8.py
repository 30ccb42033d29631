"""Static quantisation of the exported model to 8 bits with ONNX Runtime: is it worth shipping?

    PYTHONPATH=. python benchmarks/int8.py --data HAM [--model model_cards/lesion]

Weights are quantised per channel and activations per tensor in QDQ form (Jacob et al. 2018), with
ranges from evenly spaced validation images. Prints, as Markdown, balanced accuracy on validation
and the median milliseconds of one image, for fp32 and for 8 bits of the same file, the share of
images whose most probable class is another one, and whether both conditions hold: balanced accuracy
within half a point, up or down, and at least 1.5 times faster. Nothing is written.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from engines import Floats, Side, measure
from running import machine

from dermhub.data import tables
from dermhub.evaluation import metrics
from dermhub.images.decode import to_rgb
from dermhub.images.view import to_array
from dermhub.layout import GRAPH
from dermhub.models import export, prediction
from dermhub.models.classifier import Classifier
from dermhub.models.engines import graph_metadata, onnx_runtime

APART = 0.005
"""Largest accepted change of balanced accuracy."""

FASTER = 1.5
"""Least accepted gain of speed."""

BATCH = 32

RANGES = (("MinMax", 64), ("MinMax", 128), ("Percentile", 128))
"""Methods to find ranges, and numbers of images: two show how much depends on that number."""


class Images:
    """Feed of single images for ONNX Runtime (its CalibrationDataReader)."""

    def __init__(self, images: Floats) -> None:
        self.rest = iter(images)

    def get_next(self) -> dict[str, Floats] | None:
        """The next image as a batch, or None after the last."""
        image = next(self.rest, None)
        return None if image is None else {graph_metadata.INPUT: image[None]}


def quantise(exported: Path, to: Path, images: Floats, method: str) -> None:
    """Write an exported model in 8 bits.

    Ranges are those of the smallest and largest value, or of the percentile 99.99.
    """
    # It advises to preprocess, which is done here.
    logging.disable(logging.WARNING)
    # Before its parts are imported, because this switches telemetry off.
    onnx_runtime.module("The benchmark")
    tools = importlib.import_module("onnxruntime.quantization")
    prepared = to.with_name("prepared.onnx")
    shapes = importlib.import_module("onnxruntime.quantization.shape_inference")
    shapes.quant_pre_process(exported, prepared)
    tools.quantize_static(
        prepared,
        to,
        Images(images),
        quant_format=tools.QuantFormat.QDQ,
        per_channel=True,
        activation_type=tools.QuantType.QUInt8,
        weight_type=tools.QuantType.QInt8,
        calibrate_method=tools.CalibrationMethod[method],
        extra_options={"CalibPercentile": 99.99} if method == "Percentile" else {},
    )


def session(path: Path) -> Side:
    """An ONNX file in ONNX Runtime on all cores: images (N, 3, H, W) -> logits (N, C)."""
    runtime = onnx_runtime.module("The benchmark")
    model = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Floats) -> Floats:
        """Compute the logits."""
        return np.asarray(model.run([graph_metadata.LOGITS], {graph_metadata.INPUT: images})[0])

    return run


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("model_cards/lesion"))
    options = parser.parse_args()
    saved = Classifier(options.model)
    table = tables.read_table(options.data, saved.config.task)
    part = table[table["split"] == "validation"]
    start = time.perf_counter()
    images = np.stack([to_array(to_rgb(path), saved.config.input) for path in part["path"]])
    with tempfile.TemporaryDirectory() as folder:
        export.export(saved, Path(folder, "fp32"))
        exported = Path(folder, "fp32", GRAPH)
        engines = {"fp32": session(exported)}
        for method, count in RANGES:
            some = images[:: max(1, len(images) // count)][:count]
            written = Path(folder, f"{method}-{count}.onnx")
            quantise(exported, written, some, method)
            engines[f"8 bits, {method} of {len(some)} images"] = session(written)
    report(engines, saved, images, tables.targets(part, saved.config.task))
    print(f"\n{time.perf_counter() - start:.0f} s in all.")


def report(engines: dict[str, Side], saved: Classifier, images: Floats, truth: Any) -> None:
    """Print the table, and whether both conditions hold."""
    times = {
        name: float(np.median(rounds)) for name, rounds in measure(engines, images[:1]).items()
    }
    print(f"{machine()}; {saved.name}, {len(images)} validation images\n")
    print(
        "| | balanced accuracy | AUROC of malignancy | another class | ms | times faster | both "
        "hold |"
    )
    print("|---|---|---|---|---|---|---|")
    logits = {name: _in_batches(run, images) for name, run in engines.items()}
    classes = {name: values.argmax(axis=1) for name, values in logits.items()}
    figures = {
        name: metrics.summarize(
            prediction.calibrated(values, saved.config), truth, saved.config.task
        )
        for name, values in logits.items()
    }
    for name in engines:
        accuracy = figures[name]["balanced_accuracy"]
        apart = accuracy - figures["fp32"]["balanced_accuracy"]
        faster = times["fp32"] / times[name]
        others = (classes[name] != classes["fp32"]).mean()
        both = "yes" if abs(apart) <= APART and faster >= FASTER else "no"
        print(
            f"| {name} | {accuracy:.3f} ({apart:+.3f}) | {figures[name]['malignancy_auroc']:.3f} | "
            f"{others:.1%} | {times[name]:.1f} | {faster:.2f} | {'' if name == 'fp32' else both} |",
            flush=True,
        )


def _in_batches(run: Side, images: Floats) -> Floats:
    """The logits (N, C) of images (N, 3, H, W), a batch at a time."""
    starts = range(0, len(images), BATCH)
    return np.concatenate([run(images[start : start + BATCH]) for start in starts])


if __name__ == "__main__":
    main()
