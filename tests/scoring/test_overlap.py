"""python -m dermhub overlap: copies of training images, duplicates and bad files in a folder."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dermhub import layout
from dermhub.data import image_files
from dermhub.errors import ModelError
from dermhub.images import near_duplicates
from dermhub.images.drawn_lesions import draw
from dermhub.scoring import overlap
from dermhub.scoring.overlap import Row
from tests.support.tiny import Command, add_file

HEADING = "image,kind,match,split,distance,problem"


@pytest.fixture(scope="module")
def knowing(tiny_lesion_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model folder that states four images that the model has seen. Read only."""
    folder = tmp_path_factory.mktemp("knowing") / "tiny"
    shutil.copytree(tiny_lesion_model, folder)
    images = [draw(seed, (200, 150), seed / 4) for seed in range(4)]
    manifest = near_duplicates.build(
        images, ["A", "B", "C", "D"], ["train", "train", "train", "validation"]
    )
    add_file(folder, layout.SEEN, manifest.to_bytes())
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Make a folder with copies of two seen images, a new image twice, and a damaged file."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    draw(1, (200, 150), 1 / 4).resize((150, 112)).save(folder / "copy.jpg", quality=70)
    draw(3, (200, 150), 3 / 4).crop((25, 0, 175, 150)).transpose(Image.Transpose.ROTATE_90).save(
        folder / "more" / "Übung.png"
    )
    draw(50, (200, 150)).save(folder / "new.png")
    shutil.copy(folder / "new.png", folder / "twice.png")
    (folder / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_it_names_copies_duplicates_and_bad_files(
    command: Command, knowing: Path, photos: Path
) -> None:
    code, out, err = command("overlap", "--model", knowing, "--images", photos)
    assert code == 0
    assert out.splitlines()[0] == HEADING
    rows = [list(row.values()) for row in csv.DictReader(io.StringIO(out))]
    assert [row[:4] for row in rows] == [
        ["copy.jpg", "copy", "B", "train"],
        ["more/Übung.png", "copy", "D", "validation"],
        ["text.jpg", "unreadable", "", ""],
        ["twice.png", "duplicate", "new.png", ""],
    ]
    assert int(rows[0][4]) <= 30
    assert int(rows[1][4]) <= 4
    assert rows[2][5].startswith(f"{photos / 'text.jpg'} is ")
    assert err == (
        f"{photos}: 2 of 5 images look like copies of images that {knowing} has learnt from (1 "
        "training, 1 validation); 1 have the bytes of an earlier one, 1 can't be read.\n"
    )


def test_it_writes_a_table(command: Command, knowing: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "found.csv"
    code, line, err = command("overlap", "--model", knowing, "--images", photos, "--out", out)
    assert (code, err, line.count("\n")) == (0, "", 1)
    assert line.startswith(f"{photos}: 2 of 5 images look like copies")
    _, printed, said = command("overlap", "--model", knowing, "--images", photos)
    assert (out.read_text(encoding="utf-8"), line) == (printed, said)


def test_a_folder_without_overlap(command: Command, knowing: Path, tmp_path: Path) -> None:
    draw(60).save(tmp_path / "new.png")
    code, out, err = command("overlap", "--model", knowing, "--images", tmp_path)
    assert (code, out) == (0, HEADING + "\n")
    assert err.endswith(
        f"0 of 1 images look like copies of images that {knowing} has learnt from; 0 have the "
        "bytes of an earlier one, 0 can't be read.\n"
    )


def test_a_seen_image_that_is_there_twice_is_both(knowing: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(0, (200, 150), 0.0).save(tmp_path / name)
    rows = list(overlap.examine(overlap.manifest_of(knowing), image_files.find(tmp_path), tmp_path))
    assert rows == [
        Row("a.png", "copy", "A", "train", 0),
        Row("b.png", "duplicate", "a.png"),
        Row("b.png", "copy", "A", "train", 0),
    ]


def test_files_that_vanish_or_can_not_be_opened_are_rows(knowing: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    names = ["folder.png", "gone.png"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        names.append("pipe.png")
    rows = list(
        overlap.examine(overlap.manifest_of(knowing), [tmp_path / name for name in names], tmp_path)
    )
    assert [(row.image, row.kind) for row in rows] == [(name, "unreadable") for name in names]
    assert all(row.problem for row in rows)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names there are Unicode")
def test_names_that_are_no_unicode(command: Command, knowing: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    draw(0, (200, 150), 0.0).save(tmp_path / "plain.png")
    shutil.copy(tmp_path / "plain.png", tmp_path / "in" / os.fsdecode(b"\xff.png"))
    code, _, err = command(
        "overlap", "--model", knowing, "--images", tmp_path / "in", "--out", tmp_path / "o.csv"
    )
    assert (code, err) == (0, "")
    assert (tmp_path / "o.csv").read_bytes().splitlines()[1] == b"\xff.png,copy,A,train,0,"


def test_a_model_that_does_not_tell(
    command: Command, tiny_lesion_model: Path, photos: Path
) -> None:
    code, out, err = command("overlap", "--model", tiny_lesion_model, "--images", photos)
    assert (code, out) == (2, "")
    assert err == (
        f"dermhub: {tiny_lesion_model} does not tell what the model has seen: it has no "
        "seen.safetensors. It was made before there was one; `measure` adds it, given the "
        "training images.\n"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda folder: (folder / "seen.safetensors").unlink(),
            "seen.safetensors can't be read (No such file",
        ),
        (
            lambda folder: (folder / "seen.safetensors").write_bytes(b"other"),
            "but config.json states",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "is not valid JSON"),
        (
            lambda folder: (folder / "config.json").unlink(),
            "is not a model folder: it has no config.json.",
        ),
        (
            lambda folder: add_file(folder, "seen.safetensors", b"other"),
            "is no complete safetensors file",
        ),
    ],
)
def test_damaged_models(knowing: Path, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(knowing, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ModelError) as caught:
        overlap.manifest_of(tmp_path / "model")
    assert said in str(caught.value)


def test_nothing_to_look_at(command: Command, knowing: Path, tmp_path: Path) -> None:
    code, out, err = command("overlap", "--model", knowing, "--images", tmp_path / "none")
    assert (code, out) == (2, "")
    assert err.startswith(f"dermhub: There is no folder {tmp_path / 'none'}: give the folder")
    assert command("overlap", "--model", knowing, "--images", tmp_path)[2].startswith(
        f"dermhub: {tmp_path} holds no"
    )
    assert command("overlap", "--model", "leison", "--images", tmp_path)[0] == 2


def test_the_command_needs_no_torch(knowing: Path, tmp_path: Path) -> None:
    draw(0, (200, 150), 0.0).save(tmp_path / "a.png")
    code = (
        "import sys; from dermhub.__main__ import main; main(['overlap', '--model', "
        f"{str(knowing)!r}, '--images', {str(tmp_path)!r}]); print(sorted({{'torch', 'timm', "
        "'pandas', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["a.png,copy,A,train,0,", "[]"]


def test_rows_are_csv() -> None:
    rows = [
        Row('a "b",c.png', "unreadable", problem="no, not\nan image"),
        Row("d.png", "copy", "D", "train", 7),
    ]
    assert overlap.to_csv(rows) == (
        HEADING + '\n"a ""b"",c.png",unreadable,,,,"no, not\nan image"\nd.png,copy,D,train,7,\n'
    )
