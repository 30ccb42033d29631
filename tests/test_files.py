"""Files are written whole or not at all, and read with errors that name them."""

from __future__ import annotations

import errno
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dermhub import files
from dermhub.errors import ConfigError, DataError

LIMITED = """
import resource, sys
from pathlib import Path
from dermhub import files
from dermhub.errors import ConfigError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_bytes(Path(sys.argv[1]), bytes(5000))
except ConfigError as error:
    print(error)
"""
"""Write of 5,000 bytes where the system allows 1,000, as on a full disk."""


def only_files(folder: Path) -> list[str]:
    """Names of everything in a folder, hidden partial files too."""
    return sorted(path.name for path in folder.iterdir())


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    files.write_bytes(path, b"first")
    files.write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert only_files(path.parent) == ["a.bin"]


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_text_is_utf8(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "Säure µ\n")
    assert (tmp_path / "a").read_bytes() == b"S\xc3\xa4ure \xc2\xb5\n"


def test_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(files.__file__).parent.parent,
    )
    assert done.stdout == (
        f"{path} can't be written ({os.strerror(errno.EFBIG)}): choose a folder that can be "
        "written and has space.\n"
    )
    assert path.read_bytes() == b"old"
    assert only_files(tmp_path) == ["a.bin"]


def test_interrupted_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ctrl-C just before the new file takes the old one's place.
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert only_files(tmp_path) == ["a.bin"]


def test_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(
        ConfigError,
        match=rf"^{re.escape(str(tmp_path / 'a'))} can't be written \(Is a directory\): ",
    ):
        files.write_bytes(tmp_path / "a", b"new")
    assert only_files(tmp_path) == ["a"]


def test_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(
        ConfigError, match=r"can't be written .*: choose a folder that can be written and has space"
    ):
        files.write_bytes(tmp_path / "a" / "b", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(ConfigError, match=r"can't be written \(Permission denied\)"):
        files.write_bytes(folder / "a", b"new")


def test_json_round_trip_keeps_the_order_of_keys(tmp_path: Path) -> None:
    content = {"b": 1, "a": [0.1, None, True], "µ": "ü"}
    files.write_json(tmp_path / "a.json", content)
    assert list(files.read_json(tmp_path / "a.json").items()) == list(content.items())
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "b": 1,\n')
    assert (tmp_path / "a.json").read_bytes().endswith('"ü"\n}\n'.encode())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"accuracy": value})
    assert (tmp_path / "a.json").read_text() == "{}"
    assert only_files(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": 1,}', b"\xff\xfe{}", b"{} {}"],
    ids=["empty", "open", "comma", "utf-16", "two"],
)
def test_malformed_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))} is not valid JSON \(.+\)\.$"):
        files.read_json(path)


def test_missing_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(
        DataError, match=rf"^{re.escape(str(path))} can't be read \(No such file or directory\)\.$"
    ):
        files.read_json(path)


def test_folder_instead_of_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"can't be read \(Is a directory\)"):
        files.read_json(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # NIST's examples for SHA-256 (FIPS 180-2, appendix B.1) and of the empty message.
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_sha256_of_known_bytes(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == expected
