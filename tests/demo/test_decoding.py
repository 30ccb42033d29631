"""The last wall: files are decoded in processes with bounds, and a lost process costs one file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import app
from demo import decoding
from demo.decode_child import photo_of
from demo.decode_limits import Limits
from demo.decoding import NO_PROCESS, PROCESSES, DecodingProcesses
from dermhub.errors import ImageError
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec
from tests.support import odd_files
from tests.support.demo_client import as_file, ask, upload
from tests.support.demo_process import ROOT, serve
from tests.support.hostile import jpegs, others

SPECS = (InputSpec(64), InputSpec(48, crop_mode="squash"))

ANEW = "; scale it down, or save it anew as an ordinary JPEG, and upload that."

HUGE = odd_files.LIMITS["PNG, 64 megapixels"].make
"""An honest file that takes 200 MB and half a second, by which small bounds are reached."""


class Reports:
    """Keeps what the pool tells."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, reason: str, seconds: float) -> None:
        assert 0 <= seconds < 100
        self.reasons.append(reason)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingProcesses]:
    """Warm processes with bounds that nothing here reaches."""
    processes = DecodingProcesses(Limits(8000, 60))
    yield processes
    processes.close()


def children() -> set[int]:
    """The decoding processes of this one that have not ended."""
    ids = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"demo.decode_child" in (folder / "cmdline").read_bytes():
                ids.add(int(folder.name))
    return ids


def assert_same(left: Photo, right: Photo, specs: Sequence[InputSpec] = SPECS) -> None:
    """Two photos agree to the bit, with all that was measured."""
    assert left.rgb.mode == right.rgb.mode
    assert left.rgb.info == right.rgb.info == {}
    assert np.array_equal(np.asarray(left.rgb), np.asarray(right.rgb))
    for spec in specs:
        assert np.array_equal(left.array(spec), right.array(spec))
        assert left.array(spec).dtype == right.array(spec).dtype
    assert np.array_equal(left.hashes, right.hashes)
    assert left.hashes.dtype == right.hashes.dtype
    first, second = left.quality, right.quality
    assert first.size == second.size
    figures = ("sharpness", "lightest", "burnt", "surround")
    assert all(getattr(first, name) == getattr(second, name) for name in figures)
    assert np.array_equal(first.lesion.small, second.lesion.small)
    assert np.array_equal(first.lesion.surround, second.lesion.surround)
    assert first.lesion.contrast == second.lesion.contrast


def kill(identities: set[int]) -> None:
    """Kill processes, and wait until they have ended."""
    for identity in identities:
        os.kill(identity, signal.SIGKILL)
    while any(map(runs, identities)):
        time.sleep(0.01)


def runs(identity: int) -> bool:
    """A process has not ended."""
    try:
        status = Path(f"/proc/{identity}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def test_limits_are_read() -> None:
    assert Limits.parse("300,2") == Limits(300, 2)
    assert Limits.parse("50,0.1") == Limits(50, 0.1)
    assert Limits.parse("off") is None


@pytest.mark.parametrize(
    "text", ["", "300", "300,2,1", "many,2", "49,2", "300,0", "nan,2", "1e9,2"]
)
def test_other_limits_are_one_sentence(text: str) -> None:
    with pytest.raises(
        ValueError,
        match=r" are no limits for decoding, expected MB,SECONDS \(at least 50,0.1\) or ",
    ):
        Limits.parse(text)


def test_the_command_line_takes_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.options([]).decode_limits == Limits(300, 2)
    assert app.options(["--decode-limits", "off"]).decode_limits is None
    with pytest.raises(SystemExit, match="2"):
        app.options(["--decode-limits", "none"])
    assert "none are no limits for decoding, expected MB,SECONDS" in capsys.readouterr().err


@pytest.mark.slow
def test_the_process_imports_little() -> None:
    code = (
        "import sys, demo.decode_child; demo.decode_child.warm_up(); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "timm", "gradio", "pandas", "onnxruntime", "matplotlib", "huggingface_hub"}
    assert not set(done.stdout.split()) & heavy


@pytest.mark.slow
@pytest.mark.parametrize("kind", odd_files.ACCEPTED)
def test_a_photo_is_the_same_to_the_bit(pool: DecodingProcesses, kind: str) -> None:
    content = odd_files.ACCEPTED[kind].make()
    assert_same(pool.decode(content, SPECS), photo_of(content, SPECS))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(600, 450), (1281, 900), (4000, 3000), (300, 5000)])
def test_a_large_photo_is_the_same_to_the_bit(
    pool: DecodingProcesses, size: tuple[int, int]
) -> None:
    content = odd_files.saved("JPEG", draw(4, (400, 300), 0.6).resize(size))
    photo = pool.decode(content, SPECS)
    assert_same(photo, photo_of(content, SPECS))
    assert photo.quality.size == size
    assert max(photo.rgb.size) <= 1280
    whole = Photo.open(content)
    assert all(np.array_equal(photo.array(spec), whole.array(spec)) for spec in SPECS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", odd_files.REFUSED)
def test_a_refusal_is_the_same(pool: DecodingProcesses, kind: str) -> None:
    content = odd_files.REFUSED[kind].make()
    with pytest.raises(ImageError) as here:
        photo_of(content, SPECS)
    with pytest.raises(ImageError) as there:
        pool.decode(content, SPECS)
    assert str(there.value) == str(here.value)


@pytest.mark.slow
def test_many_threads_may_ask(pool: DecodingProcesses) -> None:
    contents = [odd_files.saved("PNG", draw(seed, (320, 240), 0.5)) for seed in range(8)]
    before = children()
    with ThreadPoolExecutor(12) as threads:
        photos = list(threads.map(lambda n: pool.decode(contents[n % 8], SPECS), range(48)))
    for number, photo in enumerate(photos):
        assert_same(photo, photo_of(contents[number % 8], SPECS))
    assert len(before) == PROCESSES
    assert children() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
def test_memory_is_bounded() -> None:
    reports = Reports()
    pool = DecodingProcesses(Limits(60, 60), reports)
    try:
        assert pool.missing() == ""
        with pytest.raises(ImageError) as refused:
            pool.decode(HUGE(), SPECS)
        sentence = "the uploaded data takes more than 60 MB of memory to decode"
        assert str(refused.value) == sentence + ANEW
        assert reports.reasons == ["memory"]
        assert pool.decode(odd_files.saved("JPEG"), SPECS).quality.size == (200, 150)
    finally:
        pool.close()


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="no other system bounds the memory of a process"
)
def test_a_file_leaves_the_whole_memory_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PROCESSES", 1)
    # Each keeps 19 MB where it is not let go of; the honest file at the end needs most of the rest.
    files = [others.gif_junk(19 * 2**20), others.gif_comments(500_000), jpegs.zeros(19 * 2**20)]
    before = children()
    processes = DecodingProcesses(Limits(300, 10))
    try:
        for content in files * 3:
            with contextlib.suppress(ImageError):
                processes.decode(content, SPECS)
        mine = children() - before
        assert processes.decode(odd_files.LIMITS["PNG with alpha, 64 megapixels"].make(), SPECS)
        # Nobody has died in between.
        assert children() - before == mine
        assert len(mine) == 1
    finally:
        processes.close()


@pytest.mark.slow
def test_time_is_bounded_and_others_are_served_meanwhile() -> None:
    reports = Reports()
    pool = DecodingProcesses(Limits(2000, 0.2), reports)
    small, content = odd_files.saved("JPEG"), HUGE()
    try:
        pool.missing()
        with ThreadPoolExecutor(1) as thread:
            refusal = thread.submit(pool.decode, content, SPECS)
            assert pool.decode(small, SPECS).quality.size == (200, 150)
            error = refusal.exception(60)
        sentence = "the uploaded data takes more than 0.2 seconds to decode"
        assert (type(error), str(error)) == (ImageError, sentence + ANEW)
        assert reports.reasons == ["time"]
        for _ in range(2 * PROCESSES):
            assert pool.decode(small, SPECS).quality.size == (200, 150)
        assert len(children()) >= PROCESSES
    finally:
        pool.close()


@pytest.mark.slow
def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PATIENCE", 0.01)
    monkeypatch.setattr(decoding, "PROCESSES", 1)
    before, reports = children(), Reports()
    pool = DecodingProcesses(Limits(2000, 50), reports)
    try:
        pool.missing()
        # It works for less than 50 seconds, and for more than half a second by the clock.
        for identity in children() - before:
            os.kill(identity, signal.SIGSTOP)
        with pytest.raises(ImageError, match=r"^the uploaded data takes more than 50 seconds to"):
            pool.decode(odd_files.saved("JPEG"), SPECS)
        assert reports.reasons == ["time"]
    finally:
        pool.close()
    assert children() == before


@pytest.mark.slow
def test_a_process_that_dies_is_replaced() -> None:
    before, reports, small = children(), Reports(), odd_files.saved("JPEG")
    pool = DecodingProcesses(Limits(2000, 60), reports)
    try:
        pool.missing()
        # While they wait, which nobody notices ...
        kill(children() - before)
        for _ in range(PROCESSES):
            assert pool.decode(small, SPECS).quality.size == (200, 150)
        assert reports.reasons == []
        # ... and while one works.
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(pool.decode, HUGE(), SPECS)
            time.sleep(0.3)
            kill(children() - before)
            error = answer.exception(60)
        sentence = "the uploaded data can't be decoded: it made the decoder break down"
        assert (type(error), str(error)) == (ImageError, sentence + ANEW)
        assert reports.reasons == ["died"]
        assert pool.decode(small, SPECS).quality.size == (200, 150)
    finally:
        pool.close()


@pytest.mark.slow
def test_signals_for_the_server_do_not_end_them(pool: DecodingProcesses) -> None:
    pool.decode(odd_files.saved("JPEG"), SPECS)
    before = children()
    for identity in before:
        os.kill(identity, signal.SIGTERM)
        os.kill(identity, signal.SIGINT)
    for _ in range(PROCESSES):
        pool.decode(odd_files.saved("JPEG"), SPECS)
    assert children() == before


@pytest.mark.slow
def test_where_none_can_be_started_it_is_said_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "PROCESSES", 1)
    before = children()
    pool = DecodingProcesses(Limits(2000, 60))

    def no_descriptors(*_: object, **__: object) -> Any:
        raise OSError(24, "Too many open files")

    try:
        pool.missing()
        kill(children() - before)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_descriptors)
            for _ in range(2):
                with pytest.raises(ImageError) as refused:
                    pool.decode(odd_files.saved("JPEG"), SPECS)
                assert str(refused.value) == NO_PROCESS
            with pytest.raises(OSError, match="Too many open files"):
                DecodingProcesses(Limits())
        assert pool.decode(odd_files.saved("JPEG"), SPECS).quality.size == (200, 150)
    finally:
        pool.close()


@pytest.mark.slow
def test_a_process_is_replaced_after_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PROCESSES", 1)
    monkeypatch.setattr(decoding, "MOST_FILES", 2)
    others = children()
    pool = DecodingProcesses(Limits(2000, 60))
    seen = set()
    try:
        for _ in range(4):
            seen |= children() - others
            pool.decode(odd_files.saved("JPEG"), SPECS)
        assert len(seen) == 2
    finally:
        pool.close()
    assert children() == others


@pytest.mark.slow
def test_closing_leaves_nothing_and_cuts_off_what_is_worked_on() -> None:
    others, threads = children(), threading.active_count()
    pool = DecodingProcesses(Limits(2000, 60))
    pool.missing()
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(pool.decode, HUGE(), SPECS)
        time.sleep(0.3)
        pool.close()
        assert isinstance(answer.exception(60), ImageError)
    assert children() == others
    assert threading.active_count() == threads
    with pytest.raises(ImageError, match=r"^The server can't decode images at the moment"):
        pool.decode(odd_files.saved("JPEG"), SPECS)


KILLED = """
import os, sys, time
from pathlib import Path
from demo.decoding import DecodingProcesses
from demo.decode_limits import Limits
def parent(folder):
    try:
        return int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0
pool = DecodingProcesses(Limits())
pool.missing()
print(*(p.name for p in Path("/proc").glob("[0-9]*") if parent(p) == os.getpid()), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_they_end_when_the_server_is_killed() -> None:
    command = [sys.executable, "-c", KILLED]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    identities = [int(word) for word in server.stdout.readline().split()]
    assert len(identities) == PROCESSES
    server.kill()
    server.communicate()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(map(runs, identities)):
        time.sleep(0.05)
    assert not any(map(runs, identities))


@pytest.mark.slow
def test_a_bomb_costs_one_request(trained: dict[str, Path], tmp_path: Path) -> None:
    options = ("--binary", trained["binary"], "--lesion", trained["lesion"])
    with serve(tmp_path / "home", *options, "--decode-limits", "60,0.5") as demo:
        (huge,) = upload(demo.url, [("huge.png", HUGE())])
        (small,) = upload(demo.url, [("small.jpg", odd_files.saved("JPEG"))])
        for _ in range(3):
            assert "The file takes more than 60 MB of memory to decode; scale it down" in ask(
                demo.url, as_file(huge)
            )
            assert "Probability of malignancy" in ask(demo.url, as_file(small))
        peak = next(
            line
            for line in Path(f"/proc/{demo.process.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        # 64 million pixels take 256 MB by themselves.
        assert int(peak.split()[1]) < 900_000
        assert demo.stop() == 0
        log = "".join(demo.lines)
    assert log.count('"event": "decoding", "outcome": "memory"') == 3
    assert "huge.png" not in log
