"""The private folder: locked while its server lives, swept, and removed after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from demo.server import upload_room
from demo.server.upload_folder import PREFIX, PrivateFolder
from dermhub.own_folder import MARKER, remove_leftovers

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys; from demo.server.upload_folder import PrivateFolder as F; f = F(sys.argv[1]); "
    "print(f.path, flush=True); input()"
)


def living(base: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLD, str(base)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_this_users_alone_and_ends_empty(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    assert folder.path.stat().st_mode & 0o077 == 0
    (folder.uploads / "photo.png").write_bytes(b"photo")
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_servers_folder_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    process, theirs = living(tmp_path)
    (theirs / "uploads" / "photo.png").write_bytes(b"photo")
    folder = PrivateFolder(tmp_path)
    assert (theirs / "uploads" / "photo.png").exists()
    process.kill()
    process.communicate()
    remove_leftovers(tmp_path, PREFIX)
    assert list(tmp_path.iterdir()) == [folder.path]
    folder.remove()


def contents(base: Path) -> dict[str, str]:
    """Every file and link below a folder, and what it holds."""
    return {
        str(path.relative_to(base)): path.read_text()
        if path.is_file() and not path.is_symlink()
        else ""
        for path in base.rglob("*")
    }


def test_folders_of_the_user_are_never_removed(tmp_path: Path) -> None:
    outside, base = tmp_path / "outside", tmp_path / "base"
    (outside / "own").mkdir(parents=True)
    (outside / "own" / "file").write_text("x")
    name = PREFIX + "0123456789abcdef" * 2
    for folder in (
        "dermhub-main",
        "dermhub-results",
        "dermhub-tests-hf-x1y2z3a4",
        "dermhub-abcd1234",
        "dermhub-uploads",
        PREFIX + "mine",
        # Names as ours, but without a marker, with the marker of another name (a copy), and with
        # a marker that is a link or a folder.
        name,
        PREFIX + "1" * 32,
        PREFIX + "2" * 32,
        PREFIX + "3" * 32,
    ):
        (base / folder / "uploads").mkdir(parents=True)
        (base / folder / "uploads" / "scores.csv").write_text("three weeks of work")
    for folder in ("dermhub-main", "dermhub-uploads", PREFIX + "mine"):
        (base / folder / MARKER).write_text(folder)
    (base / (PREFIX + "1" * 32) / MARKER).write_text(name)
    (tmp_path / "marker").write_text(PREFIX + "2" * 32)
    (base / (PREFIX + "2" * 32) / MARKER).symlink_to(tmp_path / "marker")
    (base / (PREFIX + "3" * 32) / MARKER).mkdir()
    (base / (PREFIX + "4" * 32)).symlink_to(outside)
    (base / (PREFIX + "5" * 32)).write_text("a file")
    os.mkfifo(base / (PREFIX + "6" * 32))
    before = contents(tmp_path)
    folder_of_a_server = PrivateFolder(base)
    folder_of_a_server.remove()
    assert contents(tmp_path) == before


def test_a_removal_that_broke_off_is_carried_on(tmp_path: Path) -> None:
    process, theirs = living(tmp_path)
    (theirs / "uploads" / "photo.png").write_bytes(b"photo")
    assert (theirs / MARKER).read_text() == theirs.name
    process.kill()
    process.communicate()
    # It can't be removed: the folder that it lies in may not be changed.
    (theirs / "uploads" / "deep").mkdir()
    (theirs / "uploads" / "deep" / "photo.png").write_bytes(b"photo")
    (theirs / "uploads" / "deep").chmod(0o500)
    remove_leftovers(tmp_path, PREFIX)
    if os.getuid():
        assert (theirs / MARKER).exists()
        (theirs / "uploads" / "deep").chmod(0o700)
        remove_leftovers(tmp_path, PREFIX)
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_it_holds(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    (folder.uploads / "photo.png").write_bytes(b"photo")
    (folder.uploads / "link.png").symlink_to("/etc/passwd")
    assert folder.holds(str(folder.uploads / "photo.png"))
    for path in (
        folder.uploads / "none.png",
        folder.uploads / "link.png",
        "/etc/passwd",
        "a\0b",
        "x" * 5000,
    ):
        assert not folder.holds(str(path))
    folder.remove()


def test_a_round_tells_the_room_what_lies_there(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    cost = upload_room.FILE_COST
    (folder.uploads / "small").write_bytes(b"photo")
    (folder.uploads / "page").mkdir()
    (folder.uploads / "page" / "spared").write_bytes(bytes(2 * cost))
    folder.sweeper.spare([folder.uploads / "page", folder.uploads / "page" / "spared"])
    assert folder.sweeper.look(0.0)
    assert folder.room.taken == cost + 2 * cost
    # Later, the first is deleted, and does not count.
    assert folder.sweeper.look(1000.0)
    assert folder.room.taken == 2 * cost
    folder.remove()
