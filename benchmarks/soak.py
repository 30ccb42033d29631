"""A soak of the demo: honest and hostile clients together, for as long as it is asked for.

    PYTHONPATH=. python benchmarks/soak.py [--honest 4] [--hostile 4] [--seconds 600] [--drain 660]

Starts app.py. Honest clients upload a drawn JPEG, ask, wait for the answer and begin anew. Hostile
ones send files of tests/support/hostile/kinds.py, leave without an answer, break off in the middle
of an upload or of a head, keep streams open, and send what is no HTTP. Then all of them stop, and
the uploads are given `--drain` seconds to be deleted (their lifetime is ten minutes; with fewer
seconds that is not judged). At last the server is told to end.

Prints as Markdown what honest clients got, the memory and the descriptors by quarter, the state of
the sweeper, and what is left. Exits with 1 where an honest client got anything but an answer or
"busy", a hostile one an error of the server's own (500), memory grew by more than 10 % from the
second quarter to the last, a round of the sweeper failed or was late, a fault is in the log, or
anything is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import httpx
from load import Load, events, function_of, one_request
from running import App, machine, running

from demo.server.sweeper import INTERVAL, LIFETIME
from dermhub.images.drawn_lesions import draw
from tests.support import odd_files
from tests.support.demo_client import as_file
from tests.support.hostile import kinds

GROWTH = 0.1
"""Largest accepted change of memory from the second quarter to the last, as a share."""

LATE = 60.0
"""Longest accepted time since the sweeper's last whole round, in seconds."""

SAMPLE = 1.0
"""Seconds between two looks at the server."""

OPEN = 8.0
"""Seconds for which a hostile client keeps a connection open."""

FULL_SIZE = ("WebP with alpha, 12.2 megapixels", "PNG with alpha, 16 megapixels")
"""Kinds that are sent in full size; all others are small, to make many."""


@dataclass
class Soak:
    """State that all clients share, and what was seen."""

    app: App
    load: Load
    until: float
    files: list[bytes]
    own: set[str]
    """Files of the page itself, its examples: they stay."""
    statuses: Counter[str] = field(default_factory=Counter)
    """What hostile clients got -> number."""
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    late: float = 0.0
    """Longest time since the sweeper's last whole round, in seconds."""
    failed: int = 0
    """Rounds of the sweeper that failed."""

    @property
    def goes_on(self) -> bool:
        """True until the clients have to stop."""
        return time.perf_counter() < self.until

    @property
    def uploads(self) -> list[str]:
        """Paths of the visitors' files that lie in the server's private folder."""
        return sorted(kept(self.app) - self.own)


def kept(app: App) -> set[str]:
    """Return the paths of all files that a server keeps."""
    found = app.folder.glob("dermhub-uploads-*/uploads/**/*")
    return {str(path) for path in found if path.is_file()}


async def honest(soak: Soak) -> None:
    """Ask again and again, and wait for each answer."""
    while soak.goes_on:
        try:
            pause = await one_request(soak.load)
            await asyncio.sleep(min(pause, max(soak.until - time.perf_counter(), 0)))
        except (httpx.HTTPError, ConnectionError) as error:
            soak.load.refusals[f"{type(error).__name__}: {error}"] += 1
            await asyncio.sleep(1)


async def hostile(soak: Soak, seed: int) -> None:
    """Do one unfriendly thing after the other."""
    dice = random.Random(seed)
    deeds = (send_file, send_file, leave, break_off, half_head, stream, no_http)
    while soak.goes_on:
        deed = dice.choice(deeds)
        with contextlib.suppress(httpx.HTTPError, OSError, asyncio.TimeoutError, ConnectionError):
            await asyncio.wait_for(deed(soak, dice), 60)
        await asyncio.sleep(0.05)


async def send_file(soak: Soak, dice: random.Random) -> None:
    """Send a hostile file and wait for what is said about it."""
    session = uuid.uuid4().hex
    if await ask_about(soak, dice, session):
        async for message in events(soak.load, session):
            if message["msg"] == "process_completed":
                break


async def leave(soak: Soak, dice: random.Random) -> None:
    """Ask about a hostile file, and never come for the answer."""
    await ask_about(soak, dice, uuid.uuid4().hex)


async def ask_about(soak: Soak, dice: random.Random, session: str) -> bool:
    """Upload a hostile file and ask about it; tells if the question was taken."""
    file = {"files": ("odd", dice.choice(soak.files), "image/jpeg")}
    reply = await soak.load.http.post("/gradio_api/upload", files=file)
    note(soak, "upload", reply.status_code)
    if reply.status_code != 200:
        return False
    body = {
        "data": [as_file(reply.json()[0]), "fast"],
        "fn_index": soak.load.function,
        "session_hash": session,
    }
    reply = await soak.load.http.post("/gradio_api/queue/join", json=body)
    note(soak, "question", reply.status_code)
    return reply.status_code == 200


async def break_off(soak: Soak, dice: random.Random) -> None:
    """Break off in the middle of an upload."""
    head = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
        b"Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n"
        b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    )
    await raw(soak, "broken upload", head + bytes(dice.randrange(400_000)), dice.random() * OPEN)


async def half_head(soak: Soak, dice: random.Random) -> None:
    """Keep a connection with half a head open."""
    await raw(soak, "half a head", b"GET / HTTP/1.1\r\nHost: local", dice.random() * OPEN)


async def stream(soak: Soak, dice: random.Random) -> None:
    """Keep a stream open that nobody writes into."""
    head = b"GET /gradio_api/heartbeat/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await raw(soak, "stream", head % dice.randrange(10**9), dice.random() * OPEN)


async def no_http(soak: Soak, dice: random.Random) -> None:
    """Send a request that is none, or one of two lengths."""
    requests = (
        bytes(dice.randbytes(300)) + b"\r\n\r\n",
        b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
    )
    await raw(soak, "no HTTP", dice.choice(requests), 1.0)


async def raw(soak: Soak, what: str, content: bytes, pause: float) -> None:
    """Send bytes, wait for a while, note the first line that came back, and leave."""
    host, _, port = soak.app.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(content)
        await writer.drain()
        with contextlib.suppress(asyncio.TimeoutError):
            line = await asyncio.wait_for(reader.readline(), pause + 0.1)
            status = line.split(b" ")[1:2]
            note(soak, what, int(status[0]) if status else 0)
    finally:
        writer.close()


def note(soak: Soak, what: str, status: int) -> None:
    """Count an answer to a hostile client."""
    soak.statuses[f"{what}: {status}"] += 1


async def watch(soak: Soak, until: float) -> None:
    """Look at memory, descriptors and sweeper."""
    while time.perf_counter() < until:
        if soak.goes_on:
            soak.memory.append(soak.app.resident())
            soak.descriptors.append(soak.app.descriptors())
        with contextlib.suppress(httpx.HTTPError):
            state = (await soak.load.http.get("/healthz")).json()["sweeper"]
            soak.late = max(soak.late, state["seconds_ago"] or 0.0)
            soak.failed = max(soak.failed, state["failed"])
        await asyncio.sleep(SAMPLE)


async def run(app: App, given: argparse.Namespace) -> Soak:
    """Let the clients work, and wait until their uploads are deleted."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=app.url, timeout=120, limits=limits) as http:
        photo = odd_files.saved("JPEG", draw(7, (600, 450), 0.7), quality=90)
        load = Load(app, http, await function_of(http, "predict"), photo)
        own = kept(app)
        for _ in range(20):
            await one_request(load)
        load.answers.clear()
        files = [each.large() if each.name in FULL_SIZE else each.little() for each in kinds.KINDS]
        soak = Soak(app, load, time.perf_counter() + given.seconds, files, own)
        await asyncio.gather(
            watch(soak, soak.until),
            *(honest(soak) for _ in range(given.honest)),
            *(hostile(soak, seed) for seed in range(given.hostile)),
        )
        await watch(soak, time.perf_counter() + given.drain)
    return soak


def ended(soak: Soak) -> bool:
    """Tell the server to end, and tell if it leaves nothing of its private folder within 60 s."""
    os.kill(soak.app.pid, signal.SIGTERM)
    for _ in range(600):
        if not list(soak.app.folder.glob("dermhub-uploads-*")):
            return True
        time.sleep(0.1)
    return False


def report(soak: Soak, given: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the text of the result, and what fails."""
    errors = {sentence: n for sentence, n in soak.load.refusals.items() if sentence != "busy"}
    size = max(len(soak.memory) // 4, 1)
    quarters = [statistics.mean(soak.memory[n * size : (n + 1) * size] or [0]) for n in range(4)]
    growth = quarters[3] / quarters[1] - 1
    handles = [max(soak.descriptors[n * size : (n + 1) * size] or [0]) for n in range(4)]
    lying = soak.uploads
    drained = given.drain > LIFETIME + 2 * INTERVAL
    log = (soak.app.folder / "log").read_text().splitlines()
    faults = [line for line in log if '"fault"' in line]
    gone = ended(soak)
    seconds = sorted(taken for _, taken in soak.load.answers) or [0.0]
    problems = {
        f"honest clients got {errors}": bool(errors),
        "no honest client was answered": not soak.load.answers,
        "a hostile client got a 500": any(name.endswith(": 500") for name in soak.statuses),
        f"memory {growth:+.1%}": abs(growth) > GROWTH,
        f"the sweeper was late by {soak.late:.0f} s": soak.late > LATE,
        f"{soak.failed} rounds of the sweeper failed": bool(soak.failed),
        f"{len(lying)} uploads are left": drained and bool(lying),
        f"faults in the log: {faults[:3]}": bool(faults),
        "the private folder is left": not gone,
    }
    memory = ", ".join(f"{each:.0f}" for each in quarters)
    lines = [
        f"Honest: {len(soak.load.answers)} answers, {soak.load.refusals['busy']} told busy, "
        f"{sum(errors.values())} errors; median {statistics.median(seconds):.2f} s, 99 % within "
        f"{seconds[int(0.99 * (len(seconds) - 1))]:.2f} s.",
        f"\nHostile: {', '.join(f'{name} ({n})' for name, n in sorted(soak.statuses.items()))}.",
        f"\nMemory by quarter: {memory} MB; {growth:+.1%} from the second to the last. Most "
        f"descriptors by quarter: {', '.join(map(str, handles))}.",
        f"\nSweeper: last whole round at most {soak.late:.0f} s ago, {soak.failed} failed. Uploads "
        f"that lie there after {given.drain:.0f} s: {len(lying)}. After the end: "
        f"{'nothing' if gone else 'the private folder'} is left.",
    ]
    return "\n".join(lines), [problem for problem, there in problems.items() if there]


def main() -> int:
    """Read the options, soak, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--honest", type=int, default=4)
    parser.add_argument("--hostile", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--drain", type=float, default=660.0)
    given = parser.parse_args()
    with running() as app:
        soak = asyncio.run(run(app, given))
        text, problems = report(soak, given)
    head = f"{given.honest} honest and {given.hostile} hostile clients for {given.seconds:.0f} s"
    verdict = "all holds" if not problems else f"**fails: {'; '.join(problems)}**"
    print(f"{machine()}: {head}: {verdict}.\n\n{text}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
