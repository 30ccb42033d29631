"""The commands about a model's figures and its card: lint, measure and verify."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dermhub.errors import ConfigError, DermhubError


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The options of lint and measure."""
    lint = commands.add_parser("lint", help="hold model folders against the reporting checklist")
    lint.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folder with README.md and metrics.json")
    lint.set_defaults(run=run_lint)

    measure = commands.add_parser("measure", help="measure a saved model again, and write its card anew")
    measure.add_argument("folder", type=Path, metavar="FOLDER", help="model folder that train.py made; it is changed")
    measure.add_argument("--data", required=True, type=Path, metavar="DIR", help="the images it was trained on")
    measure.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes that decode")
    measure.set_defaults(run=run_measure)


def run_lint(options: argparse.Namespace) -> int:
    """Print what each folder lacks and how many items it meets; exit code 2 unless all meet all."""
    from dermhub.lint import lint

    failed = False
    for folder in options.folders:
        try:
            report = lint(folder)
        except DermhubError as error:
            print(f"dermhub: {error}", file=sys.stderr)
            failed = True
            continue
        for outcome in report.missing:
            print(f"{folder}: missing: {outcome.item}: {outcome.problem}.")
        print(f"{folder}: {report.met} of {len(report.outcomes)} items met.")
        failed = failed or bool(report.missing)
    return 2 if failed else 0


def run_measure(options: argparse.Namespace) -> int:
    """Measure a model and say what came out."""
    from dermhub import checkpoint, data, measure

    if options.workers < 0:
        raise ConfigError(f"--workers is {options.workers}, expected at least 0.")
    # What is wrong with the folder is told before minutes go into its images.
    config, before = checkpoint.load_config(options.folder), measure.previous(options.folder)
    table = data.read_table(options.data, config.task)
    measure.check_table(config, table, options.data)
    content = measure.measure(options.folder, table, before, workers=options.workers)
    print(f"{options.folder}: {told(content)}")
    return 0


def told(content: dict[str, dict[str, float]]) -> str:
    """The figures that a person looks at first, in one line."""
    test = content["test"]
    return (
        f"test, {test['n']} images of {test['lesions']} lesions: accuracy {test['accuracy']:.4f}, "
        f"balanced accuracy {test['balanced_accuracy']:.4f}, malignancy AUROC {test['malignancy_auroc']:.4f}"
    )
