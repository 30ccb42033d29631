"""Models of the hub: the real client against a hub on this machine that speaks its protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hub_environment
import pytest
import timm
import torch
from conftest import make_model
from hub_server import Hub, Server

import dermhub
from dermhub import __main__ as cli
from dermhub import hub as client
from dermhub.errors import ConfigError, DownloadError, ModelError
from dermhub.labels import LESION

NAME = "someone/lesions"
Started = tuple[Hub, Server]


@pytest.fixture
def started() -> Iterator[Started]:
    """A hub without repositories, and an empty cache."""
    hub = Hub()
    server = Server(hub)
    yield hub, server
    hub.silent.set()
    if server.thread.is_alive():
        server.stop()
    if hub_environment.HOME.is_dir():
        shutil.rmtree(hub_environment.HOME)
    hub_environment.HOME.unlink(missing_ok=True)


@pytest.fixture
def hub(started: Started) -> Hub:
    """The state of that hub."""
    return started[0]


def pinned(commit: str, folder: Path) -> dermhub.Entry:
    """A catalogue entry for a published folder."""
    contents = {name: (folder / name).read_bytes() for name in client.NEEDED}
    told = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()}
    return dermhub.Entry(NAME, commit, told, "lesion")


def test_a_model_of_the_hub_predicts_like_its_folder(hub: Hub, tiny_lesion_model: Path, photo: Path) -> None:
    hub.publish(NAME, tiny_lesion_model)
    found = dermhub.load(NAME)
    assert found.predict(photo) == dermhub.load(tiny_lesion_model).predict(photo)
    assert found.config == dermhub.load(tiny_lesion_model).config


def test_nothing_but_weights_json_text_and_figures_is_fetched(hub: Hub, tiny_lesion_model: Path) -> None:
    hub.publish(NAME, tiny_lesion_model, pytorch_model__bin=b"pickle", model__py=b"import os", README__md=b"card")
    dermhub.load(NAME)
    fetched = {line.rpartition("/")[2] for line in hub.asked if "/resolve/" in line}
    assert fetched == {"config.json", "model.safetensors", "README.md"}


def test_plain_timm_reads_what_is_on_the_hub(hub: Hub, tiny_lesion_model: Path) -> None:
    hub.publish(NAME, tiny_lesion_model)
    theirs = timm.create_model(f"hf-hub:{NAME}", pretrained=True).eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(theirs(images), dermhub.load(NAME).model(images))


def test_a_commit_in_the_cache_costs_no_request(hub: Hub, tiny_lesion_model: Path) -> None:
    commit = hub.publish(NAME, tiny_lesion_model)
    dermhub.load(f"{NAME}@{commit}")
    assert hub.asked
    hub.asked.clear()
    dermhub.load(f"{NAME}@{commit}")
    dermhub.load(pinned(commit, tiny_lesion_model))
    assert hub.asked == []


def test_a_branch_is_followed_and_a_commit_stays(hub: Hub, tiny_lesion_model: Path, tmp_path: Path) -> None:
    first = hub.publish(NAME, tiny_lesion_model)
    before = dermhub.load(NAME).config.weights_sha256
    other = make_model(tmp_path / "other", LESION, "test_resnet")
    hub.publish(NAME, other)
    hub.publish(NAME, tiny_lesion_model, branch="v1")
    assert dermhub.load(NAME).config.architecture == "test_resnet"
    assert dermhub.load(f"{NAME}@v1").config.weights_sha256 == before
    assert dermhub.load(f"{NAME}@{first}").config.weights_sha256 == before


def test_a_server_that_is_down_leaves_cached_models_usable(
    started: Started, tiny_lesion_model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub, server = started
    commit = hub.publish(NAME, tiny_lesion_model)
    expected = dermhub.load(NAME).predict(photo)
    server.stop()
    assert dermhub.load(f"{NAME}@{commit}").predict(photo) == expected
    assert capsys.readouterr().err == ""
    assert dermhub.load(NAME).predict(photo) == expected
    warning = capsys.readouterr().err
    assert warning.startswith(f"dermhub: {NAME} could not be fetched from http://127.0.0.1:")
    assert warning.endswith("The copy in the cache is used.\n")


@pytest.mark.parametrize("cached", [True, False])
def test_offline_by_choice(hub: Hub, tiny_lesion_model: Path, cached: bool) -> None:
    hub.publish(NAME, tiny_lesion_model)
    if cached:
        dermhub.load(NAME)
    hub.asked.clear()
    code = f"import dermhub\ntry: print(dermhub.load({NAME!r}).name)\nexcept dermhub.DownloadError as e: print(e)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert hub.asked == []
    if cached:
        assert len(done.stdout.strip()) == 40
    else:
        assert done.stdout == (
            f"{NAME} is not in the cache and HF_HUB_OFFLINE is set: unset it once to fetch the model.\n"
        )


def test_a_connection_that_breaks_off_is_taken_up_again(hub: Hub, tiny_lesion_model: Path) -> None:
    hub.publish(NAME, tiny_lesion_model)
    hub.cut = "model.safetensors"
    assert dermhub.load(NAME).config == dermhub.load(tiny_lesion_model).config
    assert sum(line.startswith("GET") and line.endswith("model.safetensors") for line in hub.asked) >= 2


def test_a_file_of_the_right_size_with_wrong_bytes_is_refused(hub: Hub, tiny_lesion_model: Path) -> None:
    entry = pinned(hub.publish(NAME, tiny_lesion_model), tiny_lesion_model)
    content = (tiny_lesion_model / "model.safetensors").read_bytes()
    wrong = hashlib.sha256(content[:-1] + bytes([content[-1] ^ 1])).hexdigest()
    right = hashlib.sha256(content).hexdigest()
    hub.flip = "model.safetensors"
    with pytest.raises(ModelError) as caught:
        dermhub.load(entry)
    assert str(caught.value) == (
        f"model.safetensors of {NAME} has sha256 {wrong} and {len(content)} bytes, expected {right} and "
        f"{len(content)}: it was damaged on its way or replaced and is deleted; fetch it again."
    )
    # Nothing of it stays: the next attempt asks again, and gets the right file.
    hub.flip = ""
    assert dermhub.load(entry).config.weights_sha256 == right


def test_wrong_bytes_without_an_entry_are_refused_by_the_models_own_hash(hub: Hub, tiny_lesion_model: Path) -> None:
    hub.publish(NAME, tiny_lesion_model)
    hub.flip = "model.safetensors"
    with pytest.raises(ModelError, match=r"model\.safetensors has sha256 [0-9a-f]{64}, but config\.json expects"):
        dermhub.load(NAME)


def test_an_entry_that_names_a_file_that_is_not_there(hub: Hub, tiny_lesion_model: Path) -> None:
    entry = pinned(hub.publish(NAME, tiny_lesion_model), tiny_lesion_model)
    entry = dataclasses.replace(entry, files={**entry.files, "metrics.json": ("0" * 64, 1)})
    with pytest.raises(ModelError, match=f"^{NAME} lacks metrics.json at {entry.revision}: update dermhub.$"):
        dermhub.load(entry)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "RepoNotFound", "has no repository someone/lesions, or it is private: check the name, or log in"),
        (404, "RepoNotFound", "has no repository someone/lesions, or it is private"),
        (403, "GatedRepo", "is gated: accept its terms"),
        (401, "GatedRepo", "is gated: accept its terms"),
        (404, "RevisionNotFound", "but not that revision"),
        (403, "", "does not let you read someone/lesions (403): log in"),
        (429, "", "too many requests"),
        (500, "", "The hub failed (500)"),
        (503, "", "The hub failed (503)"),
    ],
)
def test_what_a_hub_refuses_is_one_sentence(
    hub: Hub, tiny_lesion_model: Path, capsys: pytest.CaptureFixture[str], status: int, code: str, words: str
) -> None:
    hub.publish(NAME, tiny_lesion_model)
    hub.status, hub.code = status, code
    with pytest.raises(DownloadError) as caught:
        dermhub.load(NAME)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    # With a copy in the cache, the same refusal is a warning.
    hub.status = 0
    dermhub.load(NAME)
    hub.status = status
    capsys.readouterr()
    assert dermhub.load(NAME).config.task == LESION
    assert words in capsys.readouterr().err


def test_an_unknown_repository_or_revision(hub: Hub, tiny_lesion_model: Path) -> None:
    hub.publish(NAME, tiny_lesion_model)
    with pytest.raises(DownloadError, match=r"^The hub has no repository nobody/nothing, or it is private"):
        dermhub.load("nobody/nothing")
    with pytest.raises(DownloadError, match=f"^The hub has the repository of {NAME}@v9, but not that revision"):
        dermhub.load(f"{NAME}@v9")


@pytest.mark.parametrize("name", ["someone/lesions@", "some one/lesions", "a/b/c", "../up/down", "@main", "a@b"])
def test_what_is_no_name_is_not_asked_for(hub: Hub, name: str) -> None:
    with pytest.raises(ModelError, match=r"expected a model folder.* or ORG/NAME on the hub"):
        dermhub.load(name)
    with pytest.raises(ConfigError, match=r"expected ORG/NAME or ORG/NAME@REVISION"):
        client.fetch(name)
    assert hub.asked == []


def test_a_misspelt_folder_is_not_asked_for(
    hub: Hub, tmp_path: Path, tiny_lesion_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_lesion_model, tmp_path / "runs" / "lesion")
    monkeypatch.chdir(tmp_path)
    assert dermhub.load("runs/lesion").name == "lesion"
    with pytest.raises(ModelError, match="There is no model 'runs/lesoin'"):
        dermhub.load("runs/lesoin")
    assert hub.asked == []


def test_a_host_that_is_down_is_given_up_soon(started: Started) -> None:
    started[1].stop()
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"could not be fetched from .* connect to the network and try again"):
        dermhub.load(NAME)
    assert time.monotonic() - begun < 10


def test_a_host_that_says_nothing_is_given_up_soon(hub: Hub) -> None:
    hub.silent.clear()
    begun = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        dermhub.load(NAME)
    assert time.monotonic() - begun < 10


def test_a_repository_without_weights_and_one_with_a_pickle(hub: Hub, tiny_lesion_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_lesion_model, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.publish(NAME, folder)
    with pytest.raises(ModelError, match=r"There is no .*model\.safetensors"):
        dermhub.load(NAME)
    assert not any("pytorch_model.bin" in line for line in hub.asked)


def test_a_repository_that_is_not_dermhubs(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "num_classes": 1000}')
    hub.publish(NAME, tmp_path)
    with pytest.raises(ModelError, match="has no 'dermhub' block: it is not a model that dermhub wrote"):
        dermhub.load(NAME)


def test_a_cache_that_cannot_be_written(hub: Hub, tiny_lesion_model: Path) -> None:
    hub.publish(NAME, tiny_lesion_model)
    hub_environment.HOME.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"can't be written .* set HF_HOME to another folder"):
        dermhub.load(NAME)


def test_pull_copies_and_never_overwrites(
    hub: Hub, tiny_lesion_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(NAME, tiny_lesion_model, README__md=b"card", model__py=b"code")
    to = tmp_path / "copy"
    assert cli.main(["pull", NAME, "--to", str(to)]) == 0
    assert sorted(path.name for path in to.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert all((to / n).read_bytes() == (tiny_lesion_model / n).read_bytes() for n in client.NEEDED)
    # Again is nothing new; another model in the way is left as it is.
    assert cli.main(["pull", NAME, "--to", str(to)]) == 0
    (to / "config.json").write_text("{}")
    assert cli.main(["pull", NAME, "--to", str(to)]) == 2
    assert "config.json exists and differs" in capsys.readouterr().err
    assert (to / "config.json").read_text() == "{}"


def test_pull_refuses_a_broken_model(
    hub: Hub, tiny_lesion_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(NAME, tiny_lesion_model)
    hub.flip = "model.safetensors"
    assert cli.main(["pull", NAME, "--to", str(tmp_path / "copy")]) == 2
    assert "has sha256" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_predict_with_a_model_of_the_hub(
    hub: Hub, tiny_lesion_model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(NAME, tiny_lesion_model)
    assert cli.main(["predict", str(photo), "--model", NAME, "--format", "csv"]) == 0
    assert dermhub.load(tiny_lesion_model).predict(photo).label in capsys.readouterr().out
