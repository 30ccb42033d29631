"""Failures of a hub: one sentence each, in time, and copies in the cache stay usable."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

import dermhub
from dermhub.errors import DownloadError, ModelError
from dermhub.hub import client, timeouts
from dermhub.models.catalog import locate
from tests.support import hub_environment
from tests.support.hub_routes import TOKEN
from tests.support.hub_server import Hub

NAME = "user/lesion"
HOST = hub_environment.ENDPOINT
COMMIT = "0" * 40


@pytest.fixture
def cached(hub: Hub, model: dict[str, bytes]) -> Path:
    """The folder of a model that is in the cache."""
    hub.put(NAME, model)
    return client.fetch(NAME)


def refusal(name: str = NAME, revision: str = "main") -> str:
    """The one sentence with which a repository is not fetched."""
    with pytest.raises(DownloadError) as raised:
        client.fetch(name, revision)
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400
    return text.replace(HOST, "HOST")


def fail(hub: Hub, how: str, patch: pytest.MonkeyPatch) -> None:
    """Switch a failure on, for everything that is asked from now on."""
    refusals: dict[str, tuple[int, dict[str, str]]] = {
        "unauthorized": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
        "expired": (401, {"X-Error-Message": "User Access Token is expired"}),
        "gated": (403, {"X-Error-Code": "GatedRepo"}),
        "forbidden": (403, {}),
        "no repository": (404, {"X-Error-Code": "RepoNotFound"}),
        "no revision": (404, {"X-Error-Code": "RevisionNotFound"}),
        "too many": (429, {"Retry-After": "300"}),
        "too many, with no time": (429, {}),
        "out of order": (503, {}),
        "teapot": (418, {"X-Error-Message": "I am a teapot"}),
    }
    if how == "down":
        hub.stop()
    elif how == "hang":
        hub.spoil = "hang"
        # `test_the_bounds_keep_below_ten_seconds` looks at the real one.
        patch.setattr(timeouts, "ANSWER", 0.7)
    else:
        hub.refusal = refusals[how]


UNKNOWN_USER = (
    "HOST wants to know who asks for user/lesion (401): log in with `hf auth login`, or set "
    "HF_TOKEN; an old token may have expired."
)

FAILURES = {
    "unauthorized": UNKNOWN_USER,
    "expired": UNKNOWN_USER,
    "gated": "user/lesion is gated (403): ask for access on HOST/user/lesion, then log in with `hf "
    "auth login`, or set HF_TOKEN.",
    "forbidden": "HOST does not permit this on user/lesion (403): log in with `hf auth login`, or "
    "set HF_TOKEN to a token that may.",
    "no repository": "HOST has no repository user/lesion, or it is private (404): check the name, "
    "or log in with `hf auth login`, or set HF_TOKEN.",
    "no revision": "user/lesion has no revision 'main' (404): look at HOST/user/lesion/commits.",
    "too many": "HOST has had too many requests (429): try again in 300 s; a token (HF_TOKEN) "
    "allows more.",
    "too many, with no time": "HOST has had too many requests (429): try again in a few minutes; a "
    "token (HF_TOKEN) allows more.",
    "out of order": "HOST is out of order (503): try again later.",
    "teapot": "HOST refuses user/lesion@main (418: I am a teapot).",
    "down": "HOST can't be reached ([Errno 111] Connection refused): connect to the network and "
    "try again.",
    "hang": "HOST does not answer, or breaks off again and again: try again later.",
}


@pytest.mark.parametrize("how", FAILURES)
def test_nothing_in_the_cache(
    hub: Hub, model: dict[str, bytes], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(NAME, model)
    fail(hub, how, monkeypatch)
    start = time.monotonic()
    assert refusal() == FAILURES[how]
    assert time.monotonic() - start < 5


@pytest.mark.slow
@pytest.mark.parametrize("how", FAILURES)
def test_the_cached_model_stays_usable(
    hub: Hub,
    cached: Path,
    how: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail(hub, how, monkeypatch)
    assert client.fetch(NAME) == cached
    printed = capsys.readouterr().err.replace(HOST, "HOST")
    going_on = f"Going on with the cached copy {cached.name[:12]}."
    assert printed == f"dermhub: {FAILURES[how]} {going_on}\n"
    # A commit needs no hub, and so nothing is said.
    assert client.fetch(NAME, cached.name) == cached
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "how", ["unauthorized", "gated", "no repository", "too many", "out of order", "hang"]
)
def test_failure_between_the_first_answer_and_the_files(
    hub: Hub, model: dict[str, bytes], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(NAME, model)
    fail(hub, how, monkeypatch)
    hub.only = "/resolve/"
    start = time.monotonic()
    assert refusal() == FAILURES[how]
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("how", ["too many", "out of order", "hang"])
def test_failure_of_the_storage_behind_the_hub(
    hub: Hub, model: dict[str, bytes], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(NAME, model)
    fail(hub, how, monkeypatch)
    hub.only = "/cdn/"
    assert refusal() == FAILURES[how]
    hub.refusal, hub.spoil = None, ""
    monkeypatch.undo()
    assert client.fetch(NAME)


def test_the_bounds_keep_below_ten_seconds() -> None:
    assert timeouts.CONNECT < timeouts.ANSWER < timeouts.GIVE_UP < 10


@pytest.mark.slow
@pytest.mark.parametrize("only", ["", "/resolve/", "/cdn/"])
def test_a_silent_host_is_given_up_inside_ten_seconds(
    hub: Hub, model: dict[str, bytes], only: str
) -> None:
    hub.put(NAME, model)
    hub.spoil, hub.only = "hang", only
    start = time.monotonic()
    assert refusal() == FAILURES["hang"]
    assert 5 < time.monotonic() - start < 10


def test_missing_file(hub: Hub, model: dict[str, bytes]) -> None:
    model.pop("model.safetensors")
    hub.put(NAME, model)
    expected = "it is not a model that dermhub wrote; pickles and code are never fetched."
    assert refusal() == f"user/lesion@main has no model.safetensors: {expected}"


def test_file_that_the_hub_lists_and_has_not(hub: Hub, model: dict[str, bytes]) -> None:
    commit = hub.put(NAME, model)
    hub.refusal, hub.only = (404, {"X-Error-Code": "EntryNotFound"}), "config.json"
    assert (
        refusal(NAME, commit)
        == f"user/lesion@{commit} has no file config.json (404): ask its owner."
    )


def test_missing_revision_and_repository(hub: Hub, model: dict[str, bytes]) -> None:
    hub.put(NAME, model)
    for revision in ("v9", COMMIT):
        expected = (
            f"user/lesion has no revision {revision!r} (404): look at HOST/user/lesion/commits."
        )
        assert refusal(NAME, revision) == expected
    assert refusal("user/none").startswith(
        "HOST has no repository user/none, or it is private (401): check the name"
    )


def test_private_repository(
    hub: Hub, model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(NAME, model)
    hub.repositories[NAME].private = True
    assert refusal().startswith("HOST has no repository user/lesion, or it is private (401)")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert client.fetch(NAME)


@pytest.mark.usefixtures("hub")
def test_mistyped_folder_reads_like_a_repository() -> None:
    with pytest.raises(
        DownloadError,
        match=r"^There is no folder runs/model, and http://.* has no repository runs/m",
    ):
        dermhub.load("runs/model")


def test_truncated_file(hub: Hub, model: dict[str, bytes]) -> None:
    hub.put(NAME, model)
    hub.spoil, hub.only = "cut", "/cdn/"
    size = len(model["model.safetensors"])
    assert refusal().startswith("user/lesion@main came incomplete (file should be of size ")
    assert not list(hub_environment.HOME.rglob("*.incomplete"))
    hub.spoil = ""
    assert (client.fetch(NAME) / "model.safetensors").stat().st_size == size


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_flipped_bit_is_refused_and_the_next_fetch_heals_it(
    hub: Hub, model: dict[str, bytes], name: str
) -> None:
    hub.put(NAME, model)
    hub.spoil, hub.only = "flip", "/cdn/" if name.endswith("safetensors") else name
    pattern = (
        rf"^{name} of user/lesion@\w{{40}} has the (sha256|git hash) \w+, but the hub states \w+"
    )
    with pytest.raises(
        ModelError, match=pattern + r".*: this copy was removed from the cache; fetch it again, "
    ):
        client.fetch(NAME)
    hub.spoil = ""
    assert (client.fetch(NAME) / name).read_bytes() == model[name]


def test_other_bytes_than_the_catalogue_states(cached: Path) -> None:
    entry = client.describe(cached, "it", NAME, cached.name, "lesion")
    assert locate(entry) == cached
    sha256, size = entry.files["model.safetensors"]
    for stated, message in (
        (("0" * 64, size), f"sha256 {sha256}, but the catalogue states {'0' * 64}"),
        ((sha256, size + 1), f"size {size}, but the catalogue states {size + 1}"),
    ):
        wrong = dataclasses.replace(entry, files={**entry.files, "model.safetensors": stated})
        with pytest.raises(ModelError) as raised:
            locate(wrong)
        assert message in str(raised.value)
        assert locate(entry) == cached


def test_copy_that_was_damaged_on_the_disk(hub: Hub, cached: Path, model: dict[str, bytes]) -> None:
    blob = (cached / "model.safetensors").resolve()
    blob.write_bytes(bytes([*model["model.safetensors"][:-1], 0]))
    with pytest.raises(
        ModelError, match=r"^model.safetensors of .* but the hub states .*: this copy was removed"
    ):
        client.fetch(NAME, cached.name)
    hub.requests.clear()
    assert client.fetch(NAME, cached.name) == cached
    assert hub.requests
    dermhub.load(cached)


def test_offline_by_wish(
    hub: Hub, cached: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert client.fetch(NAME) == client.fetch(NAME, cached.name) == cached
    expected = (
        "is not whole in the cache and HF_HUB_OFFLINE is set: fetch it once with a network, or "
        "unset it."
    )
    assert refusal("user/other") == f"user/other@main {expected}"
    (cached / "model.safetensors").unlink()
    assert refusal() == f"user/lesion@main {expected}"
    assert hub.requests == []
    assert capsys.readouterr().err == ""


def test_name_that_can_not_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://nowhere.invalid")
    assert refusal().startswith("http://nowhere.invalid can't be reached (")


@pytest.fixture
def _small_files() -> Iterator[None]:
    """No file may grow beyond 100 kB, which fails like a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_small_files")
def test_full_disk(hub: Hub, model: dict[str, bytes]) -> None:
    hub.put(NAME, model)
    cache = hub_environment.HOME / "hub"
    expected = (
        f"The cache {cache} can't be written ({os.strerror(errno.EFBIG)}): make room there, or set "
        "HF_HOME to a"
    )
    assert refusal() == f"{expected} folder that can be written."


@pytest.mark.usefixtures("hub")
def test_cache_that_can_not_be_written(
    hub: Hub, model: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(NAME, model)
    (tmp_path / "file").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    expected = (
        f"The cache {tmp_path / 'file' / 'hub'} can't be written (Not a directory): set HF_HOME to "
        "a folder"
    )
    assert refusal() == f"{expected} that can be written."


def test_failed_fetch_of_a_new_commit_keeps_the_old(
    hub: Hub, cached: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(NAME, {"metrics.json": b'{"new": 1}'})
    hub.refusal, hub.only = (503, {}), "/resolve/"
    for _ in range(2):
        assert client.fetch(NAME) == cached
        assert "is out of order (503)" in capsys.readouterr().err
    fail(hub, "down", monkeypatch)
    assert client.fetch(NAME) == cached


def test_other_answers_than_a_hub_gives(hub: Hub) -> None:
    # A network's log-in page, for example.
    hub.refusal = (200, {"Content-Type": "text/html"})
    assert refusal().startswith("user/lesion@main")
