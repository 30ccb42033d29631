"""A second opinion on the protocol: olah, a mirror written by others.

It stands between our client and the tests' hub.

olah pins other versions of our dependencies, so it lives in an environment of its own: DERMHUB_OLAH
names its program.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dermhub
from tests.support import hub_environment
from tests.support.hub_server import Hub

pytestmark = pytest.mark.slow


def test_a_model_comes_through_a_mirror(
    hub: Hub, tiny_lesion_model: Path, photo: Path, tmp_path: Path
) -> None:
    program = os.environ.get("DERMHUB_OLAH", "")
    if not program:
        pytest.skip("DERMHUB_OLAH is not set: it names the program olah-cli")
    hub.put("user/lesion", {path.name: path.read_bytes() for path in tiny_lesion_model.iterdir()})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    above, here = f"127.0.0.1:{hub_environment.PORT}", f"127.0.0.1:{port}"
    command = [program, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--hf-scheme", "http", "--hf-netloc", above, "--hf-lfs-netloc", above]
    command += ["--mirror-scheme", "http", "--mirror-netloc", here, "--mirror-lfs-netloc", here]
    command += ["--repos-path", str(tmp_path / "repos"), "--log-path", str(tmp_path / "logs")]
    with (tmp_path / "olah.log").open("w") as log:
        mirror = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    code = "import dermhub, sys; print(dermhub.load('user/lesion').predict(sys.argv[1]))"
    environment = {**os.environ, "HF_ENDPOINT": f"http://{here}", "HF_HOME": str(tmp_path / "home")}
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        done = subprocess.run(
            [sys.executable, "-c", code, str(photo)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        mirror.kill()
        mirror.wait()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{dermhub.load(tiny_lesion_model).predict(photo)}\n"
    assert any("paths-info" in request for request in hub.requests)
