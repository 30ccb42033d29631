"""Folders of our own: removed after a kill, and nothing else beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dermhub.own_folder import MARKER, OwnFolder

ROOT = Path(__file__).resolve().parents[1]

KILLED = """
import os, pathlib, sys
from dermhub.own_folder import OwnFolder
folder = OwnFolder(pathlib.Path(sys.argv[1]), ".own-")
(folder.path / "copy").mkdir()
(folder.path / "copy" / "model.safetensors").write_bytes(b"half")
os.kill(os.getpid(), 9)
"""


def test_the_next_one_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    assert (left / MARKER).read_text() == left.name
    # Of another beginning, and one that no process has marked.
    (tmp_path / ".other-1").mkdir()
    (tmp_path / (".own-" + "0" * 32)).mkdir()
    folder = OwnFolder(tmp_path, ".own-")
    assert not left.exists()
    folder.remove()
    assert {path.name for path in tmp_path.iterdir()} == {".other-1", ".own-" + "0" * 32}


def test_two_of_one_process_live_side_by_side(tmp_path: Path) -> None:
    first, second = OwnFolder(tmp_path, ".own-"), OwnFolder(tmp_path, ".own-")
    assert first.path.exists()
    assert first.path.stat().st_mode & 0o077 == 0
    handles = len(list(Path("/proc/self/fd").iterdir())) if os.path.exists("/proc/self/fd") else 0  # noqa: PTH110
    first.remove()
    second.remove()
    assert list(tmp_path.iterdir()) == []
    if handles:
        assert len(list(Path("/proc/self/fd").iterdir())) == handles - 2
