"""Scoring a folder: complete, in order, each file once, through kills, bad files and odd names.

Shards of a folder are scored likewise.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dermhub import files
from dermhub.errors import ConfigError
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.models.classifier import Classifier
from dermhub.scoring import image_folder, results
from tests.support.tiny import Command

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "a.png",
    "b/1.jpg",
    "b/2.jpg",
    "b.png",
    'c, "d".png',
    "line\nbreak\r.png",
    "z.png",
    "Übung/ä.jpg",
]
"""Names in the order of the rows.

A folder's files come before a file whose name begins with the folder's and goes on.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images into folders, with odd names, and two unusable files. Read only."""
    root = tmp_path_factory.mktemp("archive")
    for number, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        draw(number, (72, 64), number / 8).save(path, "JPEG" if name.endswith("jpg") else "PNG")
    (root / "b" / "2.jpg").write_bytes((root / "b" / "2.jpg").read_bytes()[:500])
    (root / "z.png").write_text("no image")
    (root / "notes.txt").write_text("not looked at")
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw enough small images that a run can be stopped in the middle. Read only."""
    root = tmp_path_factory.mktemp("many")
    drawn = [draw(seed, (40, 40), seed / 12) for seed in range(12)]
    for number in range(360):
        drawn[number % 12].rotate(number).save(root / f"{number:03d}.png")
    (root / "100.png").write_bytes(b"damaged")
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.DictReader(stream))


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "dermhub", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def scoring(model: Path, folder: Path, out: Path, *more: object) -> list[object]:
    return ["predict", "--model", model, "--images", folder, "--out", out, *more]


def test_a_row_for_each_file_in_order(
    command: Command, tiny_lesion_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "scores.csv"
    code, said, err = command(*scoring(tiny_lesion_model, folder, out))
    assert (code, said, err) == (
        0,
        f"{out}: 8 files, 8 of them scored now; 2 of these have no score, but an error\n",
        "",
    )
    rows = rows_of(out)
    assert [row["image"] for row in rows] == sorted(NAMES, key=results.order) == NAMES
    classifier = Classifier(tiny_lesion_model)
    for row in rows:
        if row["image"] in ("b/2.jpg", "z.png"):
            assert [name for name, value in row.items() if value] == ["image", "error"]
            assert row["error"].startswith(f"{folder / row['image']} is ")
        else:
            answer = classifier.predict(folder / row["image"])
            assert (row["label"], row["error"], row["conformal"]) == (answer.label, "", "")
            assert row["malignant"] == str(answer.malignant)
            assert float(row["malignancy"]) == pytest.approx(answer.malignancy, abs=1e-6)
            for name, value in answer.probabilities.items():
                assert float(row[f"p_{name}"]) == pytest.approx(value, abs=1e-6)
    assert sorted(path.name for path in out.parent.iterdir()) == ["scores.csv", "scores.csv.json"]
    about = files.read_json(tmp_path / "new" / "scores.csv.json")
    assert about["weights_sha256"] == classifier.config.weights_sha256
    assert (about["shard"], about["files"], about["engine"]) == ("1/1", 8, "PyTorch")


@pytest.mark.slow
def test_the_rows_do_not_depend_on_lanes_nor_on_the_last_batch(
    command: Command, tiny_binary_model: Path, many: Path, tmp_path: Path
) -> None:
    for number, workers in enumerate((1, 2, 5)):
        out = tmp_path / f"{number}.csv"
        assert (
            command(*scoring(tiny_binary_model, many, out, "--batch", 7, "--workers", workers))[0]
            == 0
        )
    assert (
        (tmp_path / "0.csv").read_bytes()
        == (tmp_path / "1.csv").read_bytes()
        == (tmp_path / "2.csv").read_bytes()
    )


@pytest.mark.slow
def test_two_shards_in_two_processes_of_which_one_is_killed(
    command: Command, tiny_binary_model: Path, many: Path, tmp_path: Path
) -> None:
    shards = [tmp_path / "1.csv", tmp_path / "2.csv"]
    first = shards[0]
    runs = [
        scoring(tiny_binary_model, many, path, "--shard", f"{number}/2", "--batch", 4)
        for number, path in enumerate(shards, 1)
    ]
    victim, other = (start(*run) for run in runs)
    done = kill_after(victim, tmp_path / "1.csv.part", 10)
    assert not first.exists()
    out, err = other.communicate(timeout=200)
    assert (other.returncode, err) == (0, ""), out
    assert command("merge", tmp_path / "early.csv", *shards)[0] == 2
    total = sum(results.shard_of(f"{number:03d}.png", 2) == 1 for number in range(360))
    assert 0 < done < total
    code, said, err = command(*runs[0])
    assert (code, err) == (0, "")
    assert said.startswith(f"{first}: {total} files, {total - done} of them scored now")
    # To the last digit what a run writes that was never stopped.
    runs[0][6] = tmp_path / "whole-1.csv"
    assert command(*runs[0])[0] == 0
    assert first.read_bytes() == (tmp_path / "whole-1.csv").read_bytes()

    names = [[row["image"] for row in rows_of(path)] for path in shards]
    assert not set(names[0]) & set(names[1])
    merged, whole = tmp_path / "merged.csv", tmp_path / "whole.csv"
    assert command("merge", merged, *shards) == (0, f"{merged}: 360 files of 2 shards\n", "")
    assert command(*scoring(tiny_binary_model, many, whole, "--batch", 4))[0] == 0
    assert_same(rows_of(merged), rows_of(whole))
    assert files.read_json(tmp_path / "merged.csv.json") == files.read_json(
        tmp_path / "whole.csv.json"
    )
    # It stands there as if one run had written it.
    assert command(*scoring(tiny_binary_model, many, merged, "--batch", 4))[1].endswith(
        " 0 of them scored now\n"
    )


def kill_after(process: subprocess.Popen[str], part: Path, lines: int) -> int:
    """Kill a run once its table has so many lines, tear the end, and count the rows that are kept.

    They are the rows of whole batches of 4.
    """
    end = time.monotonic() + 200
    while not (part.exists() and part.read_bytes().count(b"\n") > lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    process.communicate()
    # As a kill in the middle of a write leaves it.
    content = part.read_bytes()[:-7]
    part.write_bytes(content)
    return (content.count(b"\n") - 1) // 4 * 4


def assert_same(actual: list[dict[str, str]], expected: list[dict[str, str]]) -> None:
    """Compare rows, but for the rounding of numbers in batches of other images."""
    for row, other in zip(actual, expected, strict=True):
        assert row.keys() == other.keys()
        for name, text in other.items():
            number = text and (name.startswith("p_") or name == "malignancy")
            assert (
                (float(row[name]) == pytest.approx(float(text), abs=1e-6))
                if number
                else row[name] == text
            )


def test_names_that_are_no_unicode(
    command: Command, tiny_binary_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    name = os.fsdecode(b"\xff.png")
    try:
        draw(0, (64, 64)).save(tmp_path / "in" / name)
    except OSError:
        pytest.skip("this file system wants Unicode")
    for out in ("a.csv", "b.csv"):
        options = ("--shard", "1/1" if out == "a.csv" else f"{results.shard_of(name, 2)}/2")
        assert (
            command(*scoring(tiny_binary_model, tmp_path / "in", tmp_path / out, *options))[0] == 0
        )
    assert (tmp_path / "a.csv").read_bytes().splitlines()[1].startswith(b"\xff.png,")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_shard_may_be_empty(command: Command, tiny_binary_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    draw(0, (64, 64)).save(tmp_path / "in" / "a.png")
    for number in (1, 2, 3):
        assert (
            command(
                *scoring(
                    tiny_binary_model,
                    tmp_path / "in",
                    tmp_path / f"{number}.csv",
                    "--shard",
                    f"{number}/3",
                )
            )[0]
            == 0
        )
    assert sorted(len(rows_of(tmp_path / f"{number}.csv")) for number in (1, 2, 3)) == [0, 0, 1]
    shards = [tmp_path / f"{number}.csv" for number in (2, 3, 1)]
    assert command("merge", tmp_path / "all.csv", *shards)[0] == 0
    assert [row["image"] for row in rows_of(tmp_path / "all.csv")] == ["a.png"]


def test_parquet(command: Command, tiny_lesion_model: Path, folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("scores.csv", "scores.parquet"):
        assert command(*scoring(tiny_lesion_model, folder, tmp_path / name))[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "scores.csv", "scores.csv.json", "scores.parquet", "scores.parquet.json",
    ]  # fmt: skip
    table = parquet.read_table(tmp_path / "scores.parquet").to_pylist()
    for row, text in zip(table, rows_of(tmp_path / "scores.csv"), strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == text
    assert {type(table[0][name]) for name in ("malignancy", "p_mel")} == {float}
    assert table[0]["malignant"] in (True, False)
    assert command("merge", tmp_path / "m.parquet", tmp_path / "scores.csv")[0] == 0
    assert parquet.read_table(tmp_path / "m.parquet").to_pylist() == table


def test_parquet_without_pyarrow_is_refused_at_once(
    tiny_lesion_model: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not here')")
    arguments = [
        str(argument) for argument in scoring(tiny_lesion_model, folder, tmp_path / "s.parquet")
    ]
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from dermhub.__main__ import main; "
        f"main({arguments})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == (
        "dermhub: Parquet needs pyarrow, which can't be imported (not here): pip install pyarrow, "
        "or write .csv.\n"
    )
    assert not (tmp_path / "s.parquet.json").exists()


@pytest.mark.slow
def test_memory_is_bounded_by_the_lanes(
    tiny_binary_model: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rows are not made faster than they are taken: three batches a lane, and not one more.
    opened = []
    real = Photo.open

    def counting(image: Any) -> Photo:
        if not isinstance(image, Photo):
            opened.append(image)
        return real(image)

    monkeypatch.setattr(Photo, "open", counting)
    batches = image_folder.score_images(
        Classifier(tiny_binary_model),
        many,
        [f"{number:03d}.png" for number in range(200, 360)],
        4,
        2,
    )
    next(batches)
    time.sleep(0.3)
    assert len(opened) <= 4 * 2 * 3
    assert 4 + sum(map(len, batches)) == len(opened) == 160


@pytest.mark.parametrize("damaged", [[], [0], [2, 3], [0, 1, 2, 3]])
def test_pixels_of_one_image_at_a_time_are_in_memory(
    tiny_binary_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: list[int]
) -> None:
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        draw(number, (40, 40), number / 4).save(tmp_path / name)
        if number in damaged:
            (tmp_path / name).write_bytes(b"damaged")
    photos: weakref.WeakSet[Photo] = weakref.WeakSet()
    most, real = 0, Photo.open

    def watching(image: Any) -> Photo:
        nonlocal most
        photo = real(image)
        photos.add(photo)
        most = max(most, len(photos))
        return photo

    monkeypatch.setattr(Photo, "open", watching)
    rows = image_folder.score_batch(Classifier(tiny_binary_model), tmp_path, names, 4)
    assert ["error" in row for row in rows] == [number in damaged for number in range(4)]
    # The one that was just decoded, and the one before it.
    assert most <= 2
    assert len(photos) == 0


@pytest.mark.slow
def test_progress_is_told_where_it_is_asked_for(
    command: Command,
    tiny_binary_model: Path,
    many: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_folder, "EVERY", 0)
    code, _, err = command(
        *scoring(tiny_binary_model, many, tmp_path / "s.csv", "--progress", "--batch", 60)
    )
    assert code == 0
    # A log has lines, not one line that is written over.
    assert "\r" not in err
    lines = err.splitlines()
    assert len(lines) == 8
    # Before the first batch, after each of six, and at the end.
    assert re.fullmatch(r"0 of 360 files, \? files/s, \? left", lines[0])
    assert re.fullmatch(r"60 of 360 files, [\d.]+ files/s, \d\d:\d\d left", lines[1])
    assert re.fullmatch(r"360 of 360 files, [\d.]+ files/s, 00:00 left", lines[-1])


def test_progress_is_told_seldom_and_counts_from_where_it_stood(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with image_folder.progress_bar(1000, 15, always=False) as count:
        count(985)
    assert capsys.readouterr().err == ""
    with image_folder.progress_bar(1000, 15, always=True) as count:
        for _ in range(985):
            count(1)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert lines[0].startswith("15 of 1000 files, ")
    assert lines[-1].startswith("1000 of 1000 files, ")
    assert len(lines) == 2
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with image_folder.progress_bar(4, 0, always=False) as count:
        count(4)
    assert "4 of 4 files, " in capsys.readouterr().err


def test_progress_without_tqdm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with image_folder.progress_bar(4, 0, always=False) as count:
        count(4)
    assert capsys.readouterr().err == ""
    said = r"^--progress needs tqdm, which is not installed: pip install tqdm, or leave .* out\.$"
    with pytest.raises(ConfigError, match=said), image_folder.progress_bar(4, 0, always=True):
        pass


def test_scores_of_an_earlier_format_are_left_as_they_are(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    line = scoring(tiny_binary_model, folder, tmp_path / "s.csv")
    assert command(*line)[0] == 0
    beside = tmp_path / "s.csv.json"
    beside.write_text(beside.read_text().replace("dermhub scores 2", "dermhub scores 1"))
    before = [(tmp_path / name).read_bytes() for name in ("s.csv", "s.csv.json")]
    code, _, err = command(*line)
    assert code == 2
    assert err == (
        f"dermhub: {beside} does not tell what the scores are made from (the format of another "
        "dermhub): start anew.\n"
    )
    assert [(tmp_path / name).read_bytes() for name in ("s.csv", "s.csv.json")] == before


def test_json_beside_is_readable(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    assert command(*scoring(tiny_binary_model, folder, tmp_path / "s.csv", "--batch", 3))[0] == 0
    about = json.loads((tmp_path / "s.csv.json").read_text())
    assert about["format"] == "dermhub scores 2"
    heading = next(csv.reader(io.StringIO((tmp_path / "s.csv").read_text(encoding="utf-8"))))
    assert about["columns"] == heading
    assert heading[-4:] == ["conformal", "concerns", "abstention", "error"]
    assert about["batch"] == 3


def test_files_of_other_people_beside_the_scores_stay(
    command: Command, tiny_binary_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    draw(1, (40, 40)).save(tmp_path / "in" / "a.png")
    out = tmp_path / "s.csv"
    (tmp_path / "s.csv.new").write_text("mine")
    arguments = ("predict", "--model", tiny_binary_model, "--images", tmp_path / "in", "--out", out)
    assert command(*arguments)[0] == 0
    scores = out.read_bytes()
    # Put there after the run, which would have removed a file of its own.
    (tmp_path / "s.csv.part").write_text("image,mine\n")
    code, _, err = command(*arguments)
    assert code == 2
    assert f"{out}.part is there already, and is no part of this run: move it away, or " in err
    assert (tmp_path / "s.csv.part").read_text() == "image,mine\n"
    assert (tmp_path / "s.csv.new").read_text() == "mine"
    assert out.read_bytes() == scores


def test_a_table_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.csv.new").write_text("mine")

    def broken() -> Iterator[list[str]]:
        yield ["a.png", ""]
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        results.publish(broken(), tmp_path / "s.csv", ["image", "error"])
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv.new"]
    assert (tmp_path / "s.csv.new").read_text() == "mine"
