"""Odd and hostile uploads to the demo with its shipped models.

    PYTHONPATH=. python benchmarks/hostile.py [KIND ...]

Starts app.py, sends every kind of tests/support/odd_files.py and, in full size, of
tests/support/hostile/kinds.py, and prints a Markdown table: what came, what its sender reads,
seconds from the first byte of the upload to the answer, by how much the process grew meanwhile at
most (resident memory, MB), and whether the next upload, an ordinary JPEG, was answered. Exits with
1 where a sentence is not the expected one, an answer takes more than 2 s or 300 MB, or the next
upload fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from html import unescape

from running import App, machine, running

from tests.support import odd_files
from tests.support.demo_client import Refused, as_file, ask, upload
from tests.support.hostile import kinds

SECONDS = 2.0
"""Longest time of an answer."""

MEGABYTES = 300.0
"""Most memory that the process may gain during an answer."""


@dataclass(frozen=True)
class Result:
    """The result of one kind of upload.

    `sentence` is what its sender reads, and `right` says that it is the expected one; `followed`
    says that the next upload was answered.
    """

    kind: str
    sentence: str
    seconds: float
    megabytes: float
    right: bool
    followed: bool

    @property
    def passed(self) -> bool:
        """True where sentence, limits and the next upload are as they should be."""
        cheap = self.seconds <= SECONDS and self.megabytes <= MEGABYTES
        return self.right and self.followed and cheap


def sending(app: App, only: list[str]) -> Iterator[tuple[str, str, Callable[[], str]]]:
    """Yield (kind, expected, call): the call sends it, and its sentence begins as expected.

    `expected` is "" for an upload that must be answered. Files are made of the kinds in `only`, or
    of all if it is empty.
    """
    for kind, file in (odd_files.REFUSED | odd_files.ACCEPTED | odd_files.LIMITS).items():
        if not only or kind in only:
            yield kind, file.expected, partial(send, app, file.name, file.make())
    for hostile in kinds.KINDS:
        if not only or hostile.name in only:
            expected = kinds.MANY.get(hostile.name, hostile.expected)
            yield hostile.name, expected, partial(send, app, "odd", hostile.large())
    big = odd_files.saved("PNG") + bytes(21 * 2**20)
    yield "21 MB", odd_files.TOO_BIG, lambda: send(app, "big.png", big)
    yield "two files at once", odd_files.TWO, lambda: send_two(app)
    for kind, (given, expected) in odd_files.VALUES.items():
        yield f"API: {kind}", expected, partial(ask, app.url, given)
    for number, given in enumerate(odd_files.addresses("http://127.0.0.1:1/metadata.png"), 1):
        kind = f"API: an address inside, form {number}"
        yield kind, odd_files.ADDRESS, partial(ask, app.url, given)


def send(app: App, name: str, content: bytes) -> str:
    """Upload a file and ask about it."""
    (path,) = upload(app.url, [(name, content)])
    return ask(app.url, as_file(path))


def send_two(app: App) -> str:
    """Send two files to the endpoint that takes one."""
    paths = upload(app.url, [("a.png", odd_files.saved("PNG")), ("b.jpg", odd_files.saved("JPEG"))])
    return ask(app.url, [as_file(path) for path in paths])


def measured(app: App, kind: str, expected: str, call: Callable[[], str]) -> Result:
    """Send one kind, and an ordinary JPEG after it."""
    app.forget_peak()
    before = app.resident()
    began = time.perf_counter()
    try:
        sentence = plain(call())
    except Refused as error:
        sentence = str(error)
    seconds = time.perf_counter() - began
    grown = max(app.peak() - before, 0)
    right = sentence.startswith(expected) if expected else sentence == "answered"
    followed = plain(send(app, "next.jpg", odd_files.saved("JPEG"))) == "answered"
    return Result(kind, sentence, seconds, grown, right, followed)


def plain(html: str) -> str:
    """Reduce an answer of the page to the sentence of a refusal, or to "answered"."""
    refusal = re.search(r"<strong>No answer.</strong> (.*)</div>", html)
    if refusal:
        return unescape(refusal[1])
    return "answered" if "Probability of cancer" in html else html


def as_table(results: list[Result]) -> str:
    """The results as Markdown."""
    rows = [
        "| what came | what its sender reads | seconds | MB | next upload | |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        sentence = result.sentence.replace("|", r"\|")
        after = "answered" if result.followed else "**fails**"
        verdict = "ok" if result.passed else "**fails**"
        rows.append(
            f"| {result.kind} | {sentence} | {result.seconds:.2f} | {result.megabytes:.0f} | "
            f"{after} | {verdict} |"
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
        results = [
            measured(app, kind, expected, call)
            for kind, expected, call in sending(app, only)
            if not only or kind in only
        ]
    failed = sum(not result.passed for result in results)
    print(f"{machine()}: {len(results)} kinds, {failed} of them fail.\n\n{as_table(results)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
