"""The demo as a service: its health, who may enter, how many may wait, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from demo import accounts
from dermhub.images.drawn_lesions import draw
from tests.support.demo_process import ROOT, Demo, free_port, serve

pytestmark = pytest.mark.slow

BUSY = (
    r"The server is busy: \d+ requests wait and yours would be number \d+\. Try again in about "
    r"\d+ seconds\."
)


@pytest.fixture
def options(trained: dict[str, Path]) -> tuple[Any, ...]:
    """The models to serve."""
    return ("--binary", trained["binary"], "--lesion", trained["lesion"])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A large drawing, which takes a moment to read."""
    draw(5, (2400, 1800), 0.7).save(tmp_path / "photo.jpg", quality=90)
    return tmp_path / "photo.jpg"


def get(url: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ask(demo: Demo, photo: Path) -> str:
    """Ask as a client of its own: an answer, or the text of an error."""
    try:
        return str(Client(demo.url, verbose=False).predict(handle_file(photo), api_name="/analyse"))
    except AppError as error:
        return str(error)


def events(demo: Demo) -> list[dict[str, Any]]:
    """The event log, line by line."""
    return [json.loads(line) for line in demo.lines if line.startswith("{")]


def test_health(demo: Demo, trained: dict[str, Path]) -> None:
    status, text = get(f"{demo.url}/healthz")
    content = json.loads(text)
    assert (status, content["status"]) == (200, "ready")
    shown = {model["weights_sha256"] for model in content["models"].values()}
    configs = [json.loads((folder / "config.json").read_text()) for folder in trained.values()]
    assert shown == {config["dermhub"]["weights_sha256"] for config in configs}
    began = time.perf_counter()
    for _ in range(20):
        get(f"{demo.url}/healthz")
    assert time.perf_counter() - began < 2


def test_it_is_there_before_its_models_are_and_can_be_ended_then(
    options: tuple[Any, ...], tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *map(str, options)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        status, text = 0, ""
        while not status and time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError):
                status, text = get(f"http://127.0.0.1:{port}/healthz")
            time.sleep(0.02)
        assert (status, json.loads(text)["status"]) == (503, "loading")
        assert "The models are being loaded." in get(f"http://127.0.0.1:{port}/")[1]
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    # Where a library catches the end, the page is made first, which the log tells.
    assert [line for line in errors.decode().splitlines() if not line.startswith("{")] == []
    assert list(tmp_path.glob("*dermhub*")) == []


def test_a_full_queue_is_told_in_words(
    options: tuple[Any, ...], tmp_path: Path, photo: Path
) -> None:
    with (
        serve(tmp_path / "home", *options, "--max-queue", 2) as demo,
        ThreadPoolExecutor(8) as pool,
    ):
        replies = list(pool.map(lambda _: ask(demo, photo), range(12)))
        answered = [reply for reply in replies if "Probability of any cancer" in reply]
        busy = [reply for reply in replies if re.fullmatch(BUSY, reply)]
        assert len(answered) + len(busy) == 12, replies
        assert len(answered) >= 3
        assert busy
        assert "Probability of any cancer" in ask(demo, photo)
        outcomes = [event["outcome"] for event in events(demo) if event["event"] == "answer"]
        assert (outcomes.count("answered"), outcomes.count("busy")) == (
            len(answered) + 1,
            len(busy),
        )
        fields = {"time", "event", "endpoint", "outcome", "waited", "waiting", "seconds"}
        fields |= {"status", "bytes"}
        logged = [event for event in events(demo) if event["event"] in ("answer", "upload")]
        assert all(set(event) <= fields for event in logged)


def test_the_end_waits_for_what_was_asked(
    options: tuple[Any, ...], tmp_path: Path, photo: Path
) -> None:
    with serve(tmp_path / "home", *options) as demo, ThreadPoolExecutor(6) as pool:
        clients = [Client(demo.url, verbose=False) for _ in range(6)]
        jobs = [client.submit(handle_file(photo), api_name="/analyse") for client in clients]
        deadline = time.monotonic() + 60
        while (
            not any(event["event"] == "answer" for event in events(demo))
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        demo.process.send_signal(signal.SIGTERM)
        replies = list(pool.map(_result, jobs))
        assert demo.process.wait(60) == 0
        # Those that came in before the signal are answered, and one that came later is told so.
        late = replies.count("The server is stopping: try again in a minute.")
        answered = sum("Probability of any cancer" in reply for reply in replies)
        assert answered + late == 6, replies
        assert late < 6
        (last,) = [event for event in events(demo) if event["event"] == "stopped"]
        assert last["outcome"] == "done"


def _result(job: Any) -> str:
    try:
        return str(job.result(60))
    except AppError as error:
        return str(error)


def test_only_those_with_an_account_enter(
    options: tuple[Any, ...], tmp_path: Path, photo: Path
) -> None:
    file = tmp_path / "accounts"
    file.write_text(f"anna:secret\n{accounts.line_for('bodo', 'geheim')}\n")
    file.chmod(0o644)
    with serve(tmp_path / "home", *options, "--auth-file", file, "--host", "0.0.0.0") as demo:
        assert (
            f"app.py: {file} can be read by other users of this machine: chmod 600 {file}.\n"
            in demo.lines
        )
        assert any("travel unencrypted" in line for line in demo.lines)
        assert not any("without a password" in line for line in demo.lines)
        assert get(f"{demo.url}/healthz")[0] == 200
        assert get(f"{demo.url}/config")[0] == 401
        assert get(f"{demo.url}/gradio_api/info")[0] == 401
        for user, password in (("anna", "secret"), ("bodo", "geheim")):
            client = Client(demo.url, verbose=False, auth=(user, password))
            assert "Probability of any cancer" in client.predict(
                handle_file(photo), api_name="/analyse"
            )
        for user, password in (
            ("anna", "wrong"),
            ("anna", "geheim"),
            ("cleo", "secret"),
            ("bodo", ""),
        ):
            with pytest.raises(ValueError, match="Could not login"):
                Client(demo.url, verbose=False, auth=(user, password))


def test_listening_for_others_says_what_that_means(
    options: tuple[Any, ...], tmp_path: Path
) -> None:
    with serve(tmp_path, *options, "--host", "0.0.0.0") as demo:
        expected = (
            "this page can be reached by others, without a password: whoever reaches it can use it "
            "(--auth-file)."
        )
        assert f"app.py: {expected}\n" in demo.lines


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--auth-file", "none"), "none can't be read: No such file or directory"),
        (("--auth-file", "bad"), "Line 1 of bad is no account, expected user:password."),
        (("--host", "nowhere.invalid", "--auth-file", "good"), "nowhere.invalid, port"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path: Path, given: tuple[str, ...], words: str) -> None:
    (tmp_path / "bad").write_text("anna\n")
    (tmp_path / "good").write_text("anna:secret\n")
    (tmp_path / "good").chmod(0o600)
    command = [sys.executable, str(ROOT / "app.py"), *given, "--port", str(free_port())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    *warnings, last = done.stderr.splitlines()
    assert last.startswith(f"app.py: {words}")
    assert len(warnings) == (1 if "--host" in given else 0)


@pytest.mark.parametrize("number", ["0", "-1", "many", "10001"])
def test_a_queue_of_no_size_is_refused(capsys: pytest.CaptureFixture[str], number: str) -> None:
    import app

    with pytest.raises(SystemExit, match="2"):
        app.options(["--max-queue", number])
    assert number in capsys.readouterr().err


VISITS = """
import sys
from gradio_client import Client
from demo.models import Models
from demo.page.page import make_page
from demo.server import server

serving = server.Server(server.Settings(port=int(sys.argv[1])), "test")
models = Models({"fast": (sys.argv[2], sys.argv[3])})
made = []

def make(folder, *hooks):
    made.append(make_page(models, folder, *hooks))
    return made[0]

serving.open(make, {}, models.identities)
client = Client(serving.local, verbose=False)
for visit in range(server.VISITS + 20):
    client.session_hash = f"visit-{visit}"
    assert "ppv" in client.predict(5, "fast", api_name="/at_prevalence")
remembered = len(made[0].state_holder.session_data)
print("remembered:", remembered, "of", server.VISITS, file=sys.__stderr__)
serving.close()
"""


def test_no_more_than_so_many_visits_are_remembered(
    options: tuple[Any, ...], tmp_path: Path
) -> None:
    # Gradio keeps 0.1 MB of each visit, for 10,000 visits unless it is told otherwise before the
    # page is mounted.
    command = [sys.executable, "-c", VISITS, str(free_port()), str(options[1]), str(options[3])]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=_quiet(tmp_path)
    )
    counts = re.search(r"remembered: (\d+) of (\d+)", run.stderr)
    assert counts, run.stderr[-2000:]
    assert counts[1] == counts[2] == "128"


def _quiet(folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GRADIO", "SPACE"))
    }
    return kept | {"TMPDIR": str(folder), "HOME": str(folder)}
