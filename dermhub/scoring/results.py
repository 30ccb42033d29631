"""Files of the scores of a folder: the table, its manifest, and the rows of an unfinished run.

scores.csv            the complete table, one row a file in sorted order; or scores.parquet
scores.csv.json       the manifest of the run (`RunManifest`), written first
scores.csv.part       the rows so far (`resumable_csv.ResumableCsv`), until the run is complete
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from dermhub import files
from dermhub.errors import ConfigError, DataError
from dermhub.scoring import resumable_csv

FORMAT = "dermhub scores 2"
"""Format of a manifest; since 2 the zone of a refused image is "refused"."""

ERROR = "error"
"""Last column: the reason why a file could not be scored, in one sentence, or nothing."""

TEXT = ("image", "label", "balanced_label", "zone", "conformal", "concerns", "abstention", ERROR)
"""Columns of text; the others hold numbers, and `malignant` true or false."""

GROUP = 4096
"""Rows that are converted to Parquet at once."""

WORDS = {
    "model": "another model",
    "engine": "another engine",
    "weights_sha256": "other weights",
    "config_sha256": "another configuration of the model",
    "columns": "other columns",
    "batch": "another --batch",
    "shard": "another --shard",
    "files": "another number of files in the folder",
    "listing_sha256": "other names of files in the folder",
}
"""Words for a difference between two runs in each field of `RunManifest`."""


@dataclass(frozen=True)
class RunManifest:
    """Origin of a table of scores: two runs that agree in every field give the same rows.

    `shard` is "I/N". `files`, their number, and `listing_sha256`, the hash of their names, are
    those of the whole folder, whatever the shard.
    """

    model: str
    engine: str
    weights_sha256: str
    config_sha256: str
    columns: tuple[str, ...]
    batch: int
    shard: str
    files: int
    listing_sha256: str

    @classmethod
    def read(cls, out: Path) -> RunManifest | None:
        """Read the manifest of the scores `out`, or None where there is none.

        Raises DataError for a damaged file.
        """
        path = side_files(out)[0]
        if not path.exists():
            return None
        if not path.is_file():
            # A pipe would never come to an end.
            raise DataError(f"{path} is no file: give another name for the scores.")
        content = files.read_json(path)
        try:
            if content.pop("format") != FORMAT:
                raise ValueError("the format of another dermhub")
            run = cls(**content | {"columns": tuple(content["columns"])})
            parse_shard(run.shard)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} does not tell what the scores are made from ({error}): start anew."
            ) from None
        return run

    def write(self, out: Path) -> None:
        """Write the manifest beside the scores `out`."""
        files.write_json(side_files(out)[0], {"format": FORMAT} | dataclasses.asdict(self))


def side_files(out: Path) -> tuple[Path, Path]:
    """Return the paths of the manifest of the scores `out` and of their rows so far."""
    return out.with_name(f"{out.name}.json"), out.with_name(f"{out.name}.part")


def check_name(out: Path) -> None:
    """Raise ConfigError for a name that ends in neither .csv nor .parquet.

    Parquet is refused, too, where pyarrow is not installed.
    """
    if out.suffix.lower() == ".parquet":
        pyarrow()
    elif out.suffix.lower() != ".csv":
        raise ConfigError(
            f"{str(out)!r} can't be written: expected a name that ends in .csv or .parquet."
        )


def open_run(out: Path, run: RunManifest) -> bool:
    """Start scores or prepare to resume them; returns True if they are complete already.

    Raises ConfigError when `out` belongs to a run that differs from `run`, or to no run at all.
    """
    before = RunManifest.read(out)
    if before is None:
        existing = [path for path in (out, side_files(out)[1]) if path.exists()]
        if existing:
            raise ConfigError(
                f"{existing[0]} is there already, and is no part of a run: give another file with "
                "--out."
            )
        run.write(out)
        return False
    name = difference(before, run)
    if name:
        # No longer than a hash.
        old = str(getattr(before, name))[:64]
        new = str(getattr(run, name))[:64]
        raise ConfigError(
            f"{out} was begun with {WORDS[name]} ({old}, now {new}): go on with what it was begun "
            "with, or give another file with --out."
        )
    return out.exists()


def difference(before: RunManifest, now: RunManifest, but: Sequence[str] = ()) -> str:
    """Return the first field, except those in `but`, in which two runs differ, or ""."""
    for name in WORDS:
        if name not in but and getattr(before, name) != getattr(now, name):
            return name
    return ""


def publish(
    records: Iterable[Sequence[str]],
    out: Path,
    columns: Sequence[str],
    manifest: RunManifest | None = None,
) -> None:
    """Write rows as the scores `out`, all or none, as CSV or Parquet.

    A `manifest` is written in between, when the rows are on the disk. Raises ConfigError where
    `out` can't be written, and passes errors of `records` on.
    """
    write = to_parquet if out.suffix.lower() == ".parquet" else to_csv
    try:
        with files.replacing(out) as stream:
            write(records, stream, columns)
            if manifest is not None:
                files.sync(stream)
                manifest.write(out)
    except OSError as error:
        raise resumable_csv.unwritable(out, error) from error


def to_csv(records: Iterable[Sequence[str]], stream: BinaryIO, columns: Sequence[str]) -> None:
    """Write rows as CSV."""
    stream.write(resumable_csv.to_line(columns))
    for record in records:
        stream.write(resumable_csv.to_line(record))


def listing_sha256(names: Iterable[str]) -> str:
    """Hash the names of all files in order, each ended by a zero byte, by sha256."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """Parse "I/N" into two numbers with 1 <= I <= N; raises ConfigError."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ConfigError(f"--shard is {text!r}, expected I/N with I from 1 to N, for example 1/4.")
    return int(index), int(count)


def shard_of(name: str, count: int) -> int:
    """Assign a file to one of `count` shards, 1 to `count`, by the hash of its path in the folder.

    The path is hashed, and not the content, so that a shard can be listed without reading files.
    """
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "little") % count + 1


def order(name: str) -> list[str]:
    """Return the key by which files are sorted on every system: the parts of the path."""
    return name.split("/")


def to_parquet(records: Iterable[Sequence[str]], stream: BinaryIO, columns: Sequence[str]) -> None:
    """Write rows as Parquet, a group of rows at a time.

    A file name that is no UTF-8 is escaped.
    """
    arrow: Any = pyarrow()
    kinds = {"malignant": arrow.bool_()} | dict.fromkeys(TEXT, arrow.string())
    schema = arrow.schema([(name, kinds.get(name, arrow.float64())) for name in columns])
    rows = iter(records)
    with arrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while group := list(islice(rows, GROUP)):
            cells = {
                name: [_value(row[place], name) for row in group]
                for place, name in enumerate(columns)
            }
            writer.write_table(arrow.table(cells, schema))


def pyarrow() -> ModuleType:
    """Import pyarrow with its Parquet part; raises ConfigError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"Parquet needs pyarrow, which can't be imported ({error}): pip install pyarrow, or "
            "write .csv."
        ) from None
    module: ModuleType = pyarrow
    return module


def select(names: Sequence[str], shard: str) -> Iterator[str]:
    """Return the names of a shard, in their order."""
    index, count = parse_shard(shard)
    return (name for name in names if shard_of(name, count) == index)


def _value(text: str, name: str) -> Any:
    """Convert a cell of a CSV row to the type of its column; an empty number is None."""
    if name in TEXT:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text == "":
        return None
    return text == "True" if name == "malignant" else float(text)
