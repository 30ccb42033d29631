"""Probe: does a model tell the sources of images apart, and does it take one for malignancy?

    PYTHONPATH=. python benchmarks/source_probe.py model_cards/lesion --data HAM --extra MORE

Sources are HAM10000 and the collections of the further images (`dermhub.data.additions`). Prints as
Markdown:

- How well a logistic regression tells the sources by the features before the last layer: AUROC of
  each pair of sources, on lesions that it was not fitted on. Both have equally many images of each
  diagnosis, so that the diagnosis tells nothing. 0.5 is chance.
- The AUROC of malignancy in each source, of HAM10000 on validation, with 95 % intervals from
  resampled lesions. It says something of a model only where it was not trained on these images.
- The share of HAM10000's validation nevi that are called malignant, as they are and with the dark
  surround of a collection (--surround): its median light at each distance from the centre, of the
  tenth of its images with the darkest corners. A model that takes the surround for melanoma calls
  more of them.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermhub.arrays import Floats32, Floats64
from dermhub.data import additions, partition, tables
from dermhub.data.sources import formats, labels
from dermhub.evaluation import metrics
from dermhub.evaluation.bootstrap import Resamples, bounds
from dermhub.images.decode import to_rgb
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.tasks import BINARY, LESION, LESION_NAMES

OWN = "HAM10000"
"""Name of the source of --data."""

FEWEST = 40
"""Images of a source that a probe or an AUROC rests on at least."""

RINGS = 48
"""Rings around the centre in which light is measured; the corner is at 1.41 half short sides."""

BATCH = 32


def read(data: Path, extra: str) -> pd.DataFrame:
    """Read the images with the columns source, split and malignant; further ones are training."""
    own = tables.read_table(data, LESION).assign(source=OWN)
    parts = [own.assign(malignant=tables.targets(own, BINARY) == 1)]
    for folder in additions.folders(extra):
        table = tables.read_folder(folder)
        names = table.get(formats.COLLECTION, pd.Series(folder.name, index=table.index))
        stated = labels.for_task(table, BINARY)["dx"]
        malignant = np.array([BINARY.index_of(dx) == 1 for dx in stated])
        parts.append(table.assign(source=names, malignant=malignant, split="train"))
    return pd.concat(parts, ignore_index=True)


def paired(table: pd.DataFrame, first: str, second: str, most: int) -> pd.DataFrame:
    """Draw equally many images of each diagnosis from two sources, at most `most` of a source."""
    trained = table[(table["split"] == "train") & table["dx"].isin(LESION_NAMES)]
    drawn = []
    for dx, rows in trained.groupby("dx"):
        sides = [rows[rows["source"] == source] for source in (first, second)]
        count = min(len(sides[0]), len(sides[1]), most // 2)
        drawn += [side.sample(count, random_state=len(str(dx))) for side in sides]
    return pd.concat(drawn)


def features(classifier: Classifier, rows: pd.DataFrame, known: dict[str, Floats32]) -> Floats32:
    """Compute the features (N, D) of images; those in `known`, by path, are kept for later."""
    new = [path for path in dict.fromkeys(rows["path"]) if path not in known]
    known |= dict(zip(new, classifier.embed(iter(new), batch=BATCH), strict=True))
    return np.stack([known[path] for path in rows["path"]])


def probe(classifier: Classifier, table: pd.DataFrame, most: int) -> None:
    """Print the AUROC by which each pair of sources is told apart."""
    print("| sources | images | told apart by the features, AUROC |\n|---|---|---|")
    known: dict[str, Floats32] = {}
    for first, second in itertools.combinations(dict.fromkeys(table["source"]), 2):
        rows = paired(table, first, second, most)
        if len(rows) < FEWEST:
            continue
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        is_second = (rows["source"] == second).to_numpy(bool)
        chances = cross_val_predict(
            regression,
            features(classifier, rows, known),
            is_second,
            groups=partition.canonical(rows["lesion_id"]),
            cv=GroupKFold(5),
            method="predict_proba",
        )
        area = metrics.auroc(chances[:, 1], is_second)
        print(f"| {first}, {second} | {len(rows)} | {area:.3f} |", flush=True)


def scores(classifier: Classifier, images: list[Image.Image]) -> Floats64:
    """The probability of malignancy of images (N,)."""
    logits = [
        classifier.logits(images[start : start + BATCH]) for start in range(0, len(images), BATCH)
    ]
    probabilities = prediction.calibrated(np.concatenate(logits), classifier.config)
    return prediction.malignancy(probabilities, classifier.config.task)


def ranking(classifier: Classifier, table: pd.DataFrame, most: int) -> None:
    """Print the AUROC of malignancy in each source."""
    print("\n| source | images | malignant | AUROC of malignancy |\n|---|---|---|---|")
    for source in dict.fromkeys(table["source"]):
        rows = table[table["source"] == source]
        if source == OWN:
            rows = rows[rows["split"] == "validation"]
        rows = rows.sample(min(len(rows), most), random_state=0)
        malignant = rows["malignant"].to_numpy(bool)
        if min(malignant.sum(), (~malignant).sum()) < FEWEST / 2:
            continue
        score = scores(classifier, [to_rgb(path) for path in rows["path"]])
        resamples = Resamples.draw(partition.canonical(rows["lesion_id"]).to_numpy(str))
        areas = [metrics.weighted_auroc(weights, score, malignant) for weights in resamples.chunks]
        low, high = bounds(np.concatenate(areas)) or (np.nan, np.nan)
        area = metrics.auroc(score, malignant)
        print(
            f"| {source} | {len(rows)} | {malignant.sum()} | {area:.3f} ({low:.3f}-{high:.3f}) |",
            flush=True,
        )


def distances(size: tuple[int, int]) -> Floats64:
    """Distance of each pixel (H, W) from the centre, in halves of the short side."""
    width, height = size
    half = min(size) / 2
    across = (np.arange(width) + 0.5 - width / 2) / half
    down = (np.arange(height) + 0.5 - height / 2) / half
    return np.asarray(np.hypot(across, down[:, None]))


def rings(size: tuple[int, int]) -> NDArray[np.int64]:
    """Number the ring of each pixel (H, W), from the centre to the corner of a square."""
    return np.minimum((distances(size) / 2**0.5 * RINGS).astype(np.int64), RINGS - 1)


def surround(rows: pd.DataFrame) -> Floats64:
    """Light in each ring (RINGS,), 1 at the centre, of the rows with the darkest corners."""
    profiles = []
    for path in rows["path"]:
        rgb = to_rgb(path)
        ring = rings(rgb.size).ravel()
        total = np.bincount(ring, np.asarray(rgb.convert("L"), float).ravel(), RINGS)
        light = total / np.maximum(np.bincount(ring, minlength=RINGS), 1)
        # The lesion in the middle is no measure of the light.
        profiles.append(light / light[RINGS // 2 : RINGS * 2 // 3].mean())
    kept = sorted(profiles, key=lambda profile: float(profile[-4:].mean()))
    darkest = np.stack(kept[: max(len(kept) // 10, 1)])
    profile = np.median(darkest, axis=0)
    profile[: RINGS * 2 // 3] = 1.0
    return np.asarray(np.clip(profile, 0.0, 1.0))


def darkened(rgb: Image.Image, profile: Floats64) -> Image.Image:
    """An image with the light of a surround (RINGS,)."""
    light = profile[rings(rgb.size)]
    return Image.fromarray(np.rint(np.asarray(rgb) * light[:, :, None]).astype(np.uint8))


def vignetted(classifier: Classifier, table: pd.DataFrame, source: str, most: int) -> None:
    """Print the share of nevi that are called malignant, with and without a dark surround."""
    own = table[(table["source"] == OWN) & (table["split"] == "validation")]
    nevi = own[own["dx"] == "nv"]
    chosen = nevi.sample(min(len(nevi), most), random_state=0)
    images = [to_rgb(path) for path in chosen["path"]]
    profile = surround(table[table["source"] == source])
    threshold = next(iter(classifier.config.thresholds.values())).value
    print("\n| validation nevi | images | called malignant | mean malignancy |\n|---|---|---|---|")
    views = {"as they are": images, f"with the surround of {source}": None}
    for name, shown in views.items():
        shown = [darkened(rgb, profile) for rgb in images] if shown is None else shown
        score = scores(classifier, shown)
        called = (score >= threshold).mean()
        print(f"| {name} | {len(shown)} | {called:.1%} | {score.mean():.3f} |", flush=True)


def main() -> None:
    """Read the options, and print the tables of each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder of HAM10000")
    parser.add_argument("--extra", required=True, help="folders of further images")
    parser.add_argument("--surround", default="2020", help="collection with dark surrounds")
    parser.add_argument("--most", type=int, default=2000, help="images of a source at most")
    options = parser.parse_args()
    table = read(options.data, options.extra)
    for folder in options.models:
        print(f"\n{folder}\n")
        classifier = Classifier(folder)
        probe(classifier, table, options.most)
        ranking(classifier, table, options.most)
        vignetted(classifier, table, options.surround, options.most)


if __name__ == "__main__":
    main()
