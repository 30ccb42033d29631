"""What odd and hostile uploads do to the demo with its shipped models:

    PYTHONPATH=. python benchmarks/hostile.py [KIND ...]

Starts app.py, sends every kind of tests/support/odd_files.py, and prints a Markdown table: what
came, what its sender reads, seconds from the first byte of the upload to the answer, by how much
the process grew meanwhile at most (resident memory, MB), and whether the next upload, an ordinary
JPEG, was answered. Exits with 1 where a sentence is not the expected one, an answer takes more than
2 s or 300 MB, or the next upload fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape

from running import App, machine, running

from tests.support import odd_files
from tests.support.demo_client import Refused, as_file, ask, upload

SECONDS, MEGABYTES = 2.0, 300.0


@dataclass(frozen=True)
class Result:
    """What one kind did."""

    kind: str
    told: str
    seconds: float
    megabytes: float
    right: bool
    followed: bool

    @property
    def passed(self) -> bool:
        """Whether all that is asked for holds."""
        return (
            self.right and self.followed and self.seconds <= SECONDS and self.megabytes <= MEGABYTES
        )


def sending(app: App) -> Iterator[tuple[str, str, Callable[[], str]]]:
    """Each kind, how the sentence begins that is expected ("" for an answer), and what sends it."""
    for kind, one in (odd_files.REFUSED | odd_files.ACCEPTED | odd_files.LIMITS).items():
        content = one.make()
        yield kind, one.expected, lambda one=one, content=content: send(app, one.name, content)  # type: ignore[misc]
    big = odd_files.saved("PNG") + bytes(21 * 2**20)
    yield "21 MB", odd_files.TOO_BIG, lambda: send(app, "big.png", big)
    yield "two files at once", odd_files.TWO, lambda: send_two(app)
    for kind, (given, expected) in odd_files.VALUES.items():
        yield f"API: {kind}", expected, lambda given=given: ask(app.url, given)  # type: ignore[misc]
    for number, given in enumerate(odd_files.addresses("http://127.0.0.1:1/metadata.png"), 1):
        kind = f"API: an address inside, form {number}"
        yield kind, odd_files.ADDRESS, lambda given=given: ask(app.url, given)  # type: ignore[misc]


def send(app: App, name: str, content: bytes) -> str:
    """Upload a file and ask about it."""
    (path,) = upload(app.url, [(name, content)])
    return ask(app.url, as_file(path))


def send_two(app: App) -> str:
    """Two files where the endpoint takes one."""
    paths = upload(app.url, [("a.png", odd_files.saved("PNG")), ("b.jpg", odd_files.saved("JPEG"))])
    return ask(app.url, [as_file(path) for path in paths])


def measured(app: App, kind: str, expected: str, call: Callable[[], str]) -> Result:
    """Send one kind, and an ordinary JPEG after it."""
    app.forget_peak()
    before, began = app.resident(), time.perf_counter()
    try:
        told = plain(call())
    except Refused as error:
        told = str(error)
    seconds, grown = time.perf_counter() - began, max(app.peak() - before, 0)
    right = told == "answered" if not expected else told.startswith(expected)
    followed = plain(send(app, "next.jpg", odd_files.saved("JPEG"))) == "answered"
    return Result(kind, told, seconds, grown, right, followed)


def plain(html: str) -> str:
    """What stands on the page: the sentence of a refusal, or "answered"."""
    found = re.search(r"<strong>No answer.</strong> (.*)</div>", html)
    return (
        unescape(found[1]) if found else "answered" if "Probability of malignancy" in html else html
    )


def as_table(results: list[Result]) -> str:
    """The results as Markdown."""
    rows = [
        "| what came | what its sender reads | seconds | MB | next upload | |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        verdict, after = (
            "ok" if one.passed else "**fails**",
            "answered" if one.followed else "**fails**",
        )
        told = one.told.replace("|", r"\|")
        rows.append(
            f"| {one.kind} | {told} | {one.seconds:.2f} | {one.megabytes:.0f} | {after} | "
            f"{verdict} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Send everything, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="only these (default: all)")
    only = parser.parse_args().kinds
    with running() as app:
        for _ in range(10):
            send(app, "warm.jpg", odd_files.saved("JPEG"))
        results = [measured(app, *one) for one in sending(app) if not only or one[0] in only]
    failed = sum(not one.passed for one in results)
    print(f"{machine()}: {len(results)} kinds, {failed} of them fail.\n\n{as_table(results)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
