"""The command line: python -m dermhub COMMAND, of which --help lists all.

Modules with heavy imports are imported by the command that needs them, so that --help is quick.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermhub import card_commands, folder_commands, hub_commands
from dermhub.errors import ConfigError, DataError, DermhubError, ImageError

if TYPE_CHECKING:
    from dermhub.classifier import Classifier
    from dermhub.prediction import Prediction


def make_parser() -> argparse.ArgumentParser:
    """The options of every command."""
    parser = argparse.ArgumentParser(
        prog="python -m dermhub",
        description="Classify dermatoscopic images. Research software, not a medical device.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="classify images")
    predict.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="image files, or folders of them")
    predict.add_argument("--model", default="lesion", help="model, folder, FILE.onnx or org/name (default: lesion)")
    predict.add_argument("--format", choices=("table", "json", "csv"), help="how to print it (default: table)")
    predict.add_argument("--explain", type=Path, metavar="DIR", help="write a Grad-CAM overlay of each image there")
    folder_commands.add_scoring(predict)
    predict.set_defaults(run=run_predict)

    evaluate = commands.add_parser("evaluate", help="measure a model on labelled images, as JSON")
    evaluate.add_argument("--model", required=True, help="model, folder or org/name of the hub")
    evaluate.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder with the images")
    evaluate.add_argument("--labels", required=True, type=Path, metavar="CSV", help="table with image_id and dx")
    evaluate.add_argument(
        "--split", default="", choices=("train", "validation", "test"), help="only this split of HAM10000's lesions"
    )
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="write the JSON there instead of printing it")
    evaluate.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes that decode")
    evaluate.set_defaults(run=run_evaluate)

    export = commands.add_parser("export", help="write a model as an ONNX file, which needs no PyTorch")
    export.add_argument("--model", required=True, help="model, folder or org/name of the hub")
    export.add_argument("--to", required=True, type=Path, metavar="FILE.onnx", help="file to write")
    export.set_defaults(run=run_export)

    listing = commands.add_parser("list", help="the models that are shipped, with their test figures")
    listing.set_defaults(run=run_list)
    card_commands.add_parsers(commands)
    hub_commands.add_parsers(commands)
    folder_commands.add_parsers(commands)
    return parser


def run_predict(options: argparse.Namespace) -> int:
    """Print one row an image; an image that can't be used is a line on stderr, and exit code 2."""
    if options.folder is not None or options.out is not None:
        return folder_commands.run_scoring(options)
    if not options.images:
        raise ConfigError("There is nothing to classify: give image files, or --images DIR and --out FILE.")
    from dermhub import rows as tables
    from dermhub.classifier import load

    paths = expand(options.images)
    classifier = load(options.model)
    overlays = overlay_paths(options.explain, paths) if options.explain else {}
    rows, failed = [], 0
    for path in paths:
        try:
            prediction = explain_to(classifier, path, overlays[path]) if overlays else classifier.predict(path)
        except ImageError as error:
            print(f"dermhub: {error}", file=sys.stderr)
            failed += 1
        else:
            rows.append(tables.flat(str(path), prediction))
    show(rows, options.format or "table", classifier)
    return 2 if failed else 0


def expand(given: list[Path]) -> list[Path]:
    """The files given, and the images in the folders given; raises DataError for a folder without any."""
    from dermhub import files

    return [path for one in given for path in (files.image_files(one) if one.is_dir() else [one])]


def overlay_paths(folder: Path, images: list[Path]) -> dict[Path, Path]:
    """Where the overlay of each image goes; two images of one name must not share a file, nor take another's."""
    # Folded, because some file systems don't tell A.jpg from a.jpg.
    stems = Counter(path.stem.casefold() for path in dict.fromkeys(images))
    found: dict[Path, Path] = {}
    for path in dict.fromkeys(images):
        names = (f"{path.stem}-{number}" for number in count(1))
        free = path.stem if stems[path.stem.casefold()] == 1 else next(n for n in names if n.casefold() not in stems)
        stems[free.casefold()] += 1
        found[path] = folder / f"{free}-map.png"
    return found


def explain_to(classifier: Classifier, path: Path, out: Path) -> Prediction:
    """Write the overlay of the predicted class and return the prediction."""
    from dermhub import files

    explanation = classifier.explain(path)
    stream = io.BytesIO()
    explanation.overlay.save(stream, "PNG")
    files.write_bytes(out, stream.getvalue())
    return explanation.prediction


def show(rows: list[dict[str, Any]], kind: str, classifier: Classifier) -> None:
    """Print rows as a table for people, JSON or CSV."""
    if kind == "json":
        print(json.dumps(rows, indent=2))
    elif kind == "csv":
        from dermhub.rows import cells, columns

        writer = csv.DictWriter(sys.stdout, columns(classifier.classes), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells(row) for row in rows)
    elif rows:
        show_table(rows, classifier)


def show_table(rows: list[dict[str, Any]], classifier: Classifier) -> None:
    """Print rows for people: a line an image, and below it what speaks against relying on the answer."""
    conformal = classifier.config.conformal
    width = max(len(row["image"]) for row in rows)
    heading = f"{'image':{width}}  label      malignancy  " + " ".join(f"{c:>9}" for c in classifier.classes)
    print(heading + (f"  {conformal.level:.0%} set" if conformal else ""))
    for row in rows:
        mark = ">=" if row["malignant"] else "< "
        values = " ".join(f"{row[f'p_{c}']:9.4f}" for c in classifier.classes)
        held = f"  {' '.join(row['conformal']) or 'none'}" if conformal else ""
        print(f"{row['image']:{width}}  {row['label']:9}  {row['malignancy']:.4f} {mark}   {values}{held}")
        for sentence in dict.fromkeys([row["abstention"], *(one["sentence"] for one in row["concerns"])]):
            if sentence:
                print(f"{'':{width}}  {sentence}")
    name, point = next(iter(classifier.config.thresholds.items()))
    print(f"\n>=: at or above the operating point {name}, {point.value:.4f} ({point.aim}, chosen on {point.split}).")
    if conformal:
        print(f"{conformal.level:.0%} set: holds the true class for that share of the lesions of each class.")
    print("Research software, not a medical device.")


def run_evaluate(options: argparse.Namespace) -> int:
    """Write every figure of a model on labelled images as JSON."""
    from dermhub import evaluation, files
    from dermhub.classifier import load

    if options.workers < 0:
        raise ConfigError(f"--workers is {options.workers}, expected at least 0.")
    classifier = load(options.model)
    labelled = evaluation.read_labelled(options.images, options.labels, classifier.config.task, options.split)
    content = evaluation.evaluate(classifier, labelled, options.workers)
    if labelled.left_out:
        counts = ", ".join(f"{n} x {dx}" for dx, n in labelled.left_out.items())
        print(f"dermhub: left out, no class of the task {content['task']!r}: {counts}.", file=sys.stderr)
    for key, what, advice in (
        ("images_of_training_lesions", "show lesions that the HAM10000 models were trained or tuned on",
         "Use --split test."),
        ("copies_of_images_learnt_from", f"look like copies of images that {options.model} has learnt from",
         "`python -m dermhub overlap` names them."),
    ):  # fmt: skip
        count = content[key]
        if isinstance(count, int) and count:
            told = f"{count} of {content['n']} images {what}; the figures are too good. {advice}"
            print(f"dermhub: WARNING: {told}", file=sys.stderr)
    if options.out is None:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        files.write_json(options.out, content)
        print(f"{options.out}: {content['n']} images")
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Write a model as an ONNX file; print its size and how far its answers are from PyTorch's."""
    from dermhub.classifier import load
    from dermhub.export import LIMIT, export

    classifier = load(options.model)
    worst = export(classifier, options.to)
    size = options.to.stat().st_size / 1e6
    print(f"{options.to}: {classifier.name}, {size:.1f} MB, at most {worst:.0e} from PyTorch (accepted: {LIMIT:.0e})")
    return 0


def run_list(_: argparse.Namespace) -> int:
    """Print the shipped models, without loading them."""
    from dermhub import files
    from dermhub.catalog import shipped

    models = shipped()
    if not models:
        raise DataError("No model is shipped: there is no folder model_cards beside the package.")
    print(f"{'id':16} {'task':8} {'backbone':20} {'MB':>5}  test: accuracy  balanced  AUROC malignancy")
    for name, folder in models.items():
        config, content = files.read_json(folder / "config.json"), files.read_json(folder / "metrics.json")
        try:
            test, megabytes = content["test"], (folder / "model.safetensors").stat().st_size / 1e6
            print(
                f"{name:16} {config['dermhub']['task']:8} {config['architecture']:20} {megabytes:5.1f}  "
                f"{test['accuracy']:14.4f} {test['balanced_accuracy']:9.4f} {test['malignancy_auroc']:17.4f}"
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{folder} is damaged ({error}): restore it, for example with git.") from error
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors about the input are one sentence on stderr and exit code 2."""
    options = make_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A file name that the terminal can't show must not cost the answer.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = int(options.run(options))
        # Python would write the rest only after this, and then a reader that has gone is exit code 120.
        sys.stdout.flush()
    except DermhubError as error:
        print(f"dermhub: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"dermhub: this needs {error.name}, which is not installed: pip install -r requirements.txt. Without it, "
            "predict takes an exported --model FILE.onnx, or a folder with a model.onnx.",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        # The reader (head, less) has gone, which is no error.
        _give_up_output()
        return 0
    except OSError as error:
        what = (
            "The output can't be written" if error.filename is None else f"{str(error.filename)[:80]!r} can't be used"
        )
        print(f"dermhub: {what} ({error.strerror or error}).", file=sys.stderr)
        if error.filename is None:
            _give_up_output()
        return 2
    return code


def _give_up_output() -> None:
    # Python would try to write the rest once more while it closes stdout, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
