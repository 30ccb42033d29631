"""The commands for models and their cards: export, list, lint, measure and verify."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermhub.cli import terminal
from dermhub.cli.workers import add_workers, check_workers
from dermhub.errors import ConfigError, DataError, DermhubError, note
from dermhub.layout import CONFIG, GRAPH, METRICS, WEIGHTS

if TYPE_CHECKING:
    from dermhub.models.model_folder import ModelFolder

SHOWN = 5
"""Differences that are printed for a model; one usually explains the others."""


def run_export(options: argparse.Namespace) -> int:
    """Export a model; print the size of its folder and how far its answers are from PyTorch's."""
    from dermhub.models.catalog import locate
    from dermhub.models.classifier import load
    from dermhub.models.export import LIMIT, check_packages, export
    from dermhub.models.model_folder import ModelFolder

    # Before the model is loaded, which takes seconds. Its own graph is all that most exports need.
    if GRAPH not in ModelFolder(locate(options.model)).config.files:
        check_packages()
    classifier = load(options.model)
    worst = export(classifier, options.to)
    size = sum(path.stat().st_size for path in options.to.iterdir()) / 1e6
    print(
        f"{options.to}: {classifier.name}, {size:.1f} MB, at most {worst:.0e} from PyTorch "
        f"(accepted: {LIMIT:.0e})"
    )
    return 0


def run_list(_: argparse.Namespace) -> int:
    """Print the shipped models, without loading them."""
    from dermhub import files
    from dermhub.models.catalog import shipped

    models = shipped()
    if not models:
        raise DataError("No model is shipped: there is no folder model_cards beside the package.")
    print(
        f"{'id':16} {'task':8} {'backbone':20} {'MB':>5}  test: accuracy  balanced  AUROC "
        "malignancy"
    )
    for name, folder in models.items():
        config = files.read_json(folder / CONFIG)
        content = files.read_json(folder / METRICS)
        try:
            test = content["test"]
            megabytes = (folder / WEIGHTS).stat().st_size / 1e6
            line = (
                f"{name:16} {config['dermhub']['task']:8} {config['architecture']:20} "
                f"{megabytes:5.1f}  {test['accuracy']:14.4f} {test['balanced_accuracy']:9.4f} "
                f"{test['malignancy_auroc']:17.4f}"
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(
                f"{folder} is damaged ({error}): restore it, for example with git."
            ) from error
        # Not above: a reader that has gone is no damage.
        print(line)
    return 0


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of export, list, lint, measure and verify."""
    export = commands.add_parser(
        "export", help="write a model as a folder with an ONNX graph, which needs no PyTorch"
    )
    export.add_argument("--model", required=True, help="model, folder or org/name of the hub")
    export.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="folder to write")
    export.set_defaults(run=run_export)

    listing = commands.add_parser(
        "list", help="the models that are shipped, with their test figures"
    )
    listing.set_defaults(run=run_list)

    lint = commands.add_parser("lint", help="hold model folders against the reporting checklist")
    lint.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="folder with README.md and metrics.json",
    )
    lint.set_defaults(run=run_lint)

    measure = commands.add_parser(
        "measure", help="measure a saved model again, and write its card anew"
    )
    measure.add_argument(
        "folder", type=Path, metavar="FOLDER", help="model folder that train.py made; it is changed"
    )
    measure.add_argument("--data", type=Path, metavar="DIR", help="the images it was trained on")
    measure.add_argument(
        "--extra",
        default="",
        metavar="DIR",
        help="the further images it was trained on; several folders with commas between them",
    )
    measure.add_argument(
        "--ph2", type=Path, metavar="DIR", help="the external test: PH2 with a labels.csv"
    )
    measure.add_argument(
        "--masks", type=Path, metavar="DIR", help="lesion masks, <image_id>_segmentation.png"
    )
    measure.add_argument(
        "--cases",
        type=Path,
        metavar="DIR",
        help="training images that may be shown to others, by their ids: the model folder gets "
        "small pictures of them, an index of similar cases",
    )
    measure.add_argument(
        "--refit",
        action="store_true",
        help="keep weights and predictions, and make graph, calibration, thresholds, zones, "
        "prediction sets, gate, figures and card anew; this needs no further training images, and "
        "without --data the gate stays",
    )
    add_workers(measure)
    measure.set_defaults(run=run_measure)

    verify = commands.add_parser(
        "verify", help="work the figures of model cards out again from their predictions"
    )
    verify.add_argument(
        "models", nargs="+", metavar="MODEL", help="model, folder or org/name of the hub"
    )
    verify.add_argument(
        "--images", type=Path, metavar="DIR", help="also run the model on the images, found there"
    )
    add_workers(verify)
    verify.set_defaults(run=run_verify)


def run_lint(options: argparse.Namespace) -> int:
    """Print the items that each folder lacks; exit code 2 unless every folder meets all."""
    from dermhub.cards.checklist import lint

    failed = False
    for folder in options.folders:
        try:
            report = lint(folder)
        except DermhubError as error:
            print(f"dermhub: {terminal.one_line(error)}", file=sys.stderr)
            failed = True
            continue
        for outcome in report.missing:
            print(f"{folder}: missing: {outcome.item}: {outcome.problem}.")
        print(f"{folder}: {report.met} of {len(report.outcomes)} items met.")
        failed = failed or bool(report.missing)
    return 2 if failed else 0


def run_measure(options: argparse.Namespace) -> int:
    """Measure a model and print its headline figures."""
    from dermhub.evaluation.summary import headline
    from dermhub.models.model_folder import ModelFolder
    from dermhub.release import class_maps, external
    from dermhub.release import measure as release_measure
    from dermhub.release.cases import build
    from dermhub.release.previous import Previous

    check_workers(options.workers)
    # Everything is checked before minutes go into the images.
    folder = ModelFolder(options.folder)
    if options.refit:
        content = run_refit(options, folder)
        print(f"{options.folder}: {headline(content)}")
        return 0
    config = folder.config
    before = Previous.read(folder)
    if options.data is None:
        raise ConfigError("There are no images to measure: name the model's with --data DIR.")
    table = release_measure.read_table(config, options.data, options.extra)
    if options.ph2:
        external.read_table(options.ph2)
    if options.masks:
        class_maps.check_masks(options.masks, table)
    if options.cases:
        build.shareable(table[table["split"] == "train"], options.cases)
    content = release_measure.measure(
        folder,
        table,
        before,
        ph2=options.ph2,
        workers=options.workers,
        masks=options.masks,
        cases=options.cases,
    )
    print(f"{options.folder}: {headline(content)}")
    return 0


def run_refit(options: argparse.Namespace, folder: ModelFolder) -> dict[str, Any]:
    """Make graph, gate and choices on validation anew; raises ConfigError for other options."""
    from dermhub.release import external, refit

    if options.extra:
        raise ConfigError("--refit goes without --extra.")
    if options.ph2:
        external.read_table(options.ph2)
    for name in ("cases", "masks"):
        if getattr(options, name) and not options.data:
            raise ConfigError(
                f"--{name} needs the images that the model was measured on: name them with --data "
                "DIR."
            )
    return refit.refit(
        folder,
        options.data,
        options.ph2,
        options.workers,
        note,
        cases=options.cases,
        masks=options.masks,
    )


def run_verify(options: argparse.Namespace) -> int:
    """Print the differences between figures and predictions; exit code 2 where there are some."""
    from dermhub.models.catalog import locate
    from dermhub.release import verify as release_verify

    check_workers(options.workers)
    failed = False
    for model in options.models:
        try:
            folder = locate(model)
            report = release_verify.verify(folder)
            differences = list(report.differences)
            images = 0
            if options.images:
                images, more = release_verify.check_logits(folder, options.images, options.workers)
                differences += more
        except DermhubError as error:
            print(f"dermhub: {terminal.one_line(error)}", file=sys.stderr)
            failed = True
            continue
        for sentence in differences[:SHOWN]:
            print(f"{model}: {sentence}.")
        if len(differences) > SHOWN:
            print(f"{model}: ... and {len(differences) - SHOWN} more.")
        failed = failed or bool(differences)
        print(f"{model}: {_verdict(report.figures, images, len(differences))}")
    if not failed:
        parts = "; ".join(release_verify.NOT_RECOMPUTED.values())
        print(f"Not recomputed: {parts}; the pictures in figures/.")
    return 2 if failed else 0


def _verdict(figures: int, images: int, differences: int) -> str:
    """Sum up the comparison of a model in a sentence."""
    others = f", the card and the logits of {images} images" if images else " and the card"
    checked = f"{figures} figures{others}"
    if differences:
        return (
            f"{differences} difference(s) in {checked}: it was changed, or measured by another "
            "version; measure it again."
        )
    return f"{checked} are what the predictions give."
