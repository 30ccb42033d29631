"""The leak meter: what a split by image would report, beside the split by lesion.

    PYTHONPATH=. python benchmarks/leak.py --data HAM --init mobilenetv2_100.safetensors

trains the same linear probe, a logistic regression on the frozen features of an ImageNet backbone,
on random splits of both kinds and of one size, and prints Markdown. It takes minutes on a CPU. For
the whole recipe,

    PYTHONPATH=. python benchmarks/leak.py --data HAM --leaky FOLDER
    python train.py --task lesion --data FOLDER

first writes a folder with links to the images and a table without lesion ids, which train.py
divides by image; that model must not be published, and its card does not say that it was trained on
HAM10000's lesions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dermhub.data import partition, tables
from dermhub.errors import DermhubError
from dermhub.evaluation import metrics
from dermhub.images.view import InputSpec
from dermhub.models import backbone
from dermhub.scoring import inference
from dermhub.tasks import LESION
from dermhub.training import initial_weights

Rows = NDArray[np.int64]
Split = Callable[[pd.DataFrame, np.random.Generator], tuple[Rows, Rows]]

SHOWN = ("accuracy", "balanced_accuracy", "macro_auroc", "malignancy_auroc")
"""Figures in the table."""


def by_image(table: pd.DataFrame, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Training and test rows of a random split: the images of each class are dealt out."""
    return _deal(table, table["image_id"], rng)


def by_lesion(table: pd.DataFrame, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Training and test rows of a random split: the lesions of each class are dealt out."""
    return _deal(table, partition.canonical(table["lesion_id"]), rng)


def shipped(table: pd.DataFrame, _: np.random.Generator) -> tuple[Rows, Rows]:
    """Training and test rows of the shipped partition."""
    split = table["split"].to_numpy(str)
    return np.flatnonzero(split == "train"), np.flatnonzero(split == "test")


def _deal(table: pd.DataFrame, units: pd.Series, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Deal out units, such as lesions, at random within each class: training and test rows."""
    shares = partition.SHARES
    sides = np.full(len(table), "validation", dtype=object)
    for dx in sorted(table["dx"].unique()):
        rows = np.flatnonzero(table["dx"] == dx)
        names = units.to_numpy(str)[rows]
        place = {name: rank for rank, name in enumerate(rng.permutation(np.unique(names)))}
        # In the order of the shuffled units, so that the images of a unit stand together.
        order = rows[np.argsort([place[name] for name in names], kind="stable")]
        done = (np.arange(len(order)) + 1) / len(order)
        sides[order[done > 1 - shares["test"]]] = "test"
        sides[order[done <= shares["train"]]] = "train"
    # A unit that a border runs through goes where its first image is.
    split = pd.Series(sides, index=table.index)
    whole = split.groupby(units).transform("first").to_numpy(str)
    return np.flatnonzero(whole == "train"), np.flatnonzero(whole == "test")


@torch.inference_mode()
def features(
    paths: list[str], init: Path, name: str, size: int, workers: int
) -> NDArray[np.float32]:
    """(N, K) pooled features of a frozen backbone."""
    model = initial_weights.from_file(init, name, len(LESION.classes)).eval()
    model.to(memory_format=backbone.memory_format(name))

    def pooled(images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (N, K) of a batch of images (N, 3, H, W)."""
        features: NDArray[np.float32] = (
            backbone.features(model, torch.from_numpy(images)).mean((2, 3)).numpy()
        )
        return features

    return np.concatenate(inference.run(pooled, InputSpec(size), paths, workers))


def probe(seen: NDArray[np.float32], targets: Rows) -> Pipeline:
    """A logistic regression on 256 principal components of standardised features."""
    steps = (
        StandardScaler(),
        PCA(min(256, *seen.shape), random_state=0),
        LogisticRegression(C=0.1, max_iter=500),
    )
    return make_pipeline(*steps).fit(seen, targets)


def measure(
    values: NDArray[np.float32], table: pd.DataFrame, rows: tuple[Rows, Rows]
) -> dict[str, Any]:
    """Figures of the probe on the test rows.

    `siblings` is the share of them with a photograph of their lesion in training.
    """
    training, test = rows
    true = tables.targets(table, LESION)
    fitted = probe(values[training], true[training])
    probabilities = np.zeros((len(test), len(LESION.classes)))
    probabilities[:, fitted.classes_] = fitted.predict_proba(values[test])
    lesions = table["lesion_id"].to_numpy(str)
    figures = metrics.summarize(probabilities, true[test], LESION)
    siblings = np.isin(lesions[test], lesions[training]).mean()
    return {"n": len(test), "siblings": siblings, **{name: figures[name] for name in SHOWN}}


def write_leaky(table: pd.DataFrame, folder: Path) -> None:
    """Write a folder that train.py divides by image: links, and a table without lesion ids."""
    folder.mkdir(parents=True)
    for name, path in zip(table["image_id"], table["path"], strict=True):
        (folder / f"{name}.jpg").symlink_to(Path(path).resolve())
    table[["image_id", "dx"]].to_csv(folder / "metadata.csv", index=False)


def main() -> None:
    """Read the options, and print a row for each kind of split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of HAM10000")
    parser.add_argument(
        "--init", type=Path, help="ImageNet weights of the backbone, as safetensors"
    )
    parser.add_argument("--model", default="mobilenetv2_100", help="the backbone")
    parser.add_argument("--size", type=int, default=192, help="input in pixels")
    parser.add_argument("--seeds", type=int, default=5, help="random splits of each kind")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode")
    parser.add_argument(
        "--leaky", type=Path, metavar="FOLDER", help="write this folder, and do nothing else"
    )
    options = parser.parse_args()
    table = tables.read_table(options.data, LESION)
    if options.leaky:
        write_leaky(table, options.leaky)
        return
    if options.init is None:
        parser.error("--init is needed: the backbone's weights as a .safetensors file")
    values = features(
        list(table["path"]), options.init, options.model, options.size, options.workers
    )
    print(
        f"| split (mean of {options.seeds}) | test images | lesion also in training | "
        f"{' | '.join(SHOWN)} |"
    )
    print(f"|---|---|---|{'---|' * len(SHOWN)}")
    kinds: tuple[tuple[str, Split, int], ...] = (
        ("by image", by_image, options.seeds),
        ("by lesion", by_lesion, options.seeds),
        ("by lesion, as shipped", shipped, 1),
    )
    for name, split, repeats in kinds:
        every = [
            measure(values, table, split(table, np.random.default_rng(seed)))
            for seed in range(repeats)
        ]
        mean = {key: float(np.mean([figures[key] for figures in every])) for key in every[0]}
        cells = " | ".join(f"{mean[key]:.3f}" for key in SHOWN)
        print(f"| {name} | {mean['n']:.0f} | {mean['siblings']:.1%} | {cells} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except DermhubError as error:
        print(f"leak.py: {error}", file=sys.stderr)
        sys.exit(2)
