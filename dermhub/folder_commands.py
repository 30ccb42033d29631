"""The commands over whole folders of images: overlap. Like the others, they import what is heavy when they run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dermhub import files


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The options of overlap."""
    overlap = commands.add_parser("overlap", help="find a model's training images in a folder of yours")
    overlap.add_argument("--model", required=True, metavar="ID", help="model, folder or org/name of the hub")
    overlap.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder with the images")
    overlap.add_argument("--out", type=Path, metavar="FILE.csv", help="write the rows there instead of printing them")
    overlap.set_defaults(run=run_overlap)


def run_overlap(options: argparse.Namespace) -> int:
    """Write a row for each finding as CSV, and one line that sums them up; copies and bad files are no failure."""
    from dermhub import overlap
    from dermhub.locate import locate

    manifest = overlap.manifest_of(locate(options.model))
    paths = files.image_files(options.images)
    rows = list(overlap.examine(manifest, paths, options.images))
    line = f"{options.images}: {overlap.summary(rows, len(paths), options.model)}"
    if options.out is None:
        sys.stdout.write(overlap.to_csv(rows))
        print(line, file=sys.stderr)
    else:
        # A file name may hold bytes that are no UTF-8; they are written as they are.
        files.write_bytes(options.out, overlap.to_csv(rows).encode("utf-8", "surrogateescape"))
        print(line)
    return 0
