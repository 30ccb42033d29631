"""The commands predict, for images and whole archives, and merge.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from dermhub.cli import terminal
from dermhub.cli.device import add_device
from dermhub.errors import ConfigError, ImageError, some
from dermhub.scoring import merge, results, resumable_csv
from dermhub.zones import Zone

if TYPE_CHECKING:
    from dermhub.models.classifier import Classifier
    from dermhub.models.prediction import Prediction


ZONE_WIDTH = len(Zone.HIGHLY_SUSPICIOUS.value)


def add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of predict."""
    predict = commands.add_parser("predict", help="classify images")
    predict.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="image files, or folders of them"
    )
    predict.add_argument(
        "--model", default="lesion", help="model, folder or org/name of the hub (default: lesion)"
    )
    predict.add_argument(
        "--format", choices=("table", "json", "csv"), help="how to print it (default: table)"
    )
    predict.add_argument(
        "--explain", type=Path, metavar="DIR", help="write a Grad-CAM overlay of each image there"
    )
    add_device(predict)
    predict.add_argument(
        "--operating-point",
        default="",
        metavar="NAME",
        help="threshold from which on an image counts as malignant, such as youden (default: the "
        "model's first)",
    )
    add_scoring(predict)
    predict.set_defaults(run=run_predict)


def add_scoring(predict: argparse.ArgumentParser) -> None:
    """Add the options of predict for a whole folder."""
    archive = predict.add_argument_group(
        "a whole archive, which may be stopped and goes on with the same command"
    )
    archive.add_argument(
        "--images", dest="folder", type=Path, metavar="DIR", help="folder with any number of images"
    )
    archive.add_argument(
        "--out", type=Path, metavar="FILE", help="the table to write, .csv or .parquet"
    )
    archive.add_argument(
        "--shard", default="1/1", metavar="I/N", help="only the I-th of N parts; see merge"
    )
    archive.add_argument(
        "--batch", type=int, default=4, help="images that the model takes at once (default: 4)"
    )
    archive.add_argument(
        "--workers", type=int, default=0, help="images in work side by side (default: one a core)"
    )
    archive.add_argument(
        "--progress", action="store_true", help="write the progress also where there is no terminal"
    )


def run_predict(options: argparse.Namespace) -> int:
    """Print a row for each image.

    An image that can't be used is a line on stderr, and gives exit code 2.
    """
    if options.folder is not None or options.out is not None:
        return run_scoring(options)
    if not options.images:
        raise ConfigError(
            "There is nothing to classify: give image files, or --images DIR and --out FILE."
        )
    from dermhub.models.classifier import load

    paths = expand(options.images)
    classifier = load(options.model, device=options.device, operating_point=options.operating_point)
    overlays = overlay_paths(options.explain, paths) if options.explain else {}
    answers = []
    failed = False
    for path in paths:
        try:
            if overlays:
                prediction = explain_to(classifier, path, overlays[path])
            else:
                prediction = classifier.predict(path)
        except ImageError as error:
            print(f"dermhub: {terminal.one_line(error)}", file=sys.stderr)
            failed = True
        else:
            answers.append(prediction)
    show(answers, options.format or "table", classifier)
    return 2 if failed else 0


def expand(given: list[Path]) -> list[Path]:
    """Replace the folders among paths by their images; raises DataError for one without any."""
    from dermhub.data import image_files

    paths: list[Path] = []
    for path in given:
        paths += image_files.find(path) if path.is_dir() else [path]
    return paths


def overlay_paths(folder: Path, images: list[Path], ending: str = "-map.png") -> dict[Path, Path]:
    """Name the overlay file of each image: image -> `<stem>-map.png` in the folder.

    Images of one stem get a number, so that no two of them share a file, and none takes that of
    another stem.
    """
    # Folded, because some file systems don't tell A.jpg from a.jpg.
    stems = Counter(path.stem.casefold() for path in dict.fromkeys(images))
    overlays: dict[Path, Path] = {}
    for path in dict.fromkeys(images):
        name = path.stem
        if stems[name.casefold()] > 1:
            numbered = (f"{path.stem}-{number}" for number in count(1))
            name = next(free for free in numbered if free.casefold() not in stems)
        stems[name.casefold()] += 1
        overlays[path] = folder / f"{name}{ending}"
    return overlays


def explain_to(classifier: Classifier, path: Path, out: Path) -> Prediction:
    """Write the overlay of the predicted class and return the prediction."""
    from dermhub import files

    explanation = classifier.explain(path)
    stream = io.BytesIO()
    explanation.overlay.save(stream, "PNG")
    files.write_bytes(out, stream.getvalue())
    return explanation.prediction


def show(answers: list[Prediction], kind: str, classifier: Classifier) -> None:
    """Print answers as a table for people, JSON or CSV."""
    if kind == "json":
        records = [{"image": answer.image, **answer.to_dict()} for answer in answers]
        print(json.dumps(records, indent=2))
    elif kind == "csv":
        from dermhub.models.prediction import csv_columns, to_row

        columns = csv_columns(classifier.classes)
        rows = [to_row(answer.image, answer) for answer in answers]
        lines = [resumable_csv.to_line(columns)]
        lines += [resumable_csv.to_line(row[name] for name in columns) for row in rows]
        sys.stdout.write(b"".join(lines).decode("utf-8", "surrogateescape"))
    elif answers:
        show_table(answers, classifier)


def show_table(answers: list[Prediction], classifier: Classifier) -> None:
    """Print answers for people: a line for each image, and its warnings below."""
    conformal = classifier.config.conformal
    names = [terminal.one_line(answer.image) for answer in answers]
    width = max(map(len, names))
    classes = " ".join(f"{code:>9}" for code in classifier.classes)
    set_heading = f"  {conformal.level:.0%} set" if conformal else ""
    has_zones = any(answer.zones for answer in answers)
    zone_heading = f"{'zone':{ZONE_WIDTH}}  " if has_zones else ""
    print(f"{'image':{width}}  {zone_heading}label      malignancy  {classes}{set_heading}")
    for name, answer in zip(names, answers, strict=True):
        mark = ">=" if answer.malignant else "< "
        values = " ".join(f"{answer.probabilities[code]:9.4f}" for code in classifier.classes)
        members = f"  {' '.join(answer.conformal) or 'none'}" if conformal else ""
        zone = f"{answer.zone_word:{ZONE_WIDTH}}  " if has_zones else ""
        first = f"{zone}{answer.label:9}"
        print(f"{name:{width}}  {first}  {answer.malignancy:.4f} {mark}   {values}{members}")
        warnings = [answer.abstention, *(concern.sentence for concern in answer.concerns)]
        for sentence in dict.fromkeys(warnings):
            if sentence:
                print(f"{'':{width}}  {sentence}")
    name = classifier.operating_point
    point = classifier.config.thresholds[name]
    print(
        f"\n>=: at or above the operating point {name}, {point.value:.4f} ({point.aim}, chosen on "
        f"{point.split})."
    )
    if conformal:
        print(
            f"{conformal.level:.0%} set: holds the true class for that share of the lesions of "
            "each class."
        )
    print("Research software, not a medical device.")


def run_scoring(options: argparse.Namespace) -> int:
    """Score a folder; a file that can't be scored is a row with its error, and no failure."""
    lacks = options.folder is None or options.out is None
    if lacks or options.images or options.explain or options.format:
        raise ConfigError(
            "predict --images DIR and --out FILE go together, without IMAGE, --format and "
            "--explain."
        )
    for name, least in (("batch", 1), ("workers", 0)):
        if getattr(options, name) < least:
            raise ConfigError(f"--{name} is {getattr(options, name)}, expected at least {least}.")
    results.parse_shard(options.shard)
    results.check_name(options.out)
    # Read by both engines when they start: with a lane for each core, more threads would stand in
    # each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from dermhub.models.classifier import load
    from dermhub.scoring import image_folder

    lanes = options.workers or image_folder.cores()
    try:
        outcome = image_folder.score_folder(
            load(options.model, device=options.device, operating_point=options.operating_point),
            options.folder,
            options.out,
            options.shard,
            options.batch,
            lanes,
            options.progress,
        )
    except KeyboardInterrupt:
        print("\ndermhub: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    if outcome.again:
        warn(
            f"{len(outcome.again)} image(s) or their rows changed since they were scored, and were "
            f"scored again: {some(outcome.again)}."
        )
    if outcome.newer:
        warn(
            f"{len(outcome.newer)} image(s) were written after {options.out}, which is complete "
            f"and stays as it is ({some(outcome.newer)}): remove it to score the folder again."
        )
    failed = outcome.failed
    unread = f"; {failed:,} of these have no score, but an error" if failed else ""
    print(f"{options.out}: {outcome.total:,} files, {outcome.scored:,} of them scored now{unread}")
    return 0


def warn(sentence: str) -> None:
    """Print a sentence on stderr."""
    print(f"dermhub: {terminal.one_line(sentence)}", file=sys.stderr)


def add_merge(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of merge."""
    together = commands.add_parser(
        "merge", help="put the shards of an archive's scores together, and verify them"
    )
    together.add_argument(
        "out", type=Path, metavar="OUT", help="the table to write, .csv or .parquet"
    )
    together.add_argument(
        "shards",
        nargs="+",
        type=Path,
        metavar="SHARD",
        help="what `predict --shard I/N` wrote, .csv",
    )
    together.set_defaults(run=run_merge)


def run_merge(options: argparse.Namespace) -> int:
    """Write the merged table and print its number of rows."""
    total = merge.merge(options.out, options.shards)
    print(f"{options.out}: {total:,} files of {len(options.shards)} shards")
    return 0
