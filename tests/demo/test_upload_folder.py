"""The private folder: locked while its server lives, swept, and removed after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.server import upload_folder
from demo.server.upload_folder import (
    MARKER,
    PREFIX,
    PrivateFolder,
    remove_leftovers,
    remove_older,
)

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
    remove_leftovers(tmp_path)
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
    remove_leftovers(tmp_path)
    if os.getuid():
        assert (theirs / MARKER).exists()
        (theirs / "uploads" / "deep").chmod(0o700)
        remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_old_files_go_and_new_and_spared_ones_stay(tmp_path: Path) -> None:
    for name in ("old/name.png", "new/name.png", "own/figure.png", "tmpbroken"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    past = time.time() - 100
    for name in ("old/name.png", "own/figure.png", "tmpbroken", "old", "own"):
        os.utime(tmp_path / name, (past, past))
    (tmp_path / "link").symlink_to(tmp_path / "new" / "name.png")
    remove_older(
        tmp_path, past + 50, frozenset({tmp_path / "own", tmp_path / "own" / "figure.png"})
    )
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    # The folder that was just emptied is as new as that; it goes at the next look.
    assert left == ["link", "new", "new/name.png", "old", "own", "own/figure.png"]
    remove_older(
        tmp_path, time.time() + 1, frozenset({tmp_path / "own", tmp_path / "own" / "figure.png"})
    )
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["figure.png", "own"]


def test_the_sweeper_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_folder, "SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr(upload_folder, "LIFETIME", 0.05)
    folder = PrivateFolder(tmp_path)
    (folder.uploads / "figure.png").write_bytes(b"figure")
    folder.keep_what_is_there()
    (folder.uploads / "photo.png").write_bytes(b"photo")
    deadline = time.monotonic() + 10
    while (folder.uploads / "photo.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [path.name for path in folder.uploads.iterdir()] == ["figure.png"]
    folder.remove()


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
