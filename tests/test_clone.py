"""A clone by Git for Windows: files keep the bytes whose hashes model cards state."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dermhub import files

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)

    (tmp_path / "first").mkdir()
    git("init", "-q", "first")
    names = (".gitattributes", "dermhub/data/partition.csv", "deploy/linuxone/install.sh")
    for name in names:
        path = tmp_path / "first" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path)
    git("-C", "first", "add", "-A")
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    git("-C", "first", *author, "commit", "-q", "-m", "x")
    git("clone", "-q", "-c", "core.autocrlf=true", "first", "second")
    for name in names:
        assert files.sha256(tmp_path / "second" / name) == files.sha256(ROOT / name), name
