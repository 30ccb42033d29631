"""The cost of a class map: `explain` against a forward pass, and against pytorch-grad-cam.

    pip install grad-cam && PYTHONPATH=. python benchmarks/explain.py

grad-cam is needed here alone. `fast` is the shipped lesion model, `accurate` a tf_efficientnet_b4
with random weights at 224 pixels. All models of timm are in channels_last, as dermhub has them, and
their layer is the one whose output is pooled. The maps of both sides are compared raw, as shares of
the raw map's peak, and as both are used: scaled to [0, 1] at the input's size. Both scale them
there with their own code when they are timed, and with pytorch-grad-cam's when they are compared.
All sides take turns; a figure is the median of the rounds. Memory is that of a process of its own
for each side (/proc, Linux). About three minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from predict import jpeg, random_model
from running import machine, medians, process_memory, versions

from dermhub.arrays import Floats32
from dermhub.images import heatmap
from dermhub.images.decode import to_rgb
from dermhub.images.view import to_array
from dermhub.models.classifier import Classifier

try:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
except ImportError as error:
    raise SystemExit(
        f"This benchmark needs grad-cam, which can't be imported ({error}): pip install grad-cam."
    ) from None

FAST = "model_cards/lesion"

WARM = 100
"""Calls before memory is measured for the first time."""

CALLS = 1000
"""Calls before memory is measured for the last time."""

CALLS_IN_ROUND = {("fast", 1): 20, ("fast", 16): 3, ("accurate", 1): 5, ("accurate", 16): 1}
"""(model, batch) -> calls in a round against pytorch-grad-cam."""


def main() -> None:
    """Print the tables; with `--memory`, the memory of one side's calls instead."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--memory", choices=("dermhub", "pytorch-grad-cam"), help="(used by itself)"
    )
    options = parser.parse_args()
    if options.memory:
        print(*memory(Classifier(FAST), options.memory))
        return
    print(
        f"{machine()}, {versions('torch', 'timm', 'grad-cam')}, {torch.get_num_threads()} threads\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        models = {"fast": Classifier(FAST), "accurate": Classifier(random_model(Path(folder)))}
        plain = {name: timm_model(classifier) for name, classifier in models.items()}
    explaining(models, plain, options.rounds)
    against(models, plain, options.rounds)
    print(
        f"\nMemory of a process, MB after {WARM} calls and after {CALLS} (fast model, batch of "
        "1):\n"
    )
    print(f"| side | {WARM} | {CALLS} |\n|---|---|---|")
    for side in ("dermhub", "pytorch-grad-cam"):
        command = [sys.executable, __file__, "--memory", side]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"| {side} | {' | '.join(done.stdout.split())} |")


def explaining(
    models: dict[str, Classifier], plain: dict[str, torch.nn.Module], rounds: int
) -> None:
    """Print the table of one image: forward passes with and without a map, and whole calls."""
    print("One image of 600 x 450 pixels, milliseconds. At most 1.10 is asked for.\n")
    names = ("plain forward", "forward and map", "predict", "explain")
    print(
        f"| model | {' | '.join(names)} | forward and map / plain | explain / predict | added / "
        "plain |"
    )
    print("|---" * (len(names) + 4) + "|")
    content = jpeg((600, 450))
    for name, classifier in models.items():
        batch = to_array(to_rgb(content), classifier.config.input)[None]
        target = shown(classifier)
        seconds = medians(
            {
                "plain forward": partial(forward, plain[name], batch),
                "forward and map": partial(raw_maps, classifier, batch, target),
                "predict": partial(classifier.predict, content),
                "explain": partial(classifier.explain, content),
            },
            2 * rounds + 1,
            10 if name == "fast" else 5,
        )
        bare, mapped, predicted, explained = (seconds[side] for side in names)
        ratios = (mapped / bare, explained / predicted, 1 + (explained - predicted) / bare)
        figures = [
            *(f"{1000 * seconds[side]:.1f}" for side in names),
            *(f"{ratio:.2f}" for ratio in ratios),
        ]
        print(f"| {name} | {' | '.join(figures)} |")
    print(
        "\n`added / plain` is a plain forward pass with what `explain` adds to `predict`, against "
        "the plain one.\n"
    )


def against(models: dict[str, Classifier], plain: dict[str, torch.nn.Module], rounds: int) -> None:
    """Print the table of both sides' maps: times, and differences of the maps."""
    print(
        "Grad-CAM, milliseconds a batch, maps at the input's size. At least 3 times faster is "
        "asked for.\n"
    )
    print(
        "| model | batch | dermhub | pytorch-grad-cam | faster | raw maps differ by | scaled maps "
        "differ by |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, classifier in models.items():
        theirs = their_cam(plain[name])
        target = shown(classifier)
        for count in (1, 16):
            batch = inputs(classifier, count)
            ours = raw_maps(classifier, batch, target)
            other = their_raw_maps(theirs, batch, target)
            raw = float(np.abs(ours - other).max() / np.abs(other).max())
            size = batch.shape[-1], batch.shape[-1]
            # It scales before it enlarges a map, and again after it.
            likewise = scale_cam_image(scale_cam_image(ours, size))
            scaled = float(np.abs(likewise - their_maps(theirs, batch, target)).max())
            seconds = medians(
                {
                    "ours": partial(our_maps, classifier, batch, target),
                    "theirs": partial(their_maps, theirs, batch, target),
                },
                rounds,
                CALLS_IN_ROUND[name, count],
            )
            times = " | ".join(f"{1000 * seconds[side]:.1f}" for side in ("ours", "theirs"))
            faster = seconds["theirs"] / seconds["ours"]
            print(f"| {name} | {count} | {times} | {faster:.1f} | {raw:.0e} | {scaled:.0e} |")


def memory(classifier: Classifier, side: str) -> tuple[str, str]:
    """MB in use after the first and after all calls of one side."""
    batch = inputs(classifier, 1)
    target = shown(classifier)
    call: Callable[[], object] = partial(our_maps, classifier, batch, target)
    if side != "dermhub":
        call = partial(their_maps, their_cam(timm_model(classifier)), batch, target)
    for _ in range(WARM):
        call()
    first = f"{process_memory('VmRSS'):.1f}"
    for _ in range(CALLS - WARM):
        call()
    return first, f"{process_memory('VmRSS'):.1f}"


def forward(model: torch.nn.Module, batch: Floats32) -> object:
    """timm's own forward pass."""
    with torch.inference_mode():
        return model(torch.from_numpy(batch)).numpy()


def raw_maps(classifier: Classifier, batch: Floats32, target: int) -> Floats32:
    """dermhub's class maps (N, h, w) of the target."""
    direction = np.zeros((1, len(classifier.classes)), np.float32)
    direction[0, target] = 1
    _, features = classifier.engine.forward(batch)
    return classifier.engine.class_maps(features, direction)[:, 0]


def our_maps(classifier: Classifier, batch: Floats32, target: int) -> list[Floats32]:
    """dermhub's class maps as they are shown: N of (size, size), in [0, 1]."""
    side = batch.shape[-1]
    view = (0.0, 0.0, float(side), float(side))
    maps = raw_maps(classifier, batch, target)
    return [heatmap.to_frame(heat, (side, side), view) for heat in maps]


def their_cam(model: torch.nn.Module) -> Any:
    """pytorch-grad-cam on the layer whose output is pooled."""
    # It is the last batch norm with its activation.
    return pytorch_grad_cam.GradCAM(model, [model.get_submodule("bn2")])


def their_maps(cam: Any, batch: Floats32, target: int) -> Floats32:
    """pytorch-grad-cam's maps (N, size, size) in [0, 1] of the target."""
    maps: Floats32 = cam(torch.from_numpy(batch), [ClassifierOutputTarget(target)] * len(batch))
    return maps


def their_raw_maps(cam: Any, batch: Floats32, target: int) -> Floats32:
    """The same before they are scaled, (N, h, w)."""
    their_maps(cam, batch, target)
    kept = cam.activations_and_grads
    activations = kept.activations[0].cpu().numpy()
    gradients = kept.gradients[0].cpu().numpy()
    maps: Floats32 = np.maximum(cam.get_cam_image(None, None, None, activations, gradients), 0)
    return maps


def shown(classifier: Classifier) -> int:
    """The class with the most evidence in the first input: the map of another one may be empty."""
    _, features = classifier.engine.forward(inputs(classifier, 1))
    maps = classifier.engine.class_maps(features, np.eye(len(classifier.classes), dtype=np.float32))
    return int(maps[0].max(axis=(1, 2)).argmax())


def inputs(classifier: Classifier, count: int) -> Floats32:
    """(N, 3, size, size): N drawn lesions as the model takes them in."""
    images = [to_rgb(jpeg((600, 450), seed)) for seed in range(count)]
    return np.stack([to_array(rgb, classifier.config.input) for rgb in images])


def timm_model(classifier: Classifier) -> torch.nn.Module:
    """A model folder as timm itself loads it, in evaluation mode and dermhub's memory layout."""
    name = f"local-dir:{classifier.folder}"
    model: torch.nn.Module = timm.create_model(name, pretrained=True).eval()
    return model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
