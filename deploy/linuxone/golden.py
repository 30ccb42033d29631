"""The golden answers of one machine; prove.sh compares those of x86-64 and of s390x.

python golden.py draw DIR [MODEL ...]
    Draw the images and the tiny training set, and export the models (once, on
    x86-64, so that both machines read the same files).
python golden.py answer DIR OUT [MODEL ...]
    Each model on every image, and one epoch of training.
python golden.py onnx DIR OUT
    The exports on every image by ONNX Runtime, without PyTorch.

MODEL is the name of a shipped model; all of them where none is named. Answers go into OUT. Numbers
are written as little-endian float32 or as JSON, so that either machine reads the other's.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dermhub.images.drawn_lesions import draw

if TYPE_CHECKING:
    from dermhub import Classifier

IMAGES = {
    "frame.jpg": (20, 0.0, (600, 450)),
    "small.png": (17, 0.5, (200, 150)),
    "turned.jpg": (22, 1.0, (300, 400)),
}
"""Golden image -> seed, darkness and (width, height).

They need both decoders, and one of them is turned upright by its EXIF.
"""

LARGE = 20_000_000
"""Bytes of weights above which an image takes minutes under emulation, and one has to do."""

DARKNESS = {"akiec": 0.5, "bcc": 0.6, "bkl": 0.3, "df": 0.2, "mel": 1.0, "nv": 0.0, "vasc": 0.8}
"""Diagnosis -> darkness of the drawn lesions of the tiny training set."""

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "pandas", "safetensors", "gradio")


def little(values: NDArray[Any]) -> NDArray[np.float32]:
    """float32 in little-endian order, whatever the machine's own is."""
    return np.ascontiguousarray(values, "<f4")


def digest(content: bytes) -> str:
    """sha256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def draw_all(folder: Path) -> None:
    """Draw the golden images, and a training set of 42 lesions in the layout of HAM10000."""
    (folder / "tiny").mkdir(parents=True)
    for name, (seed, darkness, size) in IMAGES.items():
        image = draw(seed, size, darkness)
        exif = image.getexif()
        if name.startswith("turned"):
            exif[0x0112] = 6  # EXIF orientation: a quarter turn
        image.save(folder / name, exif=exif)
    with (folder / "tiny" / "tiny_metadata.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["lesion_id", "image_id", "dx"])
        for number, (dx, _) in enumerate((dx, n) for dx in DARKNESS for n in range(6)):
            draw(10 * number, (48, 40), DARKNESS[dx]).save(folder / "tiny" / f"T{number:02d}.jpg")
            table.writerow([f"L{number:02d}", f"T{number:02d}", dx])


def machine() -> dict[str, str]:
    """The machine and the libraries that made the answers."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "machine": platform.machine(),
        "byte order": sys.byteorder,
        "Python": platform.python_version(),
        **versions,
    }


def chosen(names: list[str]) -> dict[str, Path]:
    """The shipped models of these names, all of them where there are none. Raises KeyError."""
    import dermhub

    shipped = dermhub.shipped()
    return {name: shipped[name] for name in names or shipped}


def answer(images: Path, out: Path, names: list[str]) -> dict[str, Any]:
    """The hashes of each chosen model's files, and its answers on the golden images.

    Class maps go to `out` as .npy.
    """
    import dermhub
    from dermhub.images.decode import to_rgb
    from dermhub.images.view import to_array

    models: dict[str, Any] = {}
    for name, folder in chosen(names).items():
        model = dermhub.load(folder, runtime="torch")
        files = {
            path.relative_to(folder).as_posix(): digest(path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file()
        }
        models[name] = {"files": files, "meaning": meaning(model), "images": {}}
        for image in asked(folder / "model.safetensors"):
            rgb = to_rgb(images / image)
            models[name]["images"][image] = {
                "tensor": digest(little(to_array(rgb, model.config.input)).tobytes()),
                "logits": model.logits([rgb])[0].tolist(),
                **explained(model, images / image, out / f"{name}-{image}.npy"),
            }
    return models


def asked(weights: Path) -> list[str]:
    """The golden images for the model with these weights: one for a large model, else all."""
    images = list(IMAGES)
    return images[:1] if weights.stat().st_size > LARGE else images


def meaning(model: Classifier) -> str:
    """The hash of a model's configuration without the graph, which not every folder has."""
    from dermhub.layout import GRAPH

    others = {name: stated for name, stated in model.config.files.items() if name != GRAPH}
    return digest(json.dumps(dataclasses.replace(model.config, files=others).to_json()).encode())


def explained(model: Classifier, image: Path, maps: Path) -> dict[str, Any]:
    """A prediction as JSON; the heat maps of all classes go to a file."""
    every = model.explain_all(image)
    first = next(iter(every.values())).prediction
    np.save(maps, little(np.stack([explanation.heatmap for explanation in every.values()])))
    print(
        f"{model.name} {image.name}: {first.label} {first.probabilities[first.label]:.6f}",
        flush=True,
    )
    return {
        "probabilities": list(first.probabilities.values()),
        "label": first.label,
        "malignant": first.malignant,
        "sets and concerns": [
            list(first.conformal),
            first.abstention,
            [concern.code for concern in first.concerns],
        ],
    }


def export_all(folder: Path, names: list[str]) -> None:
    """Export each chosen model, a folder with its graph."""
    import dermhub
    from dermhub.models.export import export

    for name, model in chosen(names).items():
        export(dermhub.load(model), folder / f"{name}.onnx")


def answer_onnx(images: Path, out: Path) -> dict[str, Any]:
    """The answers of the exports, and the version of ONNX Runtime.

    Raises SystemExit where PyTorch, timm, pandas or safetensors were imported.
    """
    import dermhub
    from dermhub.models.engines import onnx_runtime

    models: dict[str, Any] = {}
    for path in sorted(images.glob("*.onnx")):
        model = dermhub.load(path)
        answers = {
            image: explained(model, images / image, out / f"{path.name}-{image}.npy")
            for image in asked(path / "model.onnx")
        }
        models[path.stem] = {"meaning": meaning(model), "images": answers}
    if used := {"torch", "timm", "pandas", "safetensors"} & sys.modules.keys():
        raise SystemExit(f"golden.py: the ONNX models imported {', '.join(used)}.")
    return {"version": onnx_runtime.version(), "models": models}


def train(images: Path, out: Path) -> dict[str, Any]:
    """Train for an epoch in float32, without worker processes and dropout.

    Dropout is off because PyTorch draws its masks from another generator where it is built with
    MKL.
    """
    import torch

    from dermhub.data import tables
    from dermhub.images.view import InputSpec
    from dermhub.models import backbone
    from dermhub.tasks import LESION
    from dermhub.training.config import TrainConfig
    from dermhub.training.fit import Fit

    config = TrainConfig(
        model="test_resnet",
        init="scratch",
        epochs=1,
        batch_size=8,
        size=48,
        train_size=32,
        dropout=0.0,
        workers=0,
    )
    torch.manual_seed(config.seed)
    model = backbone.build(config.model, len(LESION.classes), config.dropout)
    table = tables.read_table(images / "tiny", LESION)
    fit = Fit(model, table, config, InputSpec(config.size), out)
    # Not every machine has bfloat16.
    fit.bf16 = False
    fit.run()
    return {
        "loss": fit.history[0]["train_loss"],
        "validation": fit.history[0]["validation_nll"],
        "steps": fit.steps,
    }


def main() -> int:
    """Draw, or answer."""
    images = Path(sys.argv[2])
    if sys.argv[1] == "draw":
        draw_all(images)
        export_all(images, sys.argv[3:])
        return 0
    out = Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "onnx":
        (out / "onnx.json").write_text(json.dumps(answer_onnx(images, out), indent=1))
        return 0
    import torch

    torch.set_num_threads(1)
    models = answer(images, out, sys.argv[4:])
    content = {"machine": machine(), "models": models, "epoch": train(images, out)}
    (out / "answers.json").write_text(json.dumps(content, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
