"""The cost of decoding uploads in processes of their own, beside decoding them in the server.

    PYTHONPATH=. python benchmarks/decoding.py [--answers 40]

Starts app.py twice, with `--decode-limits` as it is by default and with `--decode-limits off`, and
asks both in turns about the same JPEGs. Prints as Markdown, for each endpoint and size, the median
milliseconds of an answer by the clock (upload not counted) and its milliseconds of the processor
(all processes of the server), with the walls and without them, and the largest growth of memory
(MB). Exits with 1 where the two answers differ, or where the walls cost more than 5 % of the time
of an answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from running import App, machine, running

from dermhub.images.drawn_lesions import draw
from tests.support import odd_files
from tests.support.demo_client import as_file, upload

MOST = 0.05
"""Largest accepted cost, as a share of an answer without the walls."""

SIZES = {"600 x 450": (600, 450), "4000 x 3000": (4000, 3000)}
"""An image of HAM10000, and a photograph of 12 million pixels."""

ENDPOINTS: dict[str, list[Any]] = {
    "analyse": ["fast"],
    "predict": ["fast"],
    "explain": ["", "", "fast", True],
}
"""Endpoint -> what it takes beside the image."""

WARM = 5
"""Answers before anything is measured."""


@dataclass
class Side:
    """One of the two servers, and what was measured of it."""

    app: App
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    answer: str = ""
    grown: float = 0.0


def ask(app: App, endpoint: str, given: list[Any]) -> str:
    """The answer of an endpoint, as the server wrote it."""
    address = f"{app.url}/gradio_api/call/{endpoint}"
    body = json.dumps({"data": given}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        event = json.load(reply)["event_id"]
    with urllib.request.urlopen(f"{address}/{event}", timeout=300) as reply:
        text: str = reply.read().decode()
    if "event: complete" not in text or '"error"' in text[:200]:
        raise SystemExit(f"{endpoint} gave no answer: {text[:300]}")
    return text


def measure(sides: dict[str, Side], endpoint: str, content: bytes, answers: int) -> None:
    """Ask both servers in turns."""
    given = {
        name: [as_file(upload(side.app.url, [("lesion.jpg", content)])[0]), *ENDPOINTS[endpoint]]
        for name, side in sides.items()
    }
    for number in range(answers + WARM):
        for name, side in sides.items():
            if number == WARM:
                side.app.forget_peak()
                side.grown, side.cpu = -side.app.resident(), -side.app.cpu()
            began = time.perf_counter()
            side.answer = ask(side.app, endpoint, given[name])
            if number >= WARM:
                side.seconds.append(time.perf_counter() - began)
    for side in sides.values():
        side.cpu = (side.cpu + side.app.cpu()) / answers
        side.grown += side.app.peak()


def main() -> int:
    """Measure everything, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=40, help="of each side (default: 40)")
    answers = parser.parse_args().answers
    failed = False
    print(f"{machine()}\n")
    print("| answer | image | ms | ms, off | cost | ms of CPU | off | cost | MB | off | same |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with running() as walled, running("--decode-limits", "off") as plain:
        for endpoint in ENDPOINTS:
            for name, size in SIZES.items():
                picture = draw(4, (400, 300), 0.6).resize(size)
                content = odd_files.saved("JPEG", picture, quality=92)
                on, off = Side(walled), Side(plain)
                measure({"on": on, "off": off}, endpoint, content, answers)
                times = [statistics.median(side.seconds) * 1000 for side in (on, off)]
                cpu = [side.cpu * 1000 for side in (on, off)]
                same = on.answer == off.answer
                cost = times[0] / times[1] - 1
                failed |= cost > MOST or not same
                print(
                    f"| {endpoint} | {name} | {times[0]:.1f} | {times[1]:.1f} | {cost:+.1%} | "
                    f"{cpu[0]:.0f} | {cpu[1]:.0f} | {cpu[0] / cpu[1] - 1:+.1%} | "
                    f"{on.grown:.0f} | {off.grown:.0f} | {'yes' if same else '**no**'} |",
                    flush=True,
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
