"""Odd and hostile uploads to the demo with its shipped models.

    PYTHONPATH=. python benchmarks/hostile.py [KIND ...]

Starts app.py, sends every kind of tests/support/odd_files.py and, in full size, of
tests/support/hostile/kinds.py, and prints a Markdown table: what came, what its sender reads, the
processor's seconds for decoding it and for all of the answer, seconds by the clock from the first
byte of the upload to the answer, by how much the processes grew meanwhile at most (resident memory,
MB), and whether the next upload, an ordinary JPEG, was answered. Exits with 1 where a sentence is
not the expected one, decoding takes more than `--decode-limits` allows (2 s of the processor and
300 MB), or the next upload fails. The clock is not judged: on a busy machine it tells of others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from running import App, machine, running

from demo.decode_limits import Limits
from tests.support import odd_files
from tests.support.demo_client import Refused, as_file, ask, sentence_of, upload
from tests.support.hostile import kinds

LIMITS = Limits()
"""Most time of the processor for decoding, and most memory that the processes may gain."""


@dataclass(frozen=True)
class Result:
    """The result of one kind of upload.

    `sentence` is what its sender reads, and `right` says that it is the expected one; `decoding`
    and `processor` are seconds of the processor, `seconds` those of the clock; `followed` says that
    the next upload was answered.
    """

    kind: str
    sentence: str
    decoding: float
    processor: float
    seconds: float
    megabytes: float
    right: bool
    followed: bool

    @property
    def passed(self) -> bool:
        """True where sentence, limits and the next upload are as they should be."""
        cheap = self.decoding <= LIMITS.seconds and self.megabytes <= LIMITS.megabytes
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
    before, cpu, decoding = app.resident(), app.cpu(), app.decoding_cpu()
    began = time.perf_counter()
    try:
        sentence = plain(call())
    except Refused as error:
        sentence = str(error)
    seconds = time.perf_counter() - began
    cpu, decoding = app.cpu() - cpu, app.decoding_cpu() - decoding
    grown = max(app.peak() - before, 0)
    right = sentence.startswith(expected) if expected else sentence == "answered"
    followed = plain(send(app, "next.jpg", odd_files.saved("JPEG"))) == "answered"
    return Result(kind, sentence, decoding, cpu, seconds, grown, right, followed)


def plain(html: str) -> str:
    """Reduce an answer of the page to the sentence of a refusal, or to "answered"."""
    if "Probability of any cancer" in html:
        return "answered"
    return sentence_of(html) or html


HEAD = """\
| what came | what its sender reads | decoding, s of the processor | all, s of the processor | \
s by the clock | MB | next upload | |
|---|---|---|---|---|---|---|---|"""


def as_row(result: Result) -> str:
    """Format a result as a row of Markdown."""
    sentence = result.sentence.replace("|", r"\|")
    after = "answered" if result.followed else "**fails**"
    verdict = "ok" if result.passed else "**fails**"
    return (
        f"| {result.kind} | {sentence} | {result.decoding:.2f} | {result.processor:.2f} | "
        f"{result.seconds:.2f} | {result.megabytes:.0f} | {after} | {verdict} |"
    )


def main() -> int:
    """Send everything, and print the table row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="only these (default: all)")
    only = parser.parse_args().kinds
    with running() as app:
        for _ in range(10):
            send(app, "warm.jpg", odd_files.saved("JPEG"))
        print(HEAD, flush=True)
        passed = []
        for kind, expected, call in sending(app, only):
            if only and kind not in only:
                continue
            result = measured(app, kind, expected, call)
            passed.append(result.passed)
            # At once, so that a run that is broken off has told what it saw.
            print(as_row(result), flush=True)
    failed = passed.count(False)
    print(f"\n{machine()}: {len(passed)} kinds, {failed} of them fail.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
