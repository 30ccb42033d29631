"""The sweeper: what is too old goes, whatever happens meanwhile, and it says how it fares."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from demo.server import sweeper
from demo.server.sweeper import EMPTY_LIFETIME, LIFETIME, Sweeper
from demo.server.upload_folder import PrivateFolder

ROOT = Path(__file__).resolve().parents[2]


def left(folder: Path) -> list[str]:
    """Paths below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_go_when_their_time_is_over(tmp_path: Path) -> None:
    for name in ("old/name.png", "tmpbroken"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    outside = tmp_path.with_name("outside")
    outside.write_bytes(b"x")
    (tmp_path / "link").symlink_to(outside)
    swept = Sweeper(tmp_path)
    assert swept.look(1000.0)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "name.png").write_bytes(b"x")
    assert swept.look(1000.0 + LIFETIME - 1)
    assert left(tmp_path) == ["link", "new", "new/name.png", "old", "old/name.png", "tmpbroken"]
    assert swept.look(1000.0 + LIFETIME)
    # The folder, whose name tells the file by its hash, follows its file.
    assert left(tmp_path) == ["new", "new/name.png", "old"]
    assert swept.look(1000.0 + LIFETIME + EMPTY_LIFETIME - 1)
    assert left(tmp_path) == ["new", "new/name.png", "old"]
    assert swept.look(1000.0 + LIFETIME + EMPTY_LIFETIME)
    assert left(tmp_path) == ["new", "new/name.png"]
    assert swept.look(1000.0 + 2 * LIFETIME - 1)
    assert left(tmp_path) == ["new"]
    assert outside.exists()


def test_an_upload_that_goes_on_and_one_that_comes_again_are_new(tmp_path: Path) -> None:
    path = tmp_path / "name.png"
    path.write_bytes(b"x")
    swept = Sweeper(tmp_path)
    swept.look(0.0)
    os.utime(path, (5, 5))
    swept.look(LIFETIME)
    assert path.exists()
    path.with_name("again").write_bytes(b"x")
    path.with_name("again").replace(path)
    os.utime(path, (5, 5))
    swept.look(2 * LIFETIME)
    assert path.exists()
    swept.look(3 * LIFETIME)
    assert left(tmp_path) == []


def test_the_time_of_day_does_not_matter(tmp_path: Path) -> None:
    for name, moment in (("from-1970", 0), ("from-2100", 4_102_444_800)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (moment, moment))
    swept = Sweeper(tmp_path)
    swept.look(50.0)
    assert left(tmp_path) == ["from-1970", "from-2100"]
    swept.look(50.0 + LIFETIME)
    assert left(tmp_path) == []


def test_spared_files_stay(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "figure.png").write_bytes(b"x")
    swept = Sweeper(tmp_path)
    swept.spare(tmp_path.rglob("*"))
    (tmp_path / "own" / "patient.png").write_bytes(b"x")
    for now in (0.0, LIFETIME, 9 * LIFETIME):
        assert swept.look(now)
    assert left(tmp_path) == ["own", "own/figure.png"]


def test_a_round_that_fails_is_told_and_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[BaseException] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.png").write_bytes(b"x")
    swept = Sweeper(tmp_path, errors.append)
    assert swept.state() == {"seconds_ago": None, "failed": 0, "error": ""}
    assert swept.look(0.0)
    scandir = os.scandir

    def unreadable(path: str) -> Any:
        if path.endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", unreadable)
        assert not swept.look(LIFETIME)
        assert not swept.look(LIFETIME)
    assert left(tmp_path) == ["a", "a/photo.png", "b"]
    monkeypatch.setattr(time, "monotonic", lambda: LIFETIME + 7)
    assert swept.state() == {
        "seconds_ago": LIFETIME + 7,
        "failed": 2,
        "error": "PermissionError",
    }
    assert [type(error) for error in errors] == [PermissionError, PermissionError]
    # What a failed round did not see has kept its age.
    assert swept.look(LIFETIME + 1)
    assert left(tmp_path) == ["a", "b"]
    assert swept.state() == {"seconds_ago": 6.0, "failed": 0, "error": ""}


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), ValueError("odd")])
def test_nothing_ends_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("INTERVAL", "RETRY", "LIFETIME", "EMPTY_LIFETIME"):
        monkeypatch.setattr(sweeper, name, 0.02)
    scandir, told = os.scandir, list[BaseException]()

    def failing(_: str) -> Any:
        raise error

    def full_disk(problem: BaseException) -> None:
        told.append(problem)
        raise OSError(28, "No space left on device")

    folder = PrivateFolder(tmp_path, full_disk)
    (folder.uploads / "figure.png").write_bytes(b"figure")
    folder.keep_what_is_there()
    monkeypatch.setattr(os, "scandir", failing)
    (folder.uploads / "hash").mkdir()
    (folder.uploads / "hash" / "photo.png").write_bytes(b"photo")
    deadline = time.monotonic() + 10
    while len(told) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told[:3] == [error] * 3
    monkeypatch.setattr(os, "scandir", scandir)
    while left(folder.uploads) != ["figure.png"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left(folder.uploads) == ["figure.png"]
    assert folder.sweeper.state()["failed"] == 0
    folder.remove()
    assert left(tmp_path) == []


WITHOUT_DESCRIPTORS = """
import os, resource, sys, time
from demo.server import sweeper
from demo.server.upload_folder import PrivateFolder
sweeper.INTERVAL = sweeper.RETRY = sweeper.LIFETIME = sweeper.EMPTY_LIFETIME = 0.05
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
folder = PrivateFolder(sys.argv[1])
for number in range(20):
    (folder.uploads / str(number)).mkdir()
    (folder.uploads / str(number) / "photo.png").write_bytes(b"photo")
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(error.errno, len(held) > 30)
deadline = time.monotonic() + 20
while any((folder.uploads / str(n)).exists() for n in range(20)) and time.monotonic() < deadline:
    time.sleep(0.01)
last = folder.sweeper.state()
for descriptor in held:
    os.close(descriptor)
print(os.listdir(folder.uploads), last["failed"], last["seconds_ago"] < 5)
folder.remove()
"""


def test_it_deletes_where_no_descriptor_is_free(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # 24: EMFILE, too many open files.
    assert (done.stdout.splitlines(), done.stderr) == (["24 True", "[] 0 True"], "")
    assert left(tmp_path) == []
