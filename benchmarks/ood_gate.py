"""Images that a model's out-of-distribution gate rejects, and coverage of its prediction sets.

    PYTHONPATH=. python benchmarks/ood_gate.py MODEL --data HAM [--extra DIR]
        --others NAME=FOLDER ... [--refit]

Prints, as Markdown, the share of images that are refused (score above 1) in validation, in the
test split, among the malignant images of both, and in each folder of others, and the AUROC that
tells the folder's images from the test split's. With --refit, gate and prediction sets are fitted
anew from the training and validation images, as `measure` does it, and nothing is written: this
works for a model that ships without them, too. Nothing is chosen here. DIR holds the images that it
was trained on beside HAM.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dermhub import files, layout
from dermhub.data import partition, tables
from dermhub.evaluation import metrics, prediction_sets
from dermhub.models import conformal, ood_gate, prediction
from dermhub.models.classifier import Classifier
from dermhub.release import measure, sidecars
from dermhub.scoring import inference

SET_FIGURES = ("coverage", "coverage_of_lesions", "mean_size", "abstention_rate")
"""Figures of prediction sets in the second table."""


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
    config = saved.config
    task = config.task
    table = measure.read_table(config, options.data, options.extra)
    splits = ("train", "validation", "test") if options.refit else ("validation", "test")
    parts = {split: table[table["split"] == split] for split in splits}
    if options.refit:
        parts["train"] = sidecars.gate_images(parts["train"])
    outputs = inference.outputs_by_split(saved, parts, options.workers)
    lesions = {
        split: partition.canonical(part["lesion_id"]).to_numpy(str) for split, part in parts.items()
    }
    true = {split: tables.targets(part, task) for split, part in parts.items()}
    probabilities = {
        split: prediction.softmax(of_split.logits, config.temperature)
        for split, of_split in outputs.items()
    }
    gate = None
    sets = config.conformal
    if options.refit:
        malignant = sidecars.is_malignant(parts["validation"], task)
        gate = ood_gate.fit(outputs["train"].described, outputs["validation"].described, malignant)
        sets = conformal.fit(
            probabilities["validation"], true["validation"], lesions["validation"], task.classes
        )
    elif layout.OOD_GATE in config.files:
        content = saved.engine.folder.read(layout.OOD_GATE)
        gate = ood_gate.OodGate.from_bytes(content, layout.OOD_GATE)
    if gate is None or sets is None:
        raise SystemExit(
            f"{options.model} ships no gate or no prediction sets: measure it, or use --refit."
        )
    scores = {split: gate.score(outputs[split].described) for split in ("validation", "test")}
    refused = {split: scores[split] > 1 for split in ("validation", "test")}
    for split in ("validation", "test"):
        malignant = sidecars.is_malignant(parts[split], task)
        scores[f"{split}, malignant"] = scores[split][malignant]
    for named in options.others:
        name, folder = named.split("=", 1)
        paths = [str(path) for path in files.image_files(Path(folder))]
        scores[name] = gate.score(inference.outputs(saved, paths, options.workers).described)
    print(f"Gate of {options.model}, {len(gate.to_bytes())} bytes\n")
    print("| images | n | refused | AUROC against test |\n|---|---|---|---|")
    for name, values in scores.items():
        strange = np.repeat([False, True], [len(scores["test"]), len(values)])
        area = metrics.auroc(np.append(scores["test"], values), strange)
        print(f"| {name} | {len(values)} | {(values > 1).mean():.4f} | {area:.4f} |")
    print("\n| prediction sets | split | n | covered | covered lesions | mean size | abstains |")
    print("|---|---|---|---|---|---|---|")
    for split in ("validation", "test"):
        figures = prediction_sets.set_figures(
            probabilities[split], true[split], lesions[split], task.classes, sets, refused[split]
        )
        for name, row in {"all": figures, **figures["per_class"]}.items():
            cells = " | ".join(f"{row[key]:.4f}" for key in SET_FIGURES)
            print(f"| {name} | {split} | {row['n']} | {cells} |")


if __name__ == "__main__":
    main()
