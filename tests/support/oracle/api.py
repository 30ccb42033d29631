"""The running demo as other programs see it: its address, its answers, and its page."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests.support.oracle.place import Place, Recorded, free_port, without
from tests.support.oracle.probes import PATIENCE, sha256


@contextlib.contextmanager
def demo(place: Place) -> Iterator[str]:
    """The running demo with the shipped models; gives its address, and ends it afterwards.

    Raises RuntimeError with what it printed when it does not start.
    """
    port, lines, ready = free_port(), [], threading.Event()
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=place.project,
        env=place.environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("dermhub is ready: open "):
                ready.set()
        ready.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        if not ready.wait(PATIENCE) or process.poll() is not None:
            raise RuntimeError("The demo did not start:\n" + "".join(lines))
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        reader.join(10)


def record_api(place: Place) -> Recorded:
    """Record what other programs can ask of the demo, its answers about drawings, and its page."""
    from gradio_client import Client, handle_file

    drawings = place.temporary / "drawings"
    place.probe("draw", drawings)
    photo, dark = str(drawings / "photo.jpg"), str(drawings / "dark.png")
    answers: dict[str, Any] = {}
    with demo(place) as url:
        for name in ("info", "config"):
            address = f"{url}/gradio_api/info" if name == "info" else f"{url}/config"
            with urllib.request.urlopen(address, timeout=120) as reply:
                answers[name] = json.loads(reply.read())
        with urllib.request.urlopen(f"{url}/healthz", timeout=120) as reply:
            answers["health"] = json.loads(reply.read())
        client = Client(url, verbose=False, download_files=str(place.temporary / "downloads"))
        calls: dict[str, tuple[str, tuple[object, ...]]] = {
            "predict": ("/predict", (handle_file(photo), "fast")),
            "predict nothing": ("/predict", (None, "fast")),
            "predict noise": ("/predict", (handle_file(str(drawings / "noise.png")), "fast")),
            "analyse": ("/analyse", (handle_file(photo),)),
            "analyse noise": ("/analyse", (handle_file(str(drawings / "noise.png")),)),
            "explain": ("/explain", (handle_file(dark), "mel", "nv", "fast", True)),
            "explain against itself": (
                "/explain",
                (handle_file(dark), "mel", "mel", "fast", False),
            ),
            "check_stability": ("/check_stability", (handle_file(dark), "fast")),
            "at_prevalence": ("/at_prevalence", (2, "fast")),
            "at_prevalence of nonsense": ("/at_prevalence", (200, "fast")),
            "predict_several": (
                "/predict_several",
                ([handle_file(photo), handle_file(dark)], "fast"),
            ),
        }
        for name, (endpoint, given) in calls.items():
            try:
                answer: Any = client.predict(*given, api_name=endpoint)
            except (
                Exception
            ) as error:  # whatever the client makes of a refusal is what a user meets
                answer = f"{type(error).__name__}: {error}"
            answers[name] = shortened(answer, place, url)
        client.close()
    answers["config"] = page_record(answers["config"], place, url)
    answers["info"] = shortened(answers["info"], place, url)
    answers["health"] = shortened(without(answers["health"], ("seconds",)), place, url)
    return Recorded(answers)


def page_record(config: dict[str, Any], place: Place, url: str) -> dict[str, Any]:
    """A page as Gradio describes it, without what is drawn anew at each start."""
    volatile = (
        "app_id",
        "root",
        "username",
        "space_id",
        "protocol",
        "key",
        "api_url",
        "session_hash",
    )
    return shortened(without(config, volatile), place, url)  # type: ignore[no-any-return]


def shortened(content: Any, place: Place, url: str) -> Any:
    """JSON with embedded pictures as hashes, and without addresses and random names."""
    if isinstance(content, dict):
        return {key: shortened(item, place, url) for key, item in content.items()}
    if isinstance(content, list | tuple):
        return [shortened(item, place, url) for item in content]
    if not isinstance(content, str):
        return content
    text = place.plain(content).replace(url, "URL")
    text = re.sub(
        r"data:[\w/+-]+;base64,([A-Za-z0-9+/=]+)",
        lambda match: f"DATA {sha256(match[1].encode())}",
        text,
    )
    # Folders for uploads are named at random, and those for examples by their content.
    text = re.sub(r"dermhub-[\w-]{6,}/", "dermhub-RANDOM/", text)
    text = re.sub(r" at 0x[0-9a-f]+>", " at ADDRESS>", text)
    lines = text.splitlines()
    return lines if len(lines) > 1 else text
