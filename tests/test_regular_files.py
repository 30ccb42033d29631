"""Files from elsewhere: no pipes, sockets and devices, and none that is too large."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dermhub import regular_files
from dermhub.errors import ConfigError, DataError, ModelError
from dermhub.files import read_json
from dermhub.layout import CONFIG, GRAPH, OOD_GATE, WEIGHTS
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY
from tests.support.tiny import make_config


def make_socket(path: Path) -> None:
    """Put a socket in a place, by a short name."""
    place = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(place)


def make_link(target: str) -> Callable[[Path], None]:
    """Return a function that puts a link to `target` in a place."""
    return lambda path: path.symlink_to(target)


KINDS: list[tuple[Callable[[Path], None], str]] = [
    (os.mkfifo, "it is a named pipe, expected a file"),
    (make_socket, "it is a socket, expected a file"),
    (make_link("/dev/zero"), "it is a device, expected a file"),
    (make_link("x"), "Too many levels of symbolic links"),
    (Path.mkdir, "Is a directory"),
]


@pytest.mark.parametrize(("make", "reason"), KINDS, ids=[reason for _, reason in KINDS])
def test_what_is_no_file_is_not_opened(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    make(path)
    for read in (regular_files.read_bytes, regular_files.sha256):
        with pytest.raises(OSError, match=r"^.Errno ") as raised:
            read(path, 100)
        assert raised.value.strerror == reason
    with pytest.raises(DataError) as refused:
        read_json(path)
    assert str(refused.value) == f"{path} can't be read ({reason})."


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert regular_files.read_bytes(path, 5) == b"12345"
    assert regular_files.sha256(path, 5) == hashlib.sha256(b"12345").hexdigest()
    with pytest.raises(OSError, match="it has 1 MB, expected at most 1 MB") as raised:
        regular_files.read_bytes(path, 4)
    assert raised.value.errno == errno.EFBIG
    # Sparse: it takes no room.
    os.truncate(path, 2_000_000_000)
    with pytest.raises(OSError, match="it has 2,000 MB, expected at most 1,000 MB; DERMHUB_LARGES"):
        regular_files.open_regular(path, regular_files.largest_weights())


def test_sizes_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DERMHUB_LARGEST_MB", raising=False)
    names = (WEIGHTS, GRAPH, CONFIG, "README.md", OOD_GATE)
    assert [regular_files.largest(name) // 10**6 for name in names] == [1000, 1000, 16, 16, 256]
    monkeypatch.setenv("DERMHUB_LARGEST_MB", "4000")
    assert regular_files.largest_weights() == 4_000_000_000
    for value in ("many", "0", "-1", "4.5", "\u0664"):
        monkeypatch.setenv("DERMHUB_LARGEST_MB", value)
        with pytest.raises(
            ConfigError, match=r"^DERMHUB_LARGEST_MB is .*, expected a whole number"
        ):
            regular_files.largest_weights()


def test_json_that_is_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" * 50 + "]" * 50)
    assert read_json(path)
    for depth in (51, 100_000):
        path.write_text("[" * depth + "]" * depth)
        with pytest.raises(DataError, match=r"is not valid JSON \(.*\)\.$"):
            read_json(path)


def test_a_pipe_in_a_model_folder(tmp_path: Path) -> None:
    ModelFolder(tmp_path).write(make_config(BINARY), {WEIGHTS: b"w", OOD_GATE: b"g"})
    for name in (OOD_GATE, WEIGHTS, CONFIG):
        folder = ModelFolder(tmp_path)
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        with pytest.raises(ModelError, match=rf"{name} can't be read \(it is a named pipe, expect"):
            folder.check(name)
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(b"x")
        ModelFolder(tmp_path).write(make_config(BINARY), {WEIGHTS: b"w", OOD_GATE: b"g"})
