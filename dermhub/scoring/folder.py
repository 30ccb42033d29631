"""Score a whole folder: decoding and the model in lanes side by side, the rows in a journal that
survives a kill.

Each lane is a thread that takes a batch, decodes it and runs the model on it with one thread of its
own, so that one lane decodes while another computes, and no core waits for another. Pillow, PyTorch
and ONNX Runtime let go of Python's lock meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from dermhub import files
from dermhub.data import batches
from dermhub.errors import ConfigError, ImageError
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.scoring import results
from dermhub.scoring.results import ERROR, RunManifest
from dermhub.scoring.resumable_csv import ResumableCsv

Row = dict[str, Any]

EVERY = 0.5
"""Seconds between two updates of the progress on a terminal; elsewhere it is written twenty times
more seldom.
"""


def describe(classifier: Classifier, listing: Sequence[str], shard: str, batch: int) -> RunManifest:
    """What the scores of a folder with these files are made from."""
    config = json.dumps(classifier.config.to_json(), sort_keys=True, allow_nan=False)
    return RunManifest(
        model=classifier.name,
        engine=type(classifier.engine).__name__,
        weights_sha256=classifier.config.weights_sha256,
        config_sha256=hashlib.sha256(config.encode()).hexdigest(),
        columns=(*prediction.csv_columns(classifier.classes), ERROR),
        batch=batch,
        shard=shard,
        files=len(listing),
        listing_sha256=results.listing_sha256(listing),
    )


def relative_names(folder: Path) -> list[str]:
    """Every image below a folder by its path in it, with "/" between the parts, sorted; raises
    DataError for none.
    """
    return sorted(
        (path.relative_to(folder).as_posix() for path in files.image_files(folder)),
        key=results.order,
    )


def score_folder(
    classifier: Classifier,
    folder: Path,
    out: Path,
    shard: str,
    batch: int,
    lanes: int,
    always: bool = False,
) -> tuple[int, int, int]:
    """Score a folder into `out`, or go on where a run of the same model and options was stopped.

    Returns how many files `out` holds, how many of them were read now, and how many of these have
    an error in place of a score. Raises ConfigError where `out` was begun with anything else.
    """
    listing = relative_names(folder)
    about = describe(classifier, listing, shard, batch)
    chosen = list(results.select(listing, shard))
    if results.open_run(out, about):
        return len(chosen), 0, 0
    part = results.side_files(out)[1]
    # Whole batches: where an image stands in one decides how the last digit is rounded.
    with (
        ResumableCsv(part, about.columns, chosen, batch) as journal,
        progress_bar(len(chosen), journal.done, always) as count,
        batches.without_warnings(),
    ):
        before, failed = journal.done, 0
        for rows in score_images(classifier, folder, chosen[before:], batch, lanes):
            journal.append(rows)
            count(len(rows))
            failed += sum(ERROR in row for row in rows)
    results.publish(part, out, about.columns)
    return len(chosen), len(chosen) - before, failed


def score_images(
    classifier: Classifier, folder: Path, chosen: Sequence[str], batch: int, lanes: int
) -> Generator[list[Row]]:
    """The rows of the files, a batch at a time and in their order; at most three batches a lane are
    in memory.
    """

    def score(start: int) -> list[Row]:
        return score_batch(classifier, folder, chosen[start : start + batch], batch)

    return batches.in_order(score, range(0, len(chosen), batch), lanes)


def score_batch(
    classifier: Classifier, folder: Path, chosen: Sequence[str], size: int
) -> list[Row]:
    """The rows of at most `size` files; one that is no usable image has its name and the error
    alone.
    """
    rows: list[Row] = [{"image": name} for name in chosen]
    places: list[int] = []

    def photos() -> Iterator[Photo]:
        # One by one, so that the pixels of one image at a time are in memory.
        photo = None
        for place, name in enumerate(chosen):
            try:
                photo = Photo.open(folder / name)
            except ImageError as error:
                rows[place][ERROR] = str(error)
            else:
                places.append(place)
                yield photo
        if photo is not None:
            # Kernels round differently in batches of another size.
            yield from [photo] * (size - len(places))

    answers = classifier.predict(photos(), batch=size)
    for place, answer in zip(places, answers, strict=False):
        rows[place] = prediction.to_csv_row(prediction.to_record(chosen[place], answer))
    return rows


@contextlib.contextmanager
def progress_bar(total: int, done: int, always: bool) -> Iterator[Callable[[int], object]]:
    """Yield what is called with the number of further files that are done.

    A line on stderr tells the files that are done, the rate and the time left; on a terminal it is
    written over, and elsewhere it is there only with `always` and much more seldom. Raises
    ConfigError where it is asked for and can't be shown.
    """
    terminal = sys.stderr.isatty()
    tqdm = _tqdm(always) if terminal or always else None
    if tqdm is None:
        yield lambda _: None
        return
    with tqdm(
        total=total,
        initial=done,
        unit=" files",
        bar_format="{n_fmt} of {total_fmt} files, {rate_fmt}, {remaining} left",
        mininterval=EVERY if terminal else 20 * EVERY,
        smoothing=0,  # the mean rate so far, from which the time left follows
        file=sys.stderr,
    ) as bar:
        yield bar.update


def _tqdm(needed: bool) -> Any:
    """The class of tqdm, or None where it is not installed; raises ConfigError where it is
    `needed`.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        if needed:
            raise ConfigError(
                "--progress needs tqdm, which is not installed: pip install tqdm, or leave "
                "--progress out."
            ) from None
        return None
    return tqdm


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
