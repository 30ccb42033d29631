"""Signals that end the server, also where a library catches what they raise."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from demo.server.process import Stop, StopSignals

NUMBERS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    """Both signals, taken over for one test."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield StopSignals()
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    """Send this process a signal, whose handler runs before the next line."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_it_is_raised_at_once(signals: StopSignals, number: signal.Signals) -> None:
    signals.check()
    with pytest.raises(Stop):
        send(number)
    assert [signal.getsignal(each) for each in NUMBERS] == [signal.SIG_DFL] * 2


def test_what_a_library_catches_is_raised_again(signals: StopSignals) -> None:
    try:
        send(signal.SIGTERM)
    except BaseException:
        caught = True
    assert caught
    with pytest.raises(Stop):
        signals.check()
    with pytest.raises(Stop):
        signals.wait()


def test_it_waits_for_the_end_of_a_block(signals: StopSignals) -> None:
    done = []

    def work() -> None:
        with signals.deferred():
            send(signal.SIGTERM)
            done.append(True)

    with pytest.raises(Stop):
        work()
    assert done


def test_an_error_in_a_block_stays_that_error(signals: StopSignals) -> None:
    def fail() -> None:
        with signals.deferred():
            send(signal.SIGTERM)
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    with pytest.raises(Stop):
        signals.check()


def test_a_block_without_a_signal(signals: StopSignals) -> None:
    with signals.deferred():
        pass
    signals.check()
