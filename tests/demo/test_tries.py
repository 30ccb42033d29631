"""Tries, sessions and their bounds, by a clock of the test; and the time that a password takes."""

from __future__ import annotations

import statistics
import time

import pytest

from demo.accounts import Accounts, line_for
from demo.gate import sessions
from demo.gate.sessions import Sessions
from demo.gate.sign_in import SignIn
from demo.gate.tries import Tries


@pytest.mark.slow
def test_every_user_takes_as_long() -> None:
    users = Accounts({"anna": "secret", "bodo": line_for("bodo", "geheim").partition(":")[2]})

    def seconds(user: str) -> float:
        began = time.process_time()
        assert not users.holds(user, "wrong")
        return time.process_time() - began

    times = {user: [seconds(user) for _ in range(9)] for user in ("anna", "bodo", "cleo")}
    middle = [statistics.median(values) for values in times.values()]
    assert max(middle) < 1.3 * min(middle)


def test_tries_are_counted_for_pair_address_and_user() -> None:
    now = 1000.0
    counted = Tries(lambda: now)
    for _ in range(5):
        assert counted.wait("anna", "a") == 0
        counted.failed("anna", "a")
    assert counted.wait("anna", "a") == 900
    assert counted.wait("bodo", "a") == counted.wait("anna", "b") == 0
    for number in range(15):
        counted.failed(f"user-{number}", "a")
    assert counted.wait("bodo", "a") == 900  # twenty of one address
    for number in range(95):
        counted.failed("anna", f"address-{number}")
    assert counted.wait("anna", "new") == 900  # a hundred for one user
    now += 900.5
    assert counted.wait("anna", "a") == counted.wait("bodo", "a") == 0


def test_a_right_password_clears_the_pair() -> None:
    counted = Tries()
    for _ in range(4):
        counted.failed("anna", "a")
    counted.failed("anna", "a")  # noted before it is known to be right
    counted.took_back("anna", "a")
    assert counted.wait("anna", "a") == 0
    for _ in range(4):
        counted.failed("anna", "a")
    assert counted.wait("anna", "a") == 0


def test_sessions_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(sessions, "MOST", 3)
    opened = Sessions(lambda: now)
    idle, used = opened.begin("anna"), opened.begin("bodo")
    for hour in range(1, 13):
        now = 3600.0 * hour
        assert opened.user(used) == "bodo"
    assert opened.user(idle) is None  # not used for two hours
    now += 1
    assert opened.user(used) is None  # used all the time, for twelve hours
    first, *others = [opened.begin("cleo") for _ in range(4)]
    assert opened.user(first) is None
    assert all(opened.user(token) == "cleo" for token in others)
    assert opened.user("") is None


def test_cookies_of_two_servers_have_two_names() -> None:
    first, second = (SignIn(Accounts({"anna": "x"}), lambda *_, **__: None) for _ in range(2))
    assert first.cookie != second.cookie
