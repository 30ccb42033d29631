"""The demo under load, with its shipped models and its default queue.

    PYTHONPATH=. python benchmarks/load.py [--clients 64] [--seconds 120] [--endpoint predict]

Starts app.py, measures one client alone, and then many at once: each uploads a drawn JPEG, asks,
waits for its answer and begins anew; after the answer "busy" it waits as long as the sentence says.
All of it goes through the loopback interface, on the same cores as the server. Prints as Markdown
the time of answers by the position in the queue (the number of answers due up to the client's own,
the one being worked on counted whole), all refusals, and the server's memory by quarter. Exits with
1 where there was a refusal other than "busy", the median of latency / (position x latency alone) is
above 1.3, or the memory of the last quarter differs from the first by more than 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from running import App, machine, running

from dermhub.images.drawn_lesions import draw
from tests.support import odd_files
from tests.support.demo_client import as_file

BUSY = re.compile(
    r"The server is busy: \d+ requests wait and yours would be number \d+\. Try again in about "
    r"(\d+) sec"
)
RATIO = 1.3
"""Largest accepted median of latency / (position x latency alone)."""

GROWTH = 0.05
"""Largest accepted change of memory, as a share."""

WARM = 20
"""Requests before anything is measured."""

ALONE = 40
"""Requests of one client alone."""

SAMPLE = 0.5
"""Seconds between two measurements of memory."""


@dataclass
class Load:
    """State that all clients share: the server, and the results."""

    app: App
    http: httpx.AsyncClient
    function: int
    photo: bytes
    working: int = 0
    """Requests that the server works on now."""
    answers: list[tuple[int, float]] = field(default_factory=list)
    """(position, seconds) of each answer."""
    uploads: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    """Sentence instead of an answer -> number."""
    memory: list[float] = field(default_factory=list)


async def function_of(http: httpx.AsyncClient, endpoint: str) -> int:
    """Return the number under which the server knows an endpoint."""
    config = (await http.get("/config")).json()
    (number,) = [each["id"] for each in config["dependencies"] if each["api_name"] == endpoint]
    return int(number)


async def one_request(load: Load) -> float:
    """Upload, ask, and wait for the end; returns the seconds to wait before the next request."""
    began = time.perf_counter()
    file = {"files": ("lesion.jpg", load.photo, "image/jpeg")}
    (path,) = (await load.http.post("/gradio_api/upload", files=file)).raise_for_status().json()
    load.uploads.append(time.perf_counter() - began)
    session = uuid.uuid4().hex
    began = time.perf_counter()
    position = 0
    body = {"data": [as_file(path), "fast"], "fn_index": load.function, "session_hash": session}
    (await load.http.post("/gradio_api/queue/join", json=body)).raise_for_status()
    async for message in events(load, session):
        if message["msg"] == "estimation" and not position:
            position = message["rank"] + 1 + min(load.working, 1)
        elif message["msg"] == "process_starts":
            load.working += 1
        elif message["msg"] == "process_completed":
            return finished(load, message, max(position, 1), time.perf_counter() - began)
    raise ConnectionError("the stream ended without an answer")


def finished(load: Load, message: dict[str, Any], position: int, seconds: float) -> float:
    """Note the end of a request; returns the seconds to wait before the next one."""
    output = message["output"]
    if message["success"] and "error" not in output["data"][0]:
        load.working -= 1
        load.answers.append((position, seconds))
        return 0.0
    sentence = str(output.get("error") or output["data"][0]["error"])
    busy = BUSY.match(sentence)
    load.refusals["busy" if busy else sentence] += 1
    return float(busy[1]) if busy else 1.0


async def events(load: Load, session: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the messages that the server sends to a waiting client."""
    place = {"session_hash": session}
    async with load.http.stream("GET", "/gradio_api/queue/data", params=place) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                yield json.loads(line[5:])


async def client(load: Load, until: float) -> None:
    """Ask again and again."""
    while time.perf_counter() < until:
        try:
            pause = await one_request(load)
            await asyncio.sleep(min(pause, max(until - time.perf_counter(), 0)))
        except (httpx.HTTPError, ConnectionError) as error:
            load.refusals[f"{type(error).__name__}: {error}"] += 1
            await asyncio.sleep(1)


async def watch(load: Load, until: float) -> None:
    """Note the server's memory."""
    while time.perf_counter() < until:
        load.memory.append(load.app.resident())
        await asyncio.sleep(SAMPLE)


async def measure(app: App, clients: int, seconds: float, endpoint: str) -> tuple[float, Load]:
    """The median seconds of one client alone, and the load."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=app.url, timeout=120, limits=limits) as http:
        function = await function_of(http, endpoint)
        photo = odd_files.saved("JPEG", draw(7, (600, 450), 0.7), quality=90)
        alone = Load(app, http, function, photo)
        for _ in range(WARM + ALONE):
            await one_request(alone)
        load = Load(app, http, function, photo)
        until = time.perf_counter() + seconds
        await asyncio.gather(watch(load, until), *(client(load, until) for _ in range(clients)))
        single = statistics.median(taken for _, taken in alone.answers[WARM:])
        return single, load


def report(single: float, load: Load) -> tuple[str, bool]:
    """The text of the result, and True where every limit is kept."""
    ratios = [seconds / (position * single) for position, seconds in load.answers]
    quarter = len(load.memory) // 4
    quarters = [statistics.mean(load.memory[n * quarter : (n + 1) * quarter]) for n in range(4)]
    ratio = statistics.median(ratios)
    growth = quarters[3] / quarters[0] - 1
    errors = {sentence: n for sentence, n in load.refusals.items() if sentence != "busy"}
    memory = ", ".join(f"{megabytes:.0f}" for megabytes in quarters)
    lines = [
        f"One client alone: {single:.3f} s a request (median of {ALONE}). Under load "
        f"{len(load.answers)} answers, {load.refusals['busy']} told busy, {sum(errors.values())} "
        f"errors{f': {errors}' if errors else ''}. Upload: {statistics.median(load.uploads):.3f} s "
        "(median).",
        f"\nLatency / (position x latency alone): {ratio:.2f} (median; at most {RATIO} is asked "
        "for).",
        f"\nMemory by quarter: {memory} MB; {growth:+.1%} from first to last.",
        "\n| position | answers | median s | position x alone, s | ratio |\n|---|---|---|---|---|",
    ]
    for place in sorted({position for position, _ in load.answers}):
        times = [seconds for position, seconds in load.answers if position == place]
        middle = statistics.median(times)
        lines.append(
            f"| {place} | {len(times)} | {middle:.2f} | {place * single:.2f} | "
            f"{middle / place / single:.2f} |"
        )
    return "\n".join(lines), not errors and ratio <= RATIO and abs(growth) <= GROWTH


def main() -> int:
    """Read the options, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--endpoint", default="predict", choices=("predict", "analyse"))
    given = parser.parse_args()
    with running() as app:
        single, load = asyncio.run(measure(app, given.clients, given.seconds, given.endpoint))
    text, holds = report(single, load)
    head = f"{machine()}: {given.clients} clients for {given.seconds:.0f} s, /{given.endpoint}"
    print(f"{head}: {'all holds' if holds else '**something fails**'}.\n\n{text}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
