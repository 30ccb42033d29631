"""Models through a hub and the real client: fetched, pinned, verified, used without the hub."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest

import dermhub
from dermhub.errors import ConfigError, ModelError
from dermhub.hub import client
from dermhub.hub.pins import Entry
from dermhub.hub.timeouts import AGENT
from dermhub.models import catalog
from dermhub.models.catalog import locate
from dermhub.tasks import BINARY
from tests.support import hub_environment
from tests.support.hub_server import Hub
from tests.support.tiny import make_model

NAME = "user/lesion"
FETCHED = ["README.md", "config.json", "figures/roc.png", "metrics.json", "model.safetensors"]


def asked(hub: Hub) -> list[str]:
    """The requests that the hub got since the last call."""
    requests = list(hub.requests)
    hub.requests.clear()
    return requests


def names(folder: Path) -> list[str]:
    """The files of a folder."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture
def published(hub: Hub, model: dict[str, bytes]) -> Entry:
    """The entry of a model that is on the hub and not in the cache."""
    commit = hub.put(NAME, model)
    entry = client.describe(client.fetch(NAME), "published", NAME, commit, "lesion")
    shutil.rmtree(hub_environment.HOME / "hub")
    hub.requests.clear()
    return entry


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        ("org/name", ("org/name", "main")),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("o-r_g/n.a.me@refs/pr/1", ("o-r_g/n.a.me", "refs/pr/1")),
    ],
)
def test_handle(handle: str, expected: tuple[str, str]) -> None:
    assert client.is_handle(handle)
    assert client.parse(handle) == expected


@pytest.mark.parametrize(
    "handle", ["", "name", "a/b/c", "/a", "a/", "a/b@", "a b/c", "a/b..c", "a/b--c", "a/b.git"]
)
def test_text_that_is_no_handle(handle: str) -> None:
    with pytest.raises(
        ModelError, match=r" names no repository: expected org/name or org/name@revision\.$"
    ):
        client.parse(handle)


def test_load_by_name(
    hub: Hub, model: dict[str, bytes], tiny_lesion_model: Path, photo: Path
) -> None:
    hub.put(NAME, model)
    classifier = dermhub.load(NAME)
    assert classifier.name == NAME
    assert classifier.predict(photo) == dermhub.load(tiny_lesion_model).predict(photo)


def test_only_harmless_files_are_fetched(hub: Hub, model: dict[str, bytes]) -> None:
    assert {"pytorch_model.bin", "modeling.py"} <= model.keys()
    hub.put(NAME, model)
    assert names(client.fetch(NAME)) == FETCHED
    assert not [one for one in asked(hub) if "pytorch_model" in one or "modeling" in one]


def test_a_revision_that_is_cached_costs_no_request(hub: Hub, model: dict[str, bytes]) -> None:
    commit = hub.put(NAME, model)
    first = client.fetch(NAME, commit)
    assert asked(hub)
    assert client.fetch(NAME, commit) == first == locate(f"{NAME}@{commit}")
    assert asked(hub) == []
    # Also where the branch was asked for.
    assert client.fetch(NAME) == first
    assert asked(hub) == ["GET /api/models/user/lesion/revision/main"]


def test_a_branch_moves_and_a_commit_stays(hub: Hub, model: dict[str, bytes]) -> None:
    old = hub.put(NAME, model)
    before = client.fetch(NAME)
    new = hub.put(NAME, {"metrics.json": b'{"new": 1}'})
    hub.put(NAME, {**model, "metrics.json": b'{"side": 1}'}, "side")
    after, side = client.fetch(NAME), client.fetch(NAME, "side")
    assert [before.name, after.name] == [old, new]
    assert json.loads((after / "metrics.json").read_text()) == {"new": 1}
    assert json.loads((side / "metrics.json").read_text()) == {"side": 1}
    assert (client.fetch(NAME, old) / "metrics.json").read_text() == "{}"


def test_of_a_new_commit_only_what_changed_is_fetched(hub: Hub, model: dict[str, bytes]) -> None:
    hub.put(NAME, model)
    client.fetch(NAME)
    hub.put(NAME, {"metrics.json": b'{"new": 1}'})
    asked(hub)
    client.fetch(NAME)
    assert [one for one in asked(hub) if "/cdn/" in one] == []


def test_what_another_library_left_in_the_cache_is_made_whole(
    hub: Hub, model: dict[str, bytes]
) -> None:
    # timm fetches two files and no list, so that nobody can tell from the cache whether there are
    # more.
    commit = hub.put(NAME, model)
    for name in ("config.json", "model.safetensors"):
        huggingface_hub.hf_hub_download(NAME, name)
    assert names(client.fetch(NAME, commit)) == FETCHED
    asked(hub)
    client.fetch(NAME, commit)
    assert asked(hub) == []


@pytest.mark.slow
def test_a_dropped_connection_goes_on_where_it_was(
    hub: Hub, model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client keeps whole chunks of what has come, of 10 MB by default; a tiny model is much
    # smaller.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    model.pop("figures/roc.png")
    hub.put(NAME, model)
    hub.spoil, hub.only = "drop", "/cdn/"
    folder = client.fetch(NAME)
    assert (folder / "model.safetensors").read_bytes() == model["model.safetensors"]
    assert len([one for one in asked(hub) if "/cdn/" in one]) == 2


def test_meaning_comes_from_the_repository(hub: Hub, model: dict[str, bytes], photo: Path) -> None:
    content = json.loads(model["config.json"])
    block = content["dermhub"]
    block["class_names"] = content["label_names"] = ["z", *block["class_names"][1:]]
    block["positive_classes"] = ["z"]
    block["temperature"] = 3.25
    block["thresholds"] = {"mine": {"value": 0.125, "aim": "", "split": "validation"}}
    content["pretrained_cfg"]["crop_mode"] = "squash"
    hub.put(NAME, {**model, "config.json": json.dumps(content).encode()})
    classifier = dermhub.load(NAME)
    prediction = classifier.predict(photo)
    assert next(iter(prediction.probabilities)) == "z"
    assert prediction.malignancy == prediction.probabilities["z"]
    assert (prediction.operating_point, prediction.threshold) == ("mine", 0.125)
    assert (classifier.config.temperature, classifier.config.input.crop_mode) == (3.25, "squash")


def test_newer_format_version_says_so(hub: Hub, model: dict[str, bytes]) -> None:
    content = json.loads(model["config.json"])
    content["dermhub"]["format_version"] = 99
    hub.put(NAME, {**model, "config.json": json.dumps(content).encode()})
    with pytest.raises(
        ModelError,
        match=r"config.json has format version 99, newer than the 1 .*: update dermhub\.$",
    ):
        dermhub.load(NAME)


def test_an_entry_is_verified_and_then_costs_no_request(
    hub: Hub, published: Entry, photo: Path
) -> None:
    assert sorted(published.files) == FETCHED
    classifier = dermhub.load(published)
    assert classifier.name == "published"
    assert asked(hub)
    assert dermhub.load(published).predict(photo) == classifier.predict(photo)
    assert asked(hub) == []


def test_an_entry_needs_no_more_than_its_files_in_the_cache(hub: Hub, published: Entry) -> None:
    # A Space preloads the files and no list of them.
    for name in published.files:
        huggingface_hub.hf_hub_download(NAME, name, revision=published.revision)
    asked(hub)
    locate(published)
    assert asked(hub) == []


def test_load_by_the_id_of_the_catalogue(published: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.CATALOGUE, "published", published)
    assert locate("published") == locate(published)
    with pytest.raises(
        ModelError, match=r"There is no model 'publishd': .*Did you mean 'published'"
    ):
        locate("publishd")


@pytest.mark.usefixtures("hub")
def test_folder_comes_first_then_shipped_then_the_catalogue(
    published: Entry, tiny_lesion_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.CATALOGUE, "tiny-lesion", published)
    monkeypatch.setattr(catalog, "MODEL_CARDS", tiny_lesion_model.parent)
    monkeypatch.chdir(tmp_path)
    assert locate("tiny-lesion") == tiny_lesion_model
    folder = make_model(tmp_path / "tiny-lesion", BINARY)
    assert locate("tiny-lesion").resolve() == folder
    (tmp_path / "user").mkdir()
    assert locate(
        str(make_model(tmp_path / "user" / "lesion", BINARY).relative_to(tmp_path))
    ) == Path(NAME)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"revision": "main"},
            "published: revision is 'main', expected the 40 hexadecimal digits of a commit.",
        ),
        ({"files": {}}, "published: the entry does not state config.json, model.safetensors."),
    ],
)
def test_entry_that_pins_nothing(published: Entry, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        dataclasses.replace(published, **change)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_entry_with_a_garbled_hash(published: Entry) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^published: README.md needs a sha256 of 64 hexadecimal digits and a size",
    ):
        dataclasses.replace(published, files={**published.files, "README.md": ("abc", 3)})


def test_the_session_is_left_as_it_was(hub: Hub, model: dict[str, bytes]) -> None:
    before = {
        name: list(hooks) for name, hooks in huggingface_hub.get_session().event_hooks.items()
    }
    hub.put(NAME, model)
    client.fetch(NAME)
    assert huggingface_hub.get_session().event_hooks == before
    assert AGENT == "dermhub"


def test_a_file_outside_the_cache_is_never_removed(published: Entry, tmp_path: Path) -> None:
    folder = client.fetch(NAME, published.revision, published.files)
    mine = tmp_path / "config.json"
    mine.write_text("mine")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(mine)
    with pytest.raises(ModelError, match="this copy was removed from the cache"):
        client.fetch(NAME, published.revision, published.files)
    assert mine.read_text() == "mine"
    assert not (folder / "config.json").is_symlink()
