"""The time of `predict`, from JPEG bytes to `Prediction`, against decoding plus the model.

    PYTHONPATH=. python benchmarks/predict.py

`fast` is the shipped lesion model, `accurate` a tf_efficientnet_b4 with random weights at 224
pixels, which has no gate and no list of seen images. Each reads a drawn image of 600 x 450 pixels
and a drawn photograph of 12 megapixels, saved as JPEG. The floor is Pillow's decoding plus the
engine's bare forward pass. Decoding is measured whole, and in draft mode, in which libjpeg decodes
at half, a quarter or an eighth of the size, as `predict` does it. All sides take turns; a figure is
the median of the rounds. About two minutes.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from running import machine, medians, versions

from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec, to_array
from dermhub.models import backbone, weights
from dermhub.models.classifier import Classifier
from dermhub.models.config import ModelConfig
from dermhub.tasks import LESION
from dermhub.zones import Threshold

SIZES = {(600, 450): 20, (4000, 3000): 3}
"""(width, height) of an image -> calls in a round."""

SHOWN = (
    "decoding",
    "decoding, draft",
    "forward",
    "scaling",
    "decode and measure",
    "the rest",
    "predict",
)
"""Columns of the table."""

FAST = "model_cards/lesion"
ACCURATE = "tf_efficientnet_b4"
SIZE = 224

MOST = 1.6
"""Largest accepted ratio of `predict` to the floor."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(
        f"{machine()}, {versions('torch', 'timm', 'pillow')}, {torch.get_num_threads()} threads: ",
        end="",
    )
    print(f"median milliseconds of {options.rounds} rounds; at most {MOST} is asked for.\n")
    print(
        f"| model, image | {' | '.join(SHOWN)} | predict / (decoding + forward) | predict / (draft "
        "+ forward) |"
    )
    print("|---" * (len(SHOWN) + 3) + "|")
    contents = {size: jpeg(size) for size in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        models = {"fast": Classifier(FAST), "accurate": Classifier(random_model(Path(folder)))}
    for name, classifier in models.items():
        for size, content in contents.items():
            print(
                f"| {name}, {size[0]} x {size[1]} "
                f"{row(classifier, content, options.rounds, SIZES[size])} |"
            )
    print(
        "\n`decode and measure` is decoding, scaling, image quality and seen-before; `the rest` is "
        "gate, calibration and sets."
    )


def row(classifier: Classifier, content: bytes, rounds: int, calls: int) -> str:
    """The figures of one model and one image."""
    spec = classifier.config.input
    rgb = to_rgb(content)
    photo = Photo.open(content)
    seconds = medians(
        {
            "decoding": partial(decoded, content),
            "decoding, draft": partial(decoded, content, spec.size),
            "forward": partial(classifier.engine.forward, photo.array(spec)[None]),
            "scaling": partial(to_array, rgb, spec),
            "measured": partial(classifier.predict, photo),
            "predict": partial(classifier.predict, content),
        },
        rounds,
        calls,
    )
    # A photo keeps its measurements: "measured" makes none after the first call.
    seconds["decode and measure"] = seconds["predict"] - seconds["measured"]
    seconds["the rest"] = seconds["measured"] - seconds["forward"]
    floors = [seconds[kind] + seconds["forward"] for kind in ("decoding", "decoding, draft")]
    figures = [f"{1000 * seconds[name]:.1f}" for name in SHOWN]
    figures += [f"{seconds['predict'] / floor:.2f}" for floor in floors]
    return "| " + " | ".join(figures)


def random_model(folder: Path) -> Path:
    """A folder with the accurate backbone and random weights."""
    torch.manual_seed(0)
    config = ModelConfig(
        ACCURATE, LESION, InputSpec(SIZE), thresholds={"half": Threshold(0.5, "none")}
    )
    weights.save(folder, backbone.build(ACCURATE, len(LESION.classes)), config)
    return folder


def jpeg(size: tuple[int, int], seed: int = 1) -> bytes:
    """A drawn lesion of that (width, height), as the bytes of a JPEG."""
    stream = io.BytesIO()
    draw(seed, size).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def decoded(content: bytes, short: int = 0) -> Image.Image:
    """The image of a JPEG; with `short`, decoded to the least size whose sides reach it."""
    image = Image.open(io.BytesIO(content))
    if short:
        image.draft("RGB", (short, short))
    image.load()
    return image


if __name__ == "__main__":
    main()
