"""Merging of the scores of all shards of a folder into a single table, verified to be complete."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

from dermhub.errors import ConfigError, DataError, some
from dermhub.scoring import results, resumable_csv, row_check
from dermhub.scoring.results import RunManifest

Record = list[str]
"""Cells of a row, the path of the image first."""

Place = tuple[Path, int]
"""A shard and the line in it at which a row begins."""


def merge(out: Path, shards: Sequence[Path]) -> int:
    """Write the table that a single run over the whole folder would have written.

    Returns its number of rows. The shards must be complete, of the same model and the same state of
    the folder, and each be given once. Every row must be a file of its shard, and all files
    together must be those that were listed. Raises DataError or ConfigError otherwise, and then
    leaves no file behind.
    """
    results.check_name(out)
    whole = check(shards)
    existing = [path for path in (out, *results.side_files(out)) if path.exists()]
    if existing:
        raise ConfigError(f"{existing[0]} is there already: give another file, or remove it first.")
    count = 0

    def counted() -> Iterator[Record]:
        nonlocal count
        for record in _merged(shards, whole):
            count += 1
            yield record

    results.publish(counted(), out, whole.columns, whole)
    return count


def check(shards: Sequence[Path]) -> RunManifest:
    """Return the manifest of the merged table.

    Raises DataError when the shards don't belong together, or when a shard is missing or given
    twice.
    """
    runs = [_read_run(path) for path in shards]
    first = runs[0]
    for path, run in zip(shards, runs, strict=True):
        name = results.difference(first, run, but=("shard",))
        if name:
            raise DataError(
                f"{path} was made with {results.WORDS[name]} than {shards[0]}: score it again."
            )
    numbers, counts = zip(*(results.parse_shard(run.shard) for run in runs), strict=True)
    if len(set(counts)) != 1:
        kinds = some(f"{path} is {run.shard}" for path, run in zip(shards, runs, strict=True))
        raise DataError(f"The shards are of different divisions ({kinds}): give all of one.")
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, counts[0] + 1)) - set(numbers))
    for problem, wrong in (("missing", missing), ("given twice", twice)):
        if wrong:
            names = some(f"{number}/{counts[0]}" for number in wrong)
            verb = "is" if len(wrong) == 1 else "are"
            raise DataError(f"Shard(s) {names} of the archive {verb} {problem}.")
    return dataclasses.replace(first, shard="1/1")


def _read_run(path: Path) -> RunManifest:
    """Read the manifest of a complete shard; raises ConfigError or DataError for any other file."""
    if path.suffix.lower() != ".csv":
        raise ConfigError(
            f"{path} can't be merged: expected shards in .csv; the merged file may be .parquet."
        )
    run = RunManifest.read(path)
    if run is None:
        raise DataError(f"{path} is no shard of scores: there is no {results.side_files(path)[0]}.")
    if not path.is_file():
        raise DataError(
            f"{path} is not complete: run its command again, which goes on where it stopped."
        )
    return run


def _merged(shards: Sequence[Path], whole: RunManifest) -> Iterator[Record]:
    """Yield the rows of all shards in order.

    Raises DataError for rows that are not in order, or not those of the whole folder.
    """
    names: list[str] = []
    records = (_records(path, whole) for path in shards)
    # The operating point is the model's, so all rows state one threshold.
    threshold = ""
    # Each shard is in order, so merging needs a row of each in memory and no sorting.
    for record, place in heapq.merge(*records, key=lambda row: results.order(row[0][0])):
        if names and results.order(names[-1]) >= results.order(record[0]):
            raise DataError(
                f"{record[0]!r} is there twice, or the rows of a shard are not in order."
            )
        names.append(record[0])
        stated = dict(zip(whole.columns, record, strict=True)).get("threshold", "")
        threshold = threshold or stated
        if stated not in ("", threshold):
            raise _damaged(place, "threshold", f"is {stated!r}, but {threshold} in other rows")
        yield record
    if (len(names), results.listing_sha256(names)) != (whole.files, whole.listing_sha256):
        raise DataError(
            f"The shards hold {len(names):,} files, which are not the {whole.files:,} of the "
            "folder: a shard was changed or damaged; score it again."
        )


def _records(path: Path, whole: RunManifest) -> Iterator[tuple[Record, Place]]:
    """Yield the rows of a shard without the heading, each with its place.

    Raises DataError for a heading or a row that is not the shard's, for values that don't fit each
    other, and for a damaged file.
    """
    shard = RunManifest.read(path)
    assert shard is not None
    index, count = results.parse_shard(shard.shard)
    end = 0
    line = 1
    for number, (record, place) in enumerate(resumable_csv.read_rows(path)):
        end = place
        if number == 0:
            if tuple(record) != whole.columns:
                raise DataError(f"{path} has another heading than a run writes: score it again.")
        elif len(record) != len(whole.columns) or results.shard_of(record[0], count) != index:
            raise DataError(
                f"{path} has a row {record[0]!r} that does not belong to shard {shard.shard}: "
                "score it again."
            )
        else:
            problem = row_check.problem(record, whole.columns)
            if problem is not None:
                raise _damaged((path, line), *problem)
            yield record, (path, line)
        # A name may hold line feeds.
        line += resumable_csv.to_line(record).count(b"\n")
    if end != path.stat().st_size:
        raise DataError(f"{path} is cut short or damaged after {end:,} bytes: score it again.")


def _damaged(place: Place, column: str, problem: str) -> DataError:
    """Make the error for a value that can't be a model's answer."""
    path, line = place
    return DataError(f"{path}, line {line}, column {column} {problem}: score it again.")
