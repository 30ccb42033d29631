"""A stopped run that goes on: rows whose image or values changed meanwhile are scored again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from dermhub.scoring import image_folder, results, stale_rows
from dermhub.scoring.resumable_csv import ResumableCsv
from tests.support.tiny import Command

NAMES = [f"{number}.png" for number in range(7)]
BATCH = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven drawn images."""
    (tmp_path / "in").mkdir()
    for number, name in enumerate(NAMES):
        draw(number, (48, 40), number / 7).save(tmp_path / "in" / name)
    return tmp_path / "in"


def stopped(model: Path, folder: Path, out: Path, count: int) -> Path:
    """Write what a run leaves that was killed after `count` rows; returns the rows so far."""
    classifier = Classifier(model)
    run = image_folder.describe(classifier, NAMES, "1/1", BATCH)
    results.open_run(out, run)
    part = results.side_files(out)[1]
    with ResumableCsv(part, (*run.columns, stale_rows.CHECK), NAMES, BATCH) as table:
        for rows in image_folder.score_images(classifier, folder, NAMES[:count], BATCH, 0):
            table.append(rows)
    return part


def rescored(command: Command, model: Path, folder: Path, out: Path) -> tuple[str, str]:
    """Go on with a run; returns what is said on stdout and stderr."""
    options = ("--images", folder, "--out", out, "--batch", BATCH, "--workers", 1)
    code, said, err = command("predict", "--model", model, *options)
    assert code == 0
    assert not results.side_files(out)[1].exists()
    return said, err


def same_as_new(command: Command, model: Path, folder: Path, out: Path) -> bool:
    """Compare a table with that of a run that was never stopped."""
    new = out.with_name("new.csv")
    rescored(command, model, folder, new)
    return new.read_bytes() == out.read_bytes()


@pytest.mark.slow
def test_without_changes_nothing_is_scored_again(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.csv"
    stopped(tiny_binary_model, folder, out, 4)
    assert rescored(command, tiny_binary_model, folder, out) == (
        f"{out}: 7 files, 3 of them scored now\n",
        "",
    )
    assert same_as_new(command, tiny_binary_model, folder, out)


def test_an_edited_image_is_scored_again(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.csv"
    stopped(tiny_binary_model, folder, out, 6)
    before = (folder / "3.png").stat()
    draw(77, (48, 40), 1.0).save(folder / "3.png")
    # The time of the old file, as restored backups have it.
    os.utime(folder / "3.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    # The image's batch of two, and the one that was left.
    assert rescored(command, tiny_binary_model, folder, out) == (
        f"{out}: 7 files, 3 of them scored now\n",
        "dermhub: 1 image(s) or their rows changed since they were scored, and were scored again: "
        "3.png.\n",
    )
    assert same_as_new(command, tiny_binary_model, folder, out)


@pytest.mark.slow
def test_an_image_that_was_damaged_or_mended(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.csv"
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(b"damaged")
    stopped(tiny_binary_model, folder, out, 6)
    (folder / "0.png").write_bytes(whole)
    (folder / "4.png").write_bytes(b"damaged")
    said, err = rescored(command, tiny_binary_model, folder, out)
    assert said == (
        f"{out}: 7 files, 5 of them scored now; 1 of these have no score, but an error\n"
    )
    assert err.endswith("were scored again: 0.png, 4.png.\n")
    assert same_as_new(command, tiny_binary_model, folder, out)


COLUMNS = (
    *("image", "label", "malignancy", "malignant", "threshold", "p_benign", "p_malignant"),
    *("conformal", "concerns", "abstention", "error"),
)
VALUES = ["benign", "0.25", "True", "0.125", "0.75", "0.25", "", "", "", ""]


def found(folder: Path, part: Path, damage: Callable[[bytes], bytes]) -> dict[int, list[str]]:
    """Write rows about the images by hand, change the file, and return what is stale."""
    columns = (*COLUMNS, stale_rows.CHECK)
    with ResumableCsv(part, columns, NAMES, BATCH) as table:
        for name in NAMES:
            cells = [name, *VALUES]
            digest = stale_rows.row_digest(stale_rows.file_digest(folder / name), cells)
            table.append([dict(zip(columns, [*cells, digest], strict=True))])
    part.write_bytes(damage(part.read_bytes()))
    with ResumableCsv(part, columns, NAMES, BATCH) as table:
        return dict(stale_rows.find(table, folder, BATCH, 1))


def in_line(number: int, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Replace a part of a line."""

    def damage(content: bytes) -> bytes:
        lines = content.split(b"\n")
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
        return b"\n".join(lines)

    return damage


@pytest.mark.parametrize(
    ("damage", "stale"),
    [
        (bytes, {}),
        # Line 1 is the heading; batches have two rows.
        (
            in_line(4, b",0.75,", b",0.85,"),
            {
                2: [
                    "2.png (line 4, column p_benign belongs to probabilities that sum to 1.1, "
                    "expected 1)"
                ]
            },
        ),
        (
            in_line(6, b",0.25,", b",nan,"),
            {4: ["4.png (line 6, column malignancy is 'nan', expected a number from 0 to 1)"]},
        ),
        # Values that may be an answer, but are not the one that was written.
        (in_line(3, b",0.125,", b",0.126,"), {0: ["1.png"]}),
    ],
    ids=["nothing", "digit", "nan", "other digit"],
)
def test_changed_rows_are_found(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes], stale: dict[int, list[str]]
) -> None:
    assert found(folder, tmp_path / "part", damage) == stale


def test_a_changed_hash_is_found(folder: Path, tmp_path: Path) -> None:
    def damage(content: bytes) -> bytes:
        return content[:-2] + (b"0" if content[-2:-1] != b"0" else b"1") + b"\n"

    assert found(folder, tmp_path / "part", damage) == {6: ["6.png"]}


@pytest.mark.slow
def test_the_rows_so_far_of_an_earlier_version_are_left_alone(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.csv"
    part = stopped(tiny_binary_model, folder, out, 4)
    # They had no hashes, and might be anybody's.
    rows = "".join(line.rpartition(",")[0] + "\n" for line in part.read_text().splitlines())
    part.write_text(rows)
    options = ("--images", folder, "--out", out, "--batch", BATCH, "--workers", 1)
    code, said, err = command("predict", "--model", tiny_binary_model, *options)
    assert (code, said, part.read_text()) == (2, "", rows)
    assert err == (
        f"dermhub: {part} is there already, and is no part of this run: move it away, or give "
        "another file with --out.\n"
    )


@pytest.mark.slow
def test_a_complete_table_stays_and_newer_images_are_named(
    command: Command, tiny_binary_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.csv"
    rescored(command, tiny_binary_model, folder, out)
    before = out.read_bytes()
    later = out.stat().st_mtime + 10
    os.utime(folder / "5.png", (later, later))
    assert rescored(command, tiny_binary_model, folder, out) == (
        f"{out}: 7 files, 0 of them scored now\n",
        f"dermhub: 1 image(s) were written after {out}, which is complete and stays as it is "
        "(5.png): remove it to score the folder again.\n",
    )
    assert out.read_bytes() == before


def test_what_can_not_be_read_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", "none", "."):
        assert stale_rows.file_digest(tmp_path / name) == ""
