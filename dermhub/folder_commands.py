"""The commands over whole folders: overlap, merge, and predict --images. They import what is heavy when they run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dermhub import distributed, files, merge, scores
from dermhub.errors import ConfigError

OVERLAP = (
    "Find a model's training and validation images in a folder, by perceptual hash. Copies may be scaled, compressed, "
    "turned by quarters, mirrored, cut to the central square, or stretched or padded from 4:3 to a square; other crops "
    "and turns are found in part or not at all."
)


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The options of overlap and merge."""
    overlap = commands.add_parser(
        "overlap", help="find a model's training images in a folder of yours", description=OVERLAP
    )
    overlap.add_argument("--model", required=True, metavar="ID", help="model, folder or org/name of the hub")
    overlap.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder with the images")
    overlap.add_argument("--out", type=Path, metavar="FILE.csv", help="write the rows there instead of printing them")
    overlap.set_defaults(run=run_overlap)

    together = commands.add_parser("merge", help="put the shards of an archive's scores together, and verify them")
    together.add_argument("out", type=Path, metavar="OUT", help="the table to write, .csv or .parquet")
    together.add_argument(
        "shards", nargs="+", type=Path, metavar="SHARD", help="what `predict --shard I/N` wrote, .csv"
    )
    together.set_defaults(run=run_merge)


def add_scoring(predict: argparse.ArgumentParser) -> None:
    """The options of predict for a whole folder."""
    archive = predict.add_argument_group("a whole archive, which may be stopped and goes on with the same command")
    archive.add_argument("--images", dest="folder", type=Path, metavar="DIR", help="folder with any number of images")
    archive.add_argument("--out", type=Path, metavar="FILE", help="the table to write, .csv or .parquet")
    archive.add_argument("--shard", default="1/1", metavar="I/N", help="only the I-th of N parts; see merge")
    archive.add_argument("--batch", type=int, default=8, help="images that the model takes at once (default: 8)")
    archive.add_argument("--workers", type=int, default=0, help="images in work side by side (default: one a core)")
    archive.add_argument("--progress", action="store_true", help="tell the progress also where it is no terminal")


def run_scoring(options: argparse.Namespace) -> int:
    """Score a folder; a file that can't be scored is a row with its error, and no failure."""
    if options.folder is None or options.out is None or options.images or options.explain or options.format:
        raise ConfigError("predict --images DIR and --out FILE go together, without IMAGE, --format and --explain.")
    for name, least in (("batch", 1), ("workers", 0)):
        if getattr(options, name) < least:
            raise ConfigError(f"--{name} is {getattr(options, name)}, expected at least {least}.")
    shard, out = options.shard, options.out
    if distributed.launched() and distributed.world() > 1 and (shard != "1/1" or out.suffix != ".csv"):
        raise ConfigError(
            f"Under torchrun each process takes a shard by itself, as CSV: got --out {out} and --shard {shard}, "
            "expected --out FILE.csv without --shard."
        )
    if distributed.launched() and shard == "1/1":
        # Each process of torchrun takes a shard, and writes a file of its own.
        number, count = distributed.rank() + 1, distributed.world()
        shard, out = f"{number}/{count}", out.with_stem(f"{out.stem}-{number}-of-{count}")
    scores.parse_shard(shard)
    scores.check_name(out)
    # Read by both engines when they start: with a lane for each core, more threads would stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from dermhub import archive
    from dermhub.classifier import load

    lanes = options.workers or max(archive.cores() // distributed.neighbours(), 1)
    try:
        total, new, failed = archive.run(
            load(options.model), options.folder, out, shard, options.batch, lanes, options.progress
        )
    except KeyboardInterrupt:
        print("\ndermhub: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    unread = f"; {failed:,} of these have no score, but an error" if failed else ""
    print(f"{out}: {total:,} files, {new:,} of them scored now{unread}")
    return 0


def run_merge(options: argparse.Namespace) -> int:
    """Write the merged table and say how many rows it has."""
    print(f"{options.out}: {merge.merge(options.out, options.shards):,} files of {len(options.shards)} shards")
    return 0


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
