"""The commands evaluate, on labelled images, and overlap, which looks for training images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dermhub import files
from dermhub.cli.device import add_device
from dermhub.cli.workers import add_workers, check_workers
from dermhub.data.sources import formats
from dermhub.errors import note

OVERLAP = (
    "Find a model's training and validation images in a folder, by perceptual hash. Copies may be "
    "scaled, compressed, turned by quarters, mirrored, cut to the central square, or stretched or "
    "padded from 4:3 to a square; other crops and turns are found in part or not at all."
)
"""Description in the help of overlap."""


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of evaluate."""
    evaluate = commands.add_parser("evaluate", help="measure a model on labelled images, as JSON")
    evaluate.add_argument("--model", required=True, help="model, folder or org/name of the hub")
    evaluate.add_argument(
        "--images", required=True, type=Path, metavar="DIR", help="folder with the images"
    )
    evaluate.add_argument(
        "--labels", required=True, type=Path, metavar="CSV", help=f"table of labels: {formats.READ}"
    )
    evaluate.add_argument("--columns", default="", help=formats.OPTION)
    evaluate.add_argument(
        "--split",
        default="",
        choices=("train", "validation", "test"),
        help="only this split: of the table's own column, or else of HAM10000's lesions",
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="FILE", help="write the JSON there instead of printing it"
    )
    add_device(evaluate)
    add_workers(evaluate)
    evaluate.set_defaults(run=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> int:
    """Write every figure of a model on labelled images as JSON."""
    from dermhub.models.classifier import load
    from dermhub.scoring import evaluate as scoring_evaluate

    check_workers(options.workers)
    classifier = load(options.model, device=options.device)
    labelled = scoring_evaluate.read_labelled(
        options.images, options.labels, classifier.config.task, options.split, options.columns
    )
    content = scoring_evaluate.evaluate(classifier, labelled, options.workers)
    if labelled.left_out:
        counts = ", ".join(f"{n} x {dx}" for dx, n in labelled.left_out.items())
        print(
            f"dermhub: left out, no class of the task {content['task']!r}: {counts}.",
            file=sys.stderr,
        )
    _warn(
        content,
        "images_of_training_lesions",
        "show lesions that the HAM10000 models were trained or tuned on",
        "Use --split test.",
    )
    _warn(
        content,
        "copies_of_images_learnt_from",
        f"look like copies of images that {options.model} has learnt from",
        "`python -m dermhub overlap` names them.",
    )
    if options.out is None:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        files.write_json(options.out, content)
        print(f"{options.out}: {content['n']} images")
    for sentence in labelled.notes:
        note(sentence)
    return 0


def add_overlap(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of overlap."""
    overlap = commands.add_parser(
        "overlap", help="find a model's training images in a folder of yours", description=OVERLAP
    )
    overlap.add_argument(
        "--model", required=True, metavar="ID", help="model, folder or org/name of the hub"
    )
    overlap.add_argument(
        "--images", required=True, type=Path, metavar="DIR", help="folder with the images"
    )
    overlap.add_argument(
        "--out", type=Path, metavar="FILE.csv", help="write the rows there instead of printing them"
    )
    overlap.set_defaults(run=run_overlap)


def run_overlap(options: argparse.Namespace) -> int:
    """Write a row for each match as CSV, and a summary; copies and bad files are no failure."""
    from dermhub.data import image_files
    from dermhub.models.catalog import locate
    from dermhub.scoring import overlap as scoring_overlap

    manifest = scoring_overlap.manifest_of(locate(options.model))
    paths = image_files.find(options.images)
    rows = list(scoring_overlap.examine(manifest, paths, options.images))
    line = f"{options.images}: {scoring_overlap.summary(rows, len(paths), options.model)}"
    if options.out is None:
        sys.stdout.write(scoring_overlap.to_csv(rows))
        print(line, file=sys.stderr)
    else:
        # A file name may hold bytes that are no UTF-8; they are written as they are.
        table = scoring_overlap.to_csv(rows).encode("utf-8", "surrogateescape")
        files.write_bytes(options.out, table)
        print(line)
    return 0


def _warn(content: dict[str, Any], key: str, finding: str, advice: str) -> None:
    """Warn on stderr where images counted under `key` make the figures too good."""
    count = content[key]
    if isinstance(count, int) and count:
        images = f"{count} of {content['n']} images {finding}"
        print(f"dermhub: WARNING: {images}; the figures are too good. {advice}", file=sys.stderr)
