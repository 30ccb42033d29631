"""Score a whole folder: decoding and the model in lanes side by side, the rows in a journal that
survives a kill.

Each lane is a thread that takes a batch, decodes it and runs the model on it with one thread of its
own, so that one lane decodes while another computes, and no core waits for another. Pillow, PyTorch
and ONNX Runtime let go of Python's lock meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dermhub import files
from dermhub.errors import ImageError
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.scoring import results
from dermhub.scoring.progress import Progress
from dermhub.scoring.results import ERROR, RunManifest
from dermhub.scoring.resumable_csv import ResumableCsv

Row = dict[str, Any]


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
    with ResumableCsv(part, about.columns, chosen, batch) as journal, warnings.catch_warnings():
        # Pillow's warnings are switched off while an image is opened. That is not done for each
        # thread, so one that is done with it would switch them on for another: here they are off
        # for all of them.
        warnings.simplefilter("ignore")
        before, failed, progress = journal.done, 0, Progress(len(chosen), journal.done, always)
        for done in score_images(classifier, folder, chosen[before:], batch, lanes):
            journal.append(done)
            progress.add(len(done))
            failed += sum(ERROR in row for row in done)
        progress.close()
    results.publish(part, out, about.columns)
    return len(chosen), len(chosen) - before, failed


def score_images(
    classifier: Classifier, folder: Path, chosen: Sequence[str], batch: int, lanes: int
) -> Iterator[list[Row]]:
    """The rows of the files, a batch at a time and in their order; at most three batches a lane are
    in memory.
    """
    with ThreadPoolExecutor(lanes) as pool:
        waiting: deque[Future[list[Row]]] = deque()
        try:
            for start in range(0, len(chosen), batch):
                waiting.append(
                    pool.submit(
                        score_batch, classifier, folder, chosen[start : start + batch], batch
                    )
                )
                if len(waiting) >= 3 * lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def score_batch(
    classifier: Classifier, folder: Path, chosen: Sequence[str], size: int
) -> list[Row]:
    """The rows of at most `size` files; one that is no usable image has its name and the error
    alone.
    """
    found: list[Row] = [{"image": name} for name in chosen]
    prepared, places = [], []
    for place, name in enumerate(chosen):
        try:
            prepared.append(classifier.prepare(folder / name))
            places.append(place)
        except ImageError as error:
            found[place][ERROR] = str(error)
    if prepared:
        # Kernels round differently in batches of another size.
        filled = prepared + prepared[-1:] * (size - len(prepared))
        for place, answer in zip(places, classifier.predict_prepared(filled), strict=False):
            found[place] = prediction.to_csv_row(prediction.to_record(chosen[place], answer))
    return found


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
