"""Scoring of a whole folder in parallel lanes, with rows that survive a killed process.

Each lane takes a batch, decodes it and runs the model on it with a single thread, so that a lane
decodes while another computes, and no core waits for another. Lanes are threads, and for many files
processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from dermhub.data import batches, image_files
from dermhub.errors import ConfigError, ImageError
from dermhub.images.decode import MIN_SIDE
from dermhub.images.photo import Photo
from dermhub.models import prediction
from dermhub.models.classifier import Classifier
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.scoring import processes, results, resumable_csv, stale_rows
from dermhub.scoring.results import ERROR, RunManifest
from dermhub.scoring.resumable_csv import ResumableCsv
from dermhub.scoring.stale_rows import CHECK

EVERY = 0.5
"""Seconds between two updates of the progress on a terminal; elsewhere twenty times as many."""

PROCESSES_FROM = 1000
"""Files from which on lanes are processes: these save the second that they take to start.

They serve ONNX Runtime on the CPU alone. With PyTorch a process takes several times the memory, and
larger networks compute for so long that Python's lock matters little.
"""

Row = dict[str, Any]
"""Column -> value, as `prediction.to_row` makes it, or the name and the error of a bad file."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: numbers of files, and names of those that changed meanwhile.

    `total` files are in the table, `scored` of them were read now, and `failed` of the latter have
    an error in place of a score. `again` names the rows that were scored again (`stale_rows.find`),
    and `newer` the files that were written after a table that was complete before and stays as it
    is.
    """

    total: int
    scored: int = 0
    failed: int = 0
    again: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()


def describe(classifier: Classifier, listing: Sequence[str], shard: str, batch: int) -> RunManifest:
    """Describe the scores of a folder with these files: the manifest of the run."""
    engine = classifier.engine
    content = classifier.config.to_json()
    if classifier.operating_point != classifier.config.operating_point:
        content["operating_point"] = classifier.operating_point
    config = json.dumps(content, sort_keys=True, allow_nan=False)
    return RunManifest(
        model=classifier.name,
        engine=engine.runtime if engine.device == "cpu" else f"{engine.runtime} on a GPU",
        weights_sha256=classifier.config.weights_sha256,
        config_sha256=hashlib.sha256(config.encode()).hexdigest(),
        columns=(*prediction.csv_columns(classifier.classes), ERROR),
        batch=batch,
        shard=shard,
        files=len(listing),
        listing_sha256=results.listing_sha256(listing),
    )


def relative_names(folder: Path) -> list[str]:
    """List the images below a folder by their paths in it, with "/" between the parts, sorted.

    Raises DataError where there is none.
    """
    names = [path.relative_to(folder).as_posix() for path in image_files.find(folder)]
    return sorted(names, key=results.order)


def score_folder(
    classifier: Classifier,
    folder: Path,
    out: Path,
    shard: str,
    batch: int,
    lanes: int,
    always: bool = False,
) -> Outcome:
    """Score a folder into `out`, or resume a stopped run of the same model and options.

    Rows of a stopped run whose image or values have changed since are scored again. Shows the
    progress on a terminal; with `always`, elsewhere too. Raises ConfigError where `out` belongs to
    another run.
    """
    listing = relative_names(folder)
    run = describe(classifier, listing, shard, batch)
    chosen = list(results.select(listing, shard))
    _, part = results.side_files(out)
    if results.open_run(out, run):
        # Still there if a run was killed after it had written the table.
        if part.is_file():
            resumable_csv.check_ours(part, (*run.columns, CHECK))
            part.unlink()
        return Outcome(len(chosen), newer=tuple(_newer(folder, chosen, out)))
    # Whole batches are kept: the place of an image in its batch decides how its last digit is
    # rounded.
    with ResumableCsv(part, (*run.columns, CHECK), chosen, batch) as table:
        stale = dict(stale_rows.find(table, folder, batch, lanes))
        done = table.done - sum(min(batch, len(chosen) - start) for start in stale)
        failed = 0
        with progress_bar(len(chosen), done, always) as advance, batches.without_warnings():

            def score(starts: Sequence[int]) -> Iterator[list[Row]]:
                nonlocal failed
                for rows in score_images(classifier, folder, chosen, batch, lanes, starts):
                    advance(len(rows))
                    failed += sum(ERROR in row for row in rows)
                    yield rows

            for rows in score(range(table.done, len(chosen), batch)):
                table.append(rows)
            records = _records(table, run.columns, stale, score(list(stale)), batch)
            results.publish(records, out, run.columns)
    part.unlink(missing_ok=True)
    again = tuple(reason for reasons in stale.values() for reason in reasons)
    return Outcome(len(chosen), len(chosen) - done, failed, again)


def _newer(folder: Path, names: Sequence[str], out: Path) -> Iterator[str]:
    """Yield the files that were written after the table."""
    written = out.stat().st_mtime
    for name in names:
        with contextlib.suppress(OSError):
            if (folder / name).stat().st_mtime > written:
                yield name


def _records(
    table: ResumableCsv,
    columns: Sequence[str],
    stale: Collection[int],
    fresh: Iterator[list[Row]],
    batch: int,
) -> Iterator[list[str]]:
    """Yield the rows of a complete run, with those of stale batches taken from `fresh`."""
    written = (row[:-1] for row in table.rows())
    start = 0
    while rows := list(islice(written, batch)):
        if start in stale:
            for row in next(fresh):
                yield _cells(row, columns)
        else:
            yield from rows
        start += len(rows)


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Return the text of each column; a column that the row lacks is empty."""
    cells = (row.get(name) for name in columns)
    return ["" if cell is None else str(cell) for cell in cells]


def score_images(
    classifier: Classifier,
    folder: Path,
    chosen: Sequence[str],
    batch: int,
    lanes: int,
    starts: Sequence[int] | None = None,
) -> Generator[list[Row]]:
    """Yield the rows of the files, a batch at a time and in their order.

    `starts` are the places of the batches' first files, by default of all. At most `batches.AHEAD`
    batches per lane are in memory. Raises ConfigError where the process of a lane is ended.
    """
    every = range(0, len(chosen), batch) if starts is None else starts
    names = (chosen[start : start + batch] for start in every)
    score = partial(score_batch, classifier, folder, size=batch)
    many = lanes > 1 and len(every) * batch >= PROCESSES_FROM
    on_cpu = classifier.engine.runtime == OnnxEngine.runtime and classifier.device == "cpu"
    if many and on_cpu and processes.available():
        return processes.in_order(score, names, lanes)
    return batches.in_order(score, names, lanes)


def score_batch(
    classifier: Classifier, folder: Path, chosen: Sequence[str], size: int
) -> list[Row]:
    """Score at most `size` files; the row of an unusable image holds its name and the error alone.

    Images are decoded one by one, so that the pixels of only one of them are in memory at a time.
    """
    rows: list[Row] = [{"image": name} for name in chosen]
    # Before the files are decoded: the row of one that changes in between is scored again.
    digests = [stale_rows.file_digest(folder / name) for name in chosen]
    # Places in `rows` of the files that are images.
    places: list[int] = []

    def photos() -> Iterator[Photo]:
        for place, name in enumerate(chosen):
            try:
                photo = Photo.open(folder / name)
            except ImageError as error:
                rows[place][ERROR] = str(error)
            else:
                places.append(place)
                yield photo
                # Let go of it before the next one is decoded.
                del photo
        if places:
            # Kernels round differently in batches of another size, so a blank image fills this
            # batch up; its answers are dropped below.
            blank = Photo(Image.new("RGB", (MIN_SIDE, MIN_SIDE)))
            yield from [blank] * (size - len(places))

    answers = classifier.predict(photos(), batch=size)
    for place, answer in zip(places, answers, strict=False):
        rows[place] = prediction.to_row(chosen[place], answer)
    columns = (*prediction.csv_columns(classifier.classes), ERROR)
    for row, digest in zip(rows, digests, strict=True):
        row[CHECK] = stale_rows.row_digest(digest, _cells(row, columns))
    return rows


@contextlib.contextmanager
def progress_bar(total: int, done: int, always: bool) -> Iterator[Callable[[int], object]]:
    """Yield a function that is called with the number of files that were just done.

    A line on stderr shows the files done, the rate and the time left. A terminal shows a single
    line, which is written over. Elsewhere lines are written only with `always`, and more rarely.
    Raises ConfigError where `always` is given and tqdm is not installed.
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
        smoothing=0,  # the rate is the mean so far, and the time left follows from it
        file=sys.stderr if terminal else _Lines(sys.stderr),
    ) as bar:
        yield bar.update


class _Lines:
    """A stream for tqdm on which each state of the bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a state of the bar; tqdm separates them by carriage returns."""
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def cores() -> int:
    """Count the processor cores that this process may use."""
    # Only some systems have sched_getaffinity, which heeds limits such as those of taskset.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tqdm(needed: bool) -> Any:
    """Import tqdm; without it, return None, or raise ConfigError where it is `needed`."""
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
