"""The gate's rules without a server: names of the server, addresses, shares, room, fairness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import app
from demo.gate import in_flight, request_head
from demo.gate.same_origin import Names
from demo.gate.visitor import Shares, address_of, household
from demo.server import fairness, process, upload_room
from demo.server.upload_room import FULL, SHARE_TAKEN, Reservation, UploadRoom


def scope(method: str = "POST", **headers: str) -> Any:
    """A request with headers; _ stands for -."""
    fields = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"type": "http", "method": method, "path": "/", "headers": fields}


ORIGINS = [
    # As it is opened, from this machine and by its address.
    ("localhost:7860", "http://localhost:7860", True),
    ("127.0.0.1:7860", "http://127.0.0.1:7860", True),
    ("[::1]:7860", "http://[::1]:7860", True),
    ("192.168.0.7:7860", "http://192.168.0.7:7860", True),
    # Behind a proxy with TLS, which may leave the port out.
    ("derm.example.org", "https://derm.example.org", True),
    ("derm.example.org", "https://derm.example.org:8443", True),
    ("derm.example.org:443", "https://derm.example.org", True),
    # Other sites, other ports, and what is no site.
    ("derm.example.org", "https://evil.example", False),
    ("localhost:7860", "http://localhost:3000", False),
    ("127.0.0.1:7860", "http://localhost:7860", False),
    ("localhost:7860", "null", False),
    ("localhost:7860", "file://localhost", False),
    ("localhost:7860", "http://localhost:99999", False),
    # A name that was made to point here.
    ("evil.example:7860", "http://evil.example:7860", False),
]


@pytest.mark.parametrize(("host", "origin", "passes"), ORIGINS)
def test_pages_that_may_ask(host: str, origin: str, passes: bool) -> None:
    names = Names(local=True)
    assert (names.problem(scope(host=host, origin=origin)) is None) == passes
    assert names.problem(scope("GET", host=host, origin=origin)) is None


def test_a_program_without_a_page_may_ask() -> None:
    assert Names(local=True).problem(scope(host="anything.example")) is None


def test_a_server_for_others_has_any_name() -> None:
    asking = scope(host="derm.intranet:7860", origin="http://derm.intranet:7860")
    assert Names(local=False).problem(asking) is None
    assert Names(local=True).problem(asking) is not None
    assert Names(local=True, public={"derm.intranet"}).problem(asking) is None


def test_a_proxy_that_puts_its_own_host_in() -> None:
    origin = {"host": "127.0.0.1:7860", "origin": "https://derm.example.org"}
    names = Names(local=True)
    assert names.problem(scope(**origin)) is not None
    assert names.problem(scope(**origin, x_forwarded_host="derm.example.org")) is None
    assert Names(local=True, public={"derm.example.org"}).problem(scope(**origin)) is None


def test_named_hosts_are_the_only_ones() -> None:
    names = Names(local=False, public={"derm.example.org"}, strict=True)
    for host in ("derm.example.org", "127.0.0.1:7860", "localhost"):
        assert names.problem(scope("GET", host=host)) is None
    refused = names.problem(scope("GET", host="evil.example"))
    assert refused is not None
    assert refused[0] == 421
    assert "--public-host evil.example" in refused[1]


@pytest.mark.parametrize("host", ["", "a b", "a" * 300, "evil.example/x", "x@y", "a:b:c"])
def test_a_host_that_can_be_none(host: str) -> None:
    refused = Names(local=True).problem(scope("GET", host=host))
    assert refused is not None
    assert refused[0] == 400


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("127.0.0.2", "127.0.0.2"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nonsense", "unknown"),
    ],
)
def test_what_an_address_tells(address: str, expected: str | None) -> None:
    assert household(address) == expected
    assert address_of({"client": (address, 1)}) == expected


def test_shares_are_held_and_given_back() -> None:
    shares = Shares(most=5, most_each=3)
    shares.take("a", 3)
    assert not shares.has_room("a")
    assert shares.has_room("b", 2)
    assert not shares.has_room("b", 3)
    assert shares.has_room(None, 2)
    shares.give_back("a", 1)
    assert shares.has_room("a", 1)
    shares.give_back("a", 2)
    assert shares.total == 0


def test_the_account_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_room, "CAPACITY", 1000)
    monkeypatch.setattr(upload_room, "FILE_COST", 10)
    room = UploadRoom(lifetime=600)
    first = room.reserve("a", 400)
    assert isinstance(first, Reservation)
    assert room.reserve("a", 200) == SHARE_TAKEN  # 600 of 500
    assert isinstance(room.reserve("b", 500), Reservation)
    assert room.reserve(None, 200) == FULL  # 1100 of 1000
    room.keep(first, 3)
    assert room.taken == 900
    # The sweeper has removed the file of "a": 500 that "b" still sends remain.
    room.begin_count()
    room.end_count([])
    assert room.taken == 500
    room.begin_count()
    second = room.reserve("c", 30)
    assert isinstance(second, Reservation)
    # It comes while the sweeper counts, and may have been seen or not.
    room.keep(second, 1)
    room.end_count([120, 0])
    assert room.taken == 500 + 120 + 10 + 30
    room.begin_count()
    room.end_count([120, 0, 30])
    assert room.taken == 500 + 120 + 10 + 30


def test_small_files_cost_something_and_a_share_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_room, "CAPACITY", 1000)
    monkeypatch.setattr(upload_room, "FILE_COST", 10)
    room = UploadRoom(lifetime=-1)  # over as soon as they have come
    reserved = room.reserve("a", 5)
    assert isinstance(reserved, Reservation)
    room.keep(reserved, 50)
    assert room.taken == 500
    assert isinstance(room.reserve("a", 450), Reservation)


def test_what_never_came_is_given_back() -> None:
    room = UploadRoom(lifetime=600)
    reserved = room.reserve("a", 7)
    assert isinstance(reserved, Reservation)
    room.give_back(reserved)
    assert room.taken == 0


@dataclass(frozen=True)
class Asked:
    """A request, as fairness sees it."""

    visit: str = "v"
    address: str | None = None
    kind: str = "models"
    images: int = 1
    seconds: float = 2.0
    running: bool = False


def refused(asking: Asked, standing: list[Asked], limit: int = 16) -> str:
    """The kind of a refusal, "" for none."""
    return fairness.refusal(asking, standing, limit, 1)[0]


def test_a_visit_has_a_quarter_and_an_address_half() -> None:
    mine = [Asked("me", "a")] * 4
    assert refused(Asked("me", "a"), mine) == "share"
    assert refused(Asked("me", "a"), [*mine[:3], Asked("me", "a", running=True)]) == ""
    family = [Asked(f"v{n}", "a") for n in range(8)]
    assert refused(Asked("new", "a"), family) == "share"
    assert refused(Asked("new", "b"), family) == refused(Asked("new", None), family) == ""
    assert refused(Asked("new", None), [Asked(f"v{n}") for n in range(15)]) == ""
    assert refused(Asked("new", None), [Asked(f"v{n}") for n in range(16)]) == "busy"


def test_batches_leave_room_for_single_images() -> None:
    batches = [Asked(f"v{n}", images=100) for n in range(4)]
    assert refused(Asked("new", images=100), batches) == "busy"
    assert refused(Asked("new", images=1), batches) == ""


def test_the_wait_is_that_of_all_images() -> None:
    standing = [Asked(images=100, seconds=110.0), Asked(seconds=1.5), Asked(kind="other")]
    assert fairness.wait(Asked(seconds=1.5), standing, 1) == 113
    assert fairness.wait(Asked(seconds=1.5), standing, 2) == 57
    assert fairness.wait(Asked(seconds=0.01), [], 1) == 1


@pytest.mark.parametrize("name", ["http://x", "a:80", "-a", "", "a b", "x" * 300])
def test_a_host_name_that_is_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.options([f"--public-host={name}"])
    assert "is no host name" in capsys.readouterr().err


def test_host_names_are_given_one_by_one() -> None:
    given = app.options(["--public-host", "A.example", "--public-host", "b.example"])
    assert given.public_host == ["a.example", "b.example"]


def test_as_many_descriptors_as_the_system_grants() -> None:
    import resource

    _, granted = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert process.raise_descriptors() == min(granted, process.DESCRIPTORS)


def test_streams_leave_connections_to_others() -> None:
    assert [in_flight.most_connections(n) for n in (256, 1024, 20_000)] == [64, 512, 4096]
    open_ones = in_flight.InFlight(8)
    stream = {"method": "GET", "path": "/gradio_api/heartbeat/x", "headers": []}
    asking = {"method": "POST", "path": "/gradio_api/queue/join", "headers": []}
    assert [open_ones.enter(stream) for _ in range(3)] == [True] * 2 + [False]
    answers = {**stream, "path": "/gradio_api/queue/data"}
    assert [open_ones.enter(answers) for _ in range(3)] == [True] * 2 + [False]
    assert [open_ones.enter(asking) for _ in range(3)] == [True] * 2 + [False]
    open_ones.leave(stream)
    assert open_ones.enter(stream)


def test_an_address_has_a_share_of_streams() -> None:
    open_ones = in_flight.InFlight(4096)
    stream = {"method": "GET", "path": "/gradio_api/queue/data", "client": ("192.0.2.1", 1)}
    assert sum(open_ones.enter(stream) for _ in range(300)) == 256
    assert open_ones.enter({**stream, "client": ("192.0.2.2", 1)})


def test_names_and_boundaries() -> None:
    assert request_head.is_name("a" * 128)
    for bad in ("a" * 129, "", "a/b", "ä", "a\n", 5, None):
        assert not request_head.is_name(bad)
