"""Merging shards, resuming scores, and everything that is refused on the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dermhub import files
from dermhub.errors import ConfigError, DataError
from dermhub.images.drawn_lesions import draw
from dermhub.scoring import merge, results, resumable_csv
from dermhub.scoring.results import RunManifest
from dermhub.tasks import LESION
from tests.support.tiny import Command, make_model

COLUMNS = ("image", "malignancy", "error")
NAMES = ["a.png", "b/1.png", "b/2.png", "b.png", "c.png", "d.png", "e.png"]


def make_run(shard: str = "1/1", **changes: object) -> RunManifest:
    fields = {
        "model": "tiny",
        "engine": "PyTorch",
        "weights_sha256": "1" * 64,
        "config_sha256": "2" * 64,
        "columns": COLUMNS,
        "batch": 16,
        "shard": shard,
        "files": len(NAMES),
        "listing_sha256": results.listing_sha256(NAMES),
    }
    return RunManifest(**fields | changes)  # type: ignore[arg-type]


def write_shards(folder: Path, count: int, **changes: object) -> list[Path]:
    """Write the complete scores of a folder, in shards."""
    paths = []
    for number in range(1, count + 1):
        path = folder / f"{number}.csv"
        run = make_run(f"{number}/{count}", **changes)
        rows = [f"{name},0.5,\n" for name in results.select(NAMES, run.shard)]
        path.write_text("image,malignancy,error\n" + "".join(rows))
        run.write(path)
        paths.append(path)
    return paths


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_merged_in_the_order_of_one_run(tmp_path: Path, count: int) -> None:
    out = tmp_path / "new" / "all.csv"
    assert merge.merge(out, write_shards(tmp_path, count)[::-1]) == 7
    assert out.read_text() == "image,malignancy,error\n" + "".join(
        f"{name},0.5,\n" for name in NAMES
    )
    assert RunManifest.read(out) == make_run()
    assert sorted(path.name for path in out.parent.iterdir()) == ["all.csv", "all.csv.json"]


def replace(old: str, new: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(path.read_text().replace(old, new))


def pipe(suffix: str) -> Callable[[Path], object]:
    """Put a pipe in the place of a shard's file."""

    def damage(path: Path) -> None:
        place = path.with_name(path.name + suffix)
        place.unlink()
        os.mkfifo(place)

    return damage


def restate(**changes: object) -> Callable[[Path], object]:
    return lambda path: make_run(**{"shard": "1/2"} | changes).write(path)  # type: ignore[arg-type]


FIRST = next(results.select(NAMES, "1/2"))
LAST = list(results.select(NAMES, "1/2"))[-1]
COUNT = len(list(results.select(NAMES, "1/2")))
SECOND = next(results.select(NAMES, "2/2"))
BAD = [
    (replace(f"{LAST},0.5,\n", ""), "The shards hold 6 files, which are not the 7 of the folder"),
    (
        replace(f"{FIRST},0.5,\n", f"{FIRST},0.5,\n" * 2),
        f"'{FIRST}' is there twice, or the rows of a shard are not in",
    ),
    (replace(f"{FIRST},", f"{SECOND},"), f"has a row '{SECOND}' that does not belong to shard 1/2"),
    (
        replace(f"{FIRST},0.5,", f"{FIRST},1.5,"),
        "1.csv, line 2, column malignancy is '1.5', expected a number from 0 to 1: score it again.",
    ),
    (
        replace(f"{LAST},0.5,", f"{LAST},nan,"),
        f"1.csv, line {COUNT + 1}, column malignancy is 'nan', expected a number from 0 to 1",
    ),
    (
        replace(f"{FIRST},0.5,\n", f"{FIRST},0.5,damaged\n"),
        "1.csv, line 2, column malignancy is filled beside an error: score it again.",
    ),
    (
        replace(f"{FIRST},0.5,", f"{FIRST},0.5"),
        f"has a row '{FIRST}' that does not belong to shard 1/2",
    ),
    (replace("malignancy", "benignity"), "has another heading than a run writes"),
    (replace(f"{LAST},0.5,\n", f"{LAST},0.5,"), "is cut short or damaged after"),
    (replace(f"{LAST},0.5,\n", f'"{LAST},0.5,\n'), "is cut short or damaged after"),
    (lambda path: path.write_bytes(b""), "The shards hold"),
    (
        lambda path: path.unlink(),
        "is not complete: run its command again, which goes on where it stopped",
    ),
    (pipe(""), "is not complete: run its command again"),
    (
        pipe(".json"),
        "1.csv.json is no file: give another name for the scores.",
    ),
    (lambda path: path.with_name("1.csv.json").unlink(), "is no shard of scores: there is no"),
    (lambda path: path.with_name("1.csv.json").write_text("{"), "is not valid JSON"),
    (
        lambda path: path.with_name("1.csv.json").write_text("[]"),
        "does not tell what the scores are made from",
    ),
    (
        lambda path: path.with_name("1.csv.json").write_text('{"format": "x"}'),
        "does not tell what the scores are",
    ),
    (restate(weights_sha256="3" * 64), "was made with other weights than"),
    (restate(config_sha256="3" * 64), "was made with another configuration of the model than"),
    (restate(engine="ONNX Runtime"), "was made with another engine than"),
    (restate(model="other"), "was made with another model than"),
    (restate(listing_sha256="3" * 64), "was made with other names of files in the folder than"),
    (restate(files=8), "was made with another number of files in the folder than"),
    (restate(shard="2/2"), "Shard(s) 1/2 of the archive is missing."),
    (restate(shard="1/3"), "The shards are of different divisions ("),
    (restate(shard="0/2"), "does not tell what the scores are made from"),
    (restate(shard=3), "does not tell what the scores are made from"),
]


@pytest.mark.parametrize(("damage", "said"), BAD)
def test_shards_that_are_not_the_whole_are_refused(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    shards = write_shards(tmp_path, 2)
    damage(shards[0])
    with pytest.raises(DataError) as caught:
        merge.merge(tmp_path / "all.csv", shards)
    assert said in str(caught.value)
    assert not list(tmp_path.glob("all.csv*"))


def test_shards_of_two_thresholds_are_refused(tmp_path: Path) -> None:
    columns = ("image", "threshold")
    for number in (1, 2):
        run = make_run(f"{number}/2", columns=columns)
        rows = [f"{name},0.{number}\n" for name in results.select(NAMES, run.shard)]
        (tmp_path / f"{number}.csv").write_text("image,threshold\n" + "".join(rows))
        run.write(tmp_path / f"{number}.csv")
    with pytest.raises(
        DataError, match=r"\d\.csv, line 2, column threshold is '0\.\d', but 0\.\d in other rows: "
    ):
        merge.merge(tmp_path / "all.csv", [tmp_path / "1.csv", tmp_path / "2.csv"])
    assert not list(tmp_path.glob("all.csv*"))


def test_names_like_formulas_are_merged_and_read_as_they_are(tmp_path: Path) -> None:
    names = sorted(["=1+1.png", "'=2.png", "@x.png", "a;=1.png", "\ty.png", "-1.png"])
    fields = {"files": len(names), "listing_sha256": results.listing_sha256(names)}
    paths = []
    for number in (1, 2):
        run = make_run(f"{number}/2", **fields)
        paths.append(tmp_path / f"{number}.csv")
        rows = [[name, "0.5", ""] for name in results.select(names, run.shard)]
        results.publish(rows, paths[-1], COLUMNS, run)
    assert merge.merge(tmp_path / "all.csv", paths) == 6
    assert (tmp_path / "all.csv").read_text() == (
        "image,malignancy,error\n"
        "\"'\ty.png\",0.5,\n''=2.png,0.5,\n'-1.png,0.5,\n'=1+1.png,0.5,\n'@x.png,0.5,\n"
        '"a;=1.png",0.5,\n'
    )
    read = [row[0] for row, _ in resumable_csv.read_rows(tmp_path / "all.csv")]
    assert read == ["image", *names]


def test_missing_and_doubled_shards(tmp_path: Path) -> None:
    first, two, three, four = write_shards(tmp_path, 4)
    for given, said in (
        ([first, three], "Shard(s) 2/4, 4/4 of the archive are missing."),
        ([first, two, two, three, four], "Shard(s) 2/4 of the archive is given twice."),
    ):
        with pytest.raises(DataError) as caught:
            merge.merge(tmp_path / "all.csv", given)
        assert str(caught.value) == said


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, 2)
    for name in ("all.csv", "all.csv.part", "all.csv.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(
            ConfigError, match=rf"^{tmp_path / name} is there already: give another file, or remove"
        ):
            merge.merge(tmp_path / "all.csv", shards)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.csv or \.parquet"):
        merge.merge(tmp_path / "all.txt", shards)
    with pytest.raises(
        ConfigError, match=r"expected shards in .csv; the merged file may be .parquet"
    ):
        merge.merge(tmp_path / "all.csv", [tmp_path / "1.parquet"])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="can't be written"):
        merge.merge(tmp_path / "file" / "all.csv", shards)


def test_every_file_is_in_one_shard() -> None:
    names = [f"{number}/{number * 7 % 100}.jpg" for number in range(1000)]
    for count in (1, 2, 3, 16):
        parts = [list(results.select(names, f"{index}/{count}")) for index in range(1, count + 1)]
        assert sorted(name for part in parts for name in part) == sorted(names)
        assert all(len(part) > 1000 / count / 2 for part in parts)
    # Recorded: the same on every machine, or the shards of two machines would not fit.
    assert [results.shard_of(name, 4) for name in ("a.png", "b/1.png", "Übung.png")] == [4, 4, 1]


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "1/ 2", "²/3"]
)
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--shard is .*, expected I/N with I from 1 to N, for example 1/4\.$"
    ):
        results.parse_shard(text)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(5):
        draw(number, (40, 40)).save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


@pytest.mark.slow
def test_other_models_options_and_files_do_not_go_on(
    command: Command,
    tiny_lesion_model: Path,
    tiny_binary_model: Path,
    archive: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "s.csv"
    start = ["predict", "--images", archive, "--out", out]
    assert command(*start, "--model", tiny_lesion_model)[0] == 0
    other = tmp_path / "other" / "tiny-lesion"
    make_model(other, LESION, "test_resnet")
    warmer = tmp_path / "warmer" / "tiny-lesion"
    shutil.copytree(tiny_lesion_model, warmer)
    content = files.read_json(warmer / "config.json")
    content["dermhub"]["temperature"] = 2.0
    files.write_json(warmer / "config.json", content)
    draw(9, (40, 40)).save(tmp_path / "new.png")
    for options, said in (
        (["--model", tiny_binary_model], "another model (tiny-lesion, now tiny-binary)"),
        (["--model", other], "other weights ("),
        (["--model", warmer], "another configuration of the model ("),
        (["--model", tiny_lesion_model, "--batch", 8], "another --batch (4, now 8)"),
        (["--model", tiny_lesion_model, "--shard", "1/2"], "another --shard (1/1, now 1/2)"),
    ):
        code, printed, err = command(*start, *options)
        assert (code, printed) == (2, "")
        assert err.startswith(f"dermhub: {out} was begun with {said}")
        assert err.endswith(
            "): go on with what it was begun with, or give another file with --out.\n"
        )
    shutil.copy(tmp_path / "new.png", archive / "new.png")
    assert (
        "with another number of files in the folder (5, now 6)"
        in command(*start, "--model", tiny_lesion_model)[2]
    )
    (archive / "0.png").unlink()
    assert (
        "with other names of files in the folder ("
        in command(*start, "--model", tiny_lesion_model)[2]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--images", "IN"], "predict --images DIR and --out FILE go together"),
        (["--out", "s.csv"], "predict --images DIR and --out FILE go together"),
        (["x.png", "--images", "IN", "--out", "s.csv"], "go together, without IMAGE"),
        (
            ["--images", "IN", "--out", "s.csv", "--format", "json"],
            "without IMAGE, --format and --explain",
        ),
        (
            ["--images", "IN", "--out", "s.csv", "--explain", "maps"],
            "without IMAGE, --format and --explain",
        ),
        (
            ["--images", "IN", "--out", "s.txt"],
            "'s.txt' can't be written: expected a name that ends in .csv or .parq",
        ),
        (
            ["--images", "IN", "--out", "s.csv", "--batch", "0"],
            "--batch is 0, expected at least 1.",
        ),
        (
            ["--images", "IN", "--out", "s.csv", "--workers", "-1"],
            "--workers is -1, expected at least 0.",
        ),
        (["--images", "IN", "--out", "s.csv", "--shard", "3/2"], "--shard is '3/2', expected I/N"),
        (["--images", "NONE", "--out", "s.csv"], "There is no folder"),
        (["--images", "IN", "--out", "IN/0.png/s.csv"], "can't be written"),
        ([], "There is nothing to classify: give image files, or --images DIR and --out FILE."),
    ],
)
def test_options_that_do_not_fit(
    command: Command, tiny_binary_model: Path, archive: Path, options: list[str], said: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = [option.replace("IN", str(archive)) for option in options]
    code, out, err = command("predict", *given, "--model", tiny_binary_model)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("s.csv*"))


def test_files_of_others_are_left_alone(
    command: Command, tiny_binary_model: Path, archive: Path, tmp_path: Path
) -> None:
    for name in ("s.csv", "s.csv.part"):
        (tmp_path / name).write_text("mine")
        _, _, err = command(
            "predict",
            "--images",
            archive,
            "--out",
            tmp_path / "s.csv",
            "--model",
            tiny_binary_model,
        )
        assert err == (
            f"dermhub: {tmp_path / name} is there already, and is no part of a run: give another "
            "file with --out.\n"
        )
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
