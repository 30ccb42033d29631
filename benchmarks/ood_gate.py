"""What the gate of a model rejects, and what its prediction sets cover:

    PYTHONPATH=. python benchmarks/ood_gate.py MODEL --data HAM [--extra DIR] --others NAME=FOLDER ... [--refit]

Prints, as Markdown, the share of images that are rejected (score above 1) in validation, in the
test split, and in each folder of others, and the AUROC that tells the folder's images from the test
split's. With --refit, gate and prediction sets are fitted anew from the training and validation
images, as `measure` does it, and nothing is written: so also a model that ships without them is
reported. Nothing is chosen here. DIR is what it was trained on beside HAM.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dermhub import files, layout
from dermhub.data import partition, tables
from dermhub.evaluation import metrics
from dermhub.models import conformal, ood_gate, prediction
from dermhub.models.classifier import Classifier
from dermhub.release import measure
from dermhub.scoring import inference


def main() -> None:
    """Read the options, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--extra", type=Path, metavar="DIR")
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    saved = Classifier(options.model)
    task, config = saved.config.task, saved.config
    table = measure.read_table(config, options.data, options.extra)
    splits = ("train", "validation", "test") if options.refit else ("validation", "test")
    parts = {split: table[table["split"] == split] for split in splits}
    found = inference.outputs_by_split(saved, parts, options.workers)
    lesions = {s: partition.canonical(part["lesion_id"]).to_numpy(str) for s, part in parts.items()}
    true = {split: tables.targets(part, task) for split, part in parts.items()}
    sure = {
        split: prediction.softmax(one.logits, config.temperature) for split, one in found.items()
    }
    keeper, limits = None, config.conformal
    if options.refit:
        keeper = ood_gate.fit(found["train"].described, found["validation"].described)
        limits = conformal.fit(
            sure["validation"], true["validation"], lesions["validation"], task.classes
        )
    elif layout.OOD_GATE in config.files:
        content = saved.engine.folder.read(layout.OOD_GATE)
        keeper = ood_gate.OodGate.from_bytes(content, layout.OOD_GATE)
    if keeper is None or limits is None:
        raise SystemExit(
            f"{options.model} ships no gate or no prediction sets: measure it, or use --refit."
        )
    scores = {split: keeper.score(found[split].described) for split in ("validation", "test")}
    for name, folder in (one.split("=", 1) for one in options.others):
        paths = [str(path) for path in files.image_files(Path(folder))]
        scores[name] = keeper.score(inference.outputs(saved, paths, options.workers).described)
    print(
        f"Gate of {options.model}, {len(keeper.to_bytes())} bytes\n\n| images | n | rejected | "
        "AUROC against test |"
    )
    print("|---|---|---|---|")
    for name, values in scores.items():
        strange = np.repeat([False, True], [len(scores["test"]), len(values)])
        area = metrics.auroc(np.append(scores["test"], values), strange)
        print(f"| {name} | {len(values)} | {(values > 1).mean():.4f} | {area:.4f} |")
    print("\n| prediction sets | split | n | covered | covered lesions | mean size | abstains |")
    print("|---|---|---|---|---|---|---|")
    for split in ("validation", "test"):
        told = conformal.set_figures(sure[split], true[split], lesions[split], task.classes, limits)
        for name, row in {"all": told, **told["per_class"]}.items():
            figures = (
                row["coverage"],
                row["coverage_of_lesions"],
                row["mean_size"],
                row["abstention_rate"],
            )
            print(
                f"| {name} | {split} | {row['n']} | "
                + " | ".join(f"{value:.4f}" for value in figures)
                + " |"
            )


if __name__ == "__main__":
    main()
