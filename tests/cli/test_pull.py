"""Models that are fetched: checked before anything is said of them, and whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dermhub
from dermhub.cli.hub import SCRATCH, copy
from dermhub.models.catalog import locate
from tests.support.hub_server import Hub
from tests.support.tiny import Command

ROOT = Path(__file__).resolve().parents[2]
NAME = "user/lesion"


def rehashed(model: dict[str, bytes], **contents: bytes) -> dict[str, bytes]:
    """A model with further files, whose hashes its config.json states."""
    files = {name.replace("_", "."): content for name, content in contents.items()}
    config = json.loads(model["config.json"])
    stated = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    config["dermhub"]["files"] = {**config["dermhub"].get("files", {}), **stated}
    return {**model, **files, "config.json": json.dumps(config).encode()}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"gate_safetensors": b"nothing"}, "gate.safetensors is no complete safetensors file ("),
        ({"seen_safetensors": b"nothing"}, "seen.safetensors is no complete safetensors file ("),
        ({"model_onnx": b"nothing"}, "model.onnx is no ONNX model that ONNX Runtime can read (it "),
    ],
)
def test_pull_checks_what_load_checks(
    hub: Hub, command: Command, model: dict[str, bytes], contents: dict[str, bytes], message: str
) -> None:
    hub.put(NAME, rehashed(model, **contents))
    code, out, err = command("pull", NAME)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_pull_of_a_graph_that_is_not_the_one_stated(
    hub: Hub, command: Command, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.put(NAME, {**rehashed(model, model_onnx=b"one"), "model.onnx": b"another"})
    code, _, err = command("pull", NAME, "--to", tmp_path / "copy")
    assert code == 2
    assert "model.onnx has the sha256 " in err
    assert list(tmp_path.iterdir()) == []


def test_pull_of_weights_that_are_no_numbers(
    hub: Hub, command: Command, model: dict[str, bytes]
) -> None:
    weights = model["model.safetensors"][:-4] + struct.pack("<f", float("nan"))
    config = json.loads(model["config.json"])
    config["dermhub"]["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    files = {"model.safetensors": weights, "config.json": json.dumps(config).encode()}
    hub.put(NAME, {**model, **files})
    code, _, err = command("pull", NAME)
    assert code == 2
    assert "model.safetensors holds NaN or infinite values in tensor(s) " in err


def test_what_is_far_too_large_is_not_fetched(
    hub: Hub, command: Command, model: dict[str, bytes]
) -> None:
    hub.put(NAME, {**model, "notes.json": b" " * 16_000_001})
    code, _, err = command("pull", NAME)
    assert code == 2
    assert err.endswith(
        "notes.json of user/lesion has 16 MB, expected at most 16 MB: it was not fetched.\n"
    )
    assert not [asked for asked in hub.requests if "/resolve/" in asked]


def test_far_too_many_files_are_not_fetched(
    hub: Hub, command: Command, model: dict[str, bytes]
) -> None:
    hub.put(NAME, {**model, **{f"n{number}.md": b"x" for number in range(200)}})
    code, _, err = command("pull", NAME)
    assert code == 2
    assert " files of a model, expected at most 200: nothing was fetched.\n" in err


def test_several_pulls_into_one_folder(
    hub: Hub,
    command: Command,
    model: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All copy at the same time, and put their copy in its place one after the other.
    hub.put(NAME, model)
    command("pull", NAME)
    to = tmp_path / "copy"
    barrier = threading.Barrier(3)
    folder = locate(NAME)
    copied: list[bool] = []

    def replace(source: Path, target: Path) -> None:
        barrier.wait(20)
        real(source, target)

    real = os.replace
    monkeypatch.setattr(os, "replace", replace)
    threads = [threading.Thread(target=lambda: copied.append(copy(folder, to))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(copied) == [False, False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    dermhub.load(to)


def test_a_killed_pull_leaves_nothing_that_the_next_trips_over(
    hub: Hub, command: Command, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.put(NAME, model)
    to = tmp_path / "copy"
    # As a process leaves it that was killed while it copied, and beside it a folder that is none.
    code = (
        "import os, pathlib, shutil, sys\nfrom dermhub.cli import hub\n"
        "shutil.copyfile = lambda *_: os.kill(os.getpid(), 9)\n"
        "hub.copy(*map(pathlib.Path, sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", code, str(locate(NAME)), str(to)]
    assert subprocess.run(arguments, cwd=ROOT, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    (tmp_path / (SCRATCH + "0" * 32)).mkdir()
    assert command("pull", NAME, "--to", to) == (0, f"{to}: copied from user/lesion\n", "")
    assert left.name.startswith(SCRATCH)
    assert {path.name for path in tmp_path.iterdir()} == {"copy", SCRATCH + "0" * 32}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7890/"),
        ("SSL_CERT_FILE", "/nonexistent/cacert.pem"),
        ("SSLKEYLOGFILE", "/nonexistent/keys"),
        ("HF_HUB_USER_AGENT_ORIGIN", "\u00fc"),
    ],
)
def test_a_variable_that_makes_connections_fail_is_named(name: str, value: str) -> None:
    # In a process of its own: the client looks at these when it is imported or first used.
    done = subprocess.run(
        [sys.executable, "-m", "dermhub", "pull", NAME],
        cwd=ROOT,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"dermhub: There is no folder {NAME}, and {name} ")
    assert done.stderr.count("\n") == 1


def test_without_a_home_folder(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for words in (["pull", NAME], ["push", ROOT / "model_cards" / "binary", "--repo", NAME]):
        code, out, err = command(*words)
        assert (code, out) == (2, "")
        assert err.startswith("dermhub: There is no home folder (HOME is not set, and the user ")
        assert err.endswith("set HOME or HF_HOME to a folder that can be written.\n")
