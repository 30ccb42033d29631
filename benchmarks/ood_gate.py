"""Images that a model's gate refuses: validation, test and PH2 by diagnosis, and other pictures.

    PYTHONPATH=. python benchmarks/ood_gate.py MODEL [--others NAME=FOLDER ...]

Prints, as Markdown, the share of images that are refused (score above 1), and the AUROC that tells
each kind from the test split. The scores of validation, test and PH2 are those of the predictions
in the model's folder; only the images of `--others` are run. Nothing is chosen here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dermhub import layout
from dermhub.arrays import Floats64
from dermhub.data import image_files
from dermhub.evaluation import external, metrics, predictions
from dermhub.models.classifier import Classifier
from dermhub.scoring import inference
from dermhub.tasks import MALIGNANT


def stated(saved: Classifier) -> dict[str, Floats64]:
    """Kind of images -> their scores (N,), from the predictions in the model's folder."""
    task = saved.config.task
    rows = predictions.read_predictions(saved.folder / layout.PREDICTIONS, task)
    parts = {split: rows[rows["split"] == split] for split in ("validation", "test")}
    path = saved.folder / layout.EXTERNAL
    if path.is_file():
        parts[external.PH2] = external.read_external(path, task)
    scores = {}
    for name, part in parts.items():
        if predictions.GATE not in part:
            raise SystemExit(
                f"{saved.folder} has no scores of the gate for {name}: measure it with --ph2."
            )
        malignant = part["dx"].isin(MALIGNANT)
        scores[name] = part[predictions.GATE].to_numpy(float)
        scores[f"{name}, malignant"] = scores[name][malignant.to_numpy(bool)]
    return scores


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    saved = Classifier(options.model)
    if saved.gate is None:
        raise SystemExit(f"{options.model} ships no gate: measure it again.")
    scores = stated(saved)
    for named in options.others:
        name, folder = named.split("=", 1)
        paths = [str(path) for path in image_files.find(Path(folder))]
        described = inference.outputs(saved, paths, options.workers).described
        scores[name] = saved.gate.score(described)
    print(f"Gate of {options.model}\n")
    print("| images | n | refused | share | AUROC against test |\n|---|---|---|---|---|")
    for name, values in scores.items():
        strange = np.repeat([False, True], [len(scores["test"]), len(values)])
        area = metrics.auroc(np.append(scores["test"], values), strange)
        refused = values > 1
        print(f"| {name} | {len(values)} | {refused.sum()} | {refused.mean():.3f} | {area:.4f} |")


if __name__ == "__main__":
    main()
