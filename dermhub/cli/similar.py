"""The command similar: training lesions that look like an image, as a sheet and a table."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dermhub.cli import terminal
from dermhub.cli.predict import expand, overlay_paths
from dermhub.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from dermhub.models.classifier import Classifier


def add_similar(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of similar."""
    similar = commands.add_parser(
        "similar", help="show the training lesions that look most like an image"
    )
    similar.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them"
    )
    similar.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for a sheet (HTML) and a table (CSV) of each image",
    )
    similar.add_argument(
        "--model", default="lesion", help="model, folder or org/name of the hub (default: lesion)"
    )
    similar.add_argument(
        "--number", type=int, default=6, metavar="K", help="similar cases to show (default: 6)"
    )
    similar.add_argument(
        "--anyway",
        action="store_true",
        help="show them also for an image that does not look dermatoscopic",
    )
    similar.set_defaults(run=run_similar)


def run_similar(options: argparse.Namespace) -> int:
    """Write sheet and table of each image, and print what they count.

    An image that can't be used is a line on stderr, and gives exit code 2.
    """
    from dermhub.models.classifier import load
    from dermhub.scoring import case_sheet

    paths = expand(options.images)
    sheets = overlay_paths(options.to, paths, "-similar.html")
    for sheet in sheets.values():
        check_ours(sheet, case_sheet.MARK)
        check_ours(sheet.with_suffix(".csv"), case_sheet.table("", ()))
    classifier = load(options.model)
    failed = False
    for path, sheet in sheets.items():
        try:
            print(f"{terminal.one_line(path)}: {write(classifier, path, sheet, options)}")
        except ImageError as error:
            print(f"dermhub: {terminal.one_line(error)}", file=sys.stderr)
            failed = True
    return 2 if failed else 0


def write(classifier: Classifier, path: Path, sheet: Path, options: argparse.Namespace) -> str:
    """Write sheet and table of an image, and return a sentence on what they show."""
    from dermhub import files
    from dermhub.images.photo import Photo
    from dermhub.scoring import case_sheet

    photo = Photo.open(path)
    similar = classifier.similar(photo, options.number)
    refused = similar.prediction.rejected
    if refused is not None and not options.anyway:
        return f"{refused.sentence} --anyway shows similar cases all the same."
    table = case_sheet.table(str(path), similar.cases)
    files.write_bytes(sheet, case_sheet.sheet(path.name, photo, similar))
    files.write_bytes(sheet.with_suffix(".csv"), table)
    note = f" {similar.note}" if similar.note else ""
    return f"{similar.summary}. {similar.proofs}{note} See {terminal.one_line(sheet)}"


def check_ours(path: Path, start: bytes) -> None:
    """Raise ConfigError for anything but a file that begins as what this command writes there."""
    if not os.path.lexists(path):
        return
    # A link into nothing would be replaced, and was somebody's.
    begins = b""
    if path.is_file():
        with path.open("rb") as stream:
            begins = stream.read(len(start))
    if begins != start:
        raise ConfigError(
            f"{path} is not a file that this command wrote, and is left alone: choose another "
            "folder with --to, or take it away."
        )
