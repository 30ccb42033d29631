"""The files of an archive's scores: the table, what it was made from, and the part of it that is
there so far.

scores.csv            the complete table, one row a file in sorted order; or scores.parquet
scores.csv.json       what it was made from (`Run`); there from the first moment scores.csv.part
the rows so far (`resumable_csv.ResumableCsv`), while the run is not complete
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from dermhub import files
from dermhub.errors import ConfigError, DataError

FORMAT = "dermhub scores 1"

ERROR = "error"
"""The last column: why a file could not be scored, in one sentence, or nothing."""

TEXT = ("image", "label", "conformal", "concerns", "abstention", ERROR)

GROUP = 4096
"""Rows that are turned to Parquet at once."""


@dataclass(frozen=True)
class RunManifest:
    """What scores are made from: two runs that agree in all of it give the same rows.

    `shard` is "I/N". `files` and `listing_sha256` are of the whole folder, whatever the shard.
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
        """What the scores `out` are made from, or None if there are none; raises DataError for a
        damaged file.
        """
        path = side_files(out)[0]
        if not path.exists():
            return None
        content = files.read_json(path)
        try:
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            run = cls(**content | {"columns": tuple(content["columns"])})
            parse_shard(run.shard)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} does not tell what the scores are made from ({error}): start anew."
            ) from None
        return run

    def write(self, out: Path) -> None:
        """Write it beside the scores."""
        files.write_json(side_files(out)[0], {"format": FORMAT} | dataclasses.asdict(self))


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
"""How a difference between two runs is told."""


def side_files(out: Path) -> tuple[Path, Path]:
    """Where it stands what the scores were made from, and their journal."""
    return out.with_name(f"{out.name}.json"), out.with_name(f"{out.name}.part")


def check_name(out: Path) -> None:
    """Refuse a name that says neither CSV nor Parquet, and Parquet where there is no pyarrow;
    raises ConfigError.
    """
    if out.suffix.lower() == ".parquet":
        pyarrow()
    elif out.suffix.lower() != ".csv":
        raise ConfigError(
            f"{str(out)!r} can't be written: expected a name that ends in .csv or .parquet."
        )


def open_run(out: Path, run: RunManifest) -> bool:
    """Start or go on with scores; whether they are complete already.

    Raises ConfigError when `out` was begun with anything else than `run`, or holds something else.
    """
    before = RunManifest.read(out)
    if before is None:
        there = [path for path in (out, side_files(out)[1]) if path.exists()]
        if there:
            raise ConfigError(
                f"{there[0]} is there already, and is no part of a run: give another file with "
                "--out."
            )
        run.write(out)
        return False
    name = difference(before, run)
    if name:
        old, new = (str(getattr(one, name))[:64] for one in (before, run))
        raise ConfigError(
            f"{out} was begun with {WORDS[name]} ({old}, now {new}): go on with what it was begun "
            "with, or give another file with --out."
        )
    return out.exists()


def difference(before: RunManifest, now: RunManifest, but: Sequence[str] = ()) -> str:
    """The first field, of those not in `but`, in which two runs differ, or ""."""
    return next(
        (name for name in WORDS if name not in but and getattr(before, name) != getattr(now, name)),
        "",
    )


def publish(table: Path, out: Path, columns: Sequence[str]) -> None:
    """Turn a complete CSV table, which is gone then, into the scores: at once or not at all."""
    if out.suffix.lower() == ".parquet":
        partial = out.with_name(f"{out.name}.new")
        try:
            to_parquet(table, partial, columns)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
        table.unlink()
    else:
        table.replace(out)


def listing_sha256(names: Iterable[str]) -> str:
    """sha256 of the names of all files in order, each ended by a zero byte."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """ "I/N" as two numbers with 1 <= I <= N; raises ConfigError."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ConfigError(f"--shard is {text!r}, expected I/N with I from 1 to N, for example 1/4.")
    return int(index), int(count)


def shard_of(name: str, count: int) -> int:
    """Which of `count` shards, from 1 on, a file belongs to: by the hash of its path below the
    folder.
    """
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "little") % count + 1


def order(name: str) -> list[str]:
    """What files are sorted by, on every system alike: the parts of the path below the folder."""
    return name.split("/")


def to_parquet(table: Path, out: Path, columns: Sequence[str]) -> None:
    """A CSV table of scores as Parquet, a group of rows at a time; a file name that is no UTF-8 is
    escaped.
    """
    arrow: Any = pyarrow()
    kinds = {"malignant": arrow.bool_()} | dict.fromkeys(TEXT, arrow.string())
    schema = arrow.schema([(name, kinds.get(name, arrow.float64())) for name in columns])
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as stream, arrow.parquet.ParquetWriter(
        out, schema, compression="zstd"
    ) as writer:  # fmt: skip
        reader = csv.DictReader(stream)
        while group := list(islice(reader, GROUP)):
            writer.write_table(
                arrow.table(
                    {name: [_value(row, name) for row in group] for name in columns}, schema
                )
            )


def pyarrow() -> ModuleType:
    """pyarrow with its Parquet part; raises ConfigError when it is not installed."""
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
    """The names of a shard, in their order."""
    index, count = parse_shard(shard)
    return (name for name in names if shard_of(name, count) == index)


def _value(row: dict[str, str], name: str) -> Any:
    text = row[name]
    if name in TEXT:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text == "":
        return None
    return text == "True" if name == "malignant" else float(text)
