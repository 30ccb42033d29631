"""Two real replicas of the demo behind a real nginx: both answer, and one without the other."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from tests.support.demo_process import ROOT, Demo, free_port, serve

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
CONFIGURATION = ROOT / "deploy" / "replicas" / "nginx.conf"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]


@dataclass
class Balanced:
    """The address of nginx, and the replicas behind it."""

    url: str
    replicas: list[Demo]

    def client(self, address: str) -> Any:
        """gradio_client, as a proxy in front of nginx would pass it on from an address."""
        return Client(self.url, headers={"X-Forwarded-For": address}, verbose=False)

    def answered(self) -> list[int]:
        """The number of answers in the log of each replica."""
        return [sum(map(is_answer, demo.lines)) for demo in self.replicas]

    def owner(self, before: list[int]) -> int:
        """The index of the replica that has answered once more than before."""
        # Its line may come a moment after its answer.
        for _ in range(100):
            for place, (old, new) in enumerate(zip(before, self.answered(), strict=True)):
                if new == old + 1:
                    return place
            time.sleep(0.05)
        raise AssertionError("no replica says that it answered")


def is_answer(line: str) -> bool:
    """True for a line of a replica's log that reports an answer."""
    if not line.startswith("{"):
        return False
    event = json.loads(line)
    return (event["event"], event.get("outcome"), event.get("endpoint")) == (
        "answer",
        "answered",
        "predict",
    )


@contextlib.contextmanager
def nginx(folder: Path, port: int, behind: list[int]) -> Iterator[None]:
    """Run nginx with the configuration in deploy/, but with ports and folders of this test."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    for old, new in zip(("7860", "7861", "7862"), (port, *behind), strict=True):
        assert text.count(f"127.0.0.1:{old}") == 1
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    text = text.replace("/run/nginx-dermhub.pid", str(folder / "pid"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = text.replace(
        "http {", "http {" + "".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    )
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = [str(NGINX), "-p", str(folder), "-e", str(folder / "log")]
    command += ["-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t", "-q"], check=True)
    process = subprocess.Popen([*command, "-g", "daemon off;"])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def balanced(
    trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balanced]:
    """Two replicas behind nginx."""
    options = ("--binary", trained["binary"], "--lesion", trained["lesion"])
    with contextlib.ExitStack() as stack:
        homes = [tmp_path_factory.mktemp("home") for _ in range(2)]
        replicas = [stack.enter_context(serve(home, *options)) for home in homes]
        port = free_port()
        behind = [int(demo.url.rpartition(":")[2]) for demo in replicas]
        stack.enter_context(nginx(tmp_path_factory.mktemp("nginx"), port, behind))
        url = f"http://127.0.0.1:{port}"
        wait_for(url)
        yield Balanced(url, replicas)


def wait_for(url: str) -> None:
    """Wait until nginx passes requests on."""
    for _ in range(100):
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{url}/healthz", timeout=10) as reply,
        ):
            assert json.load(reply)["status"] == "ready"
            return
        time.sleep(0.1)
    raise AssertionError("nginx does not answer")


def test_both_answer_and_one_goes_on_when_the_other_is_stopped(
    balanced: Balanced, photo: Path
) -> None:
    # Addresses are spread by their hash: sooner or later one of them comes to each replica.
    owners: dict[int, Any] = {}
    expected = None
    for number in range(40):
        before = balanced.answered()
        client = balanced.client(f"192.0.2.{number}")
        answer = client.predict(handle_file(photo), api_name="/predict")
        expected = expected or answer
        # Whoever answers, it is the same answer.
        assert answer == expected
        assert 0 < answer["malignancy"] < 1
        owner = balanced.owner(before)
        owners[owner] = client
        if len(owners) == 2 and number >= 3:
            break
    assert owners.keys() == {0, 1}

    # A client stays with its replica.
    for _ in range(3):
        before = balanced.answered()
        owners[1].predict(handle_file(photo), api_name="/predict")
        assert balanced.owner(before) == 1

    assert balanced.replicas[0].stop() == 0
    for client in (owners[0], owners[1], balanced.client("192.0.2.200")):
        before = balanced.answered()
        assert client.predict(handle_file(photo), api_name="/predict") == expected
        assert balanced.owner(before) == 1
