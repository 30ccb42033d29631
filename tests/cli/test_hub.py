"""Publishing: one commit of checked files, none without a change, and models that load again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

import dermhub
from dermhub import files
from dermhub.cards import render
from dermhub.cli import main
from dermhub.hub.pins import Entry
from dermhub.images.decode import to_rgb
from dermhub.models import backbone
from dermhub.models.model_folder import ModelFolder
from tests.support import hub_environment
from tests.support.hub_routes import TOKEN
from tests.support.hub_server import Hub
from tests.support.tiny import to_tensor

ROOT = Path(__file__).resolve().parents[2]
NAME = "user/lesion"
HOST = hub_environment.ENDPOINT
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of what a training run wrote, with a file that does not belong on the hub."""
    copy = Path(shutil.copytree(finished_run / "model", tmp_path / "lesion"))
    (copy / "notes.bin").write_bytes(b"private")
    return copy


@pytest.fixture
def run(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line: exit code, stdout and stderr. The hub knows the user."""
    assert hub.server
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def command(*options: object) -> tuple[int, str, str]:
        code = main.main([str(option) for option in options])
        output = capsys.readouterr()
        return code, output.out.replace(HOST, "HOST"), output.err.replace(HOST, "HOST")

    return command


def test_push_is_one_commit_of_the_model_alone(hub: Hub, run: Run, folder: Path) -> None:
    code, out, err = run("push", folder, "--repo", NAME)
    assert (code, err) == (0, "")
    repository = hub.repositories[NAME]
    assert repository.messages == ["initial commit", "dermhub lesion"]
    commit = repository.branches["main"]
    sent = repository.commits[commit]
    expected = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.is_file()
    }
    # What is neither weights, JSON, Markdown nor a figure stays here.
    del expected["notes.bin"], expected["predictions.csv"]
    assert {name: content for name, content in sent.items() if name != ".gitattributes"} == expected
    assert out.startswith(f"HOST/user/lesion: {len(expected)} files, commit {commit}\n")


def test_push_prints_the_entry_that_pins_it(run: Run, folder: Path) -> None:
    code, out, err = run("push", folder, "--repo", NAME)
    assert (code, err) == (0, "")
    _, _, source = out.partition("\n")
    entries: dict[str, Entry] = eval(f"{{{source}}}", {"Entry": Entry})
    assert entries["lesion"].task == "lesion"
    weights = folder / "model.safetensors"
    assert entries["lesion"].files[weights.name] == (files.sha256(weights), weights.stat().st_size)
    assert dermhub.load(entries["lesion"]).folder.name == entries["lesion"].revision


def test_pushed_again_nothing_is_sent(hub: Hub, run: Run, folder: Path) -> None:
    assert run("push", folder, "--repo", NAME)[::2] == (0, "")
    commit = hub.repositories[NAME].branches["main"]
    hub.requests.clear()
    code, out, _ = run("push", folder, "--repo", NAME)
    count = len(hub.repositories[NAME].commits[commit]) - 1
    assert (code, out.splitlines()[0]) == (
        0,
        f"HOST/user/lesion: already holds these {count} files, nothing sent (commit {commit})",
    )
    assert hub.repositories[NAME].branches == {"main": commit}
    assert not [
        request for request in hub.requests if "/commit/" in request or request.startswith("PUT")
    ]


def test_a_change_is_one_commit_that_sends_no_weights(hub: Hub, run: Run, folder: Path) -> None:
    assert run("push", folder, "--repo", NAME)[::2] == (0, "")
    content = files.read_json(folder / "metrics.json")
    content["latency"]["median_ms"] = 1.5
    files.write_json(folder / "metrics.json", content)
    files.write_text(folder / "README.md", render.render(ModelFolder(folder).config, content))
    hub.requests.clear()
    assert run("push", folder, "--repo", NAME)[::2] == (0, "")
    assert len(hub.repositories[NAME].messages) == 3
    assert not [request for request in hub.requests if request.startswith("PUT")]


def test_what_was_pushed_gives_the_same_bits_here_and_in_timm(
    run: Run, folder: Path, photo: Path
) -> None:
    assert run("push", folder, "--repo", NAME)[::2] == (0, "")
    local = dermhub.load(folder)
    pushed = dermhub.load(NAME)
    theirs = timm.create_model(f"hf-hub:{NAME}", pretrained=True).eval()
    # The layout in memory changes the order of additions, and so the last bits.
    theirs = theirs.to(memory_format=backbone.memory_format(local.config.architecture))
    with torch.inference_mode():
        images = to_tensor(to_rgb(photo), local.config.input)[None]
        assert torch.equal(pushed.model(images), theirs(images))
    assert (pushed.logits([to_rgb(photo)]) == local.logits([to_rgb(photo)])).all()
    assert pushed.predict(photo) == local.predict(photo)


def test_many_large_files_are_verified_at_one_address(hub: Hub, run: Run, folder: Path) -> None:
    for number in range(20):
        (folder / "figures" / f"{number}.png").write_bytes(b"%d" % number)
    assert run("push", folder, "--repo", NAME)[::2] == (0, "")
    assert sum(request.endswith("/verify") for request in hub.requests) > 20


def test_private(hub: Hub, run: Run, folder: Path) -> None:
    run("push", folder, "--repo", NAME, "--private")
    assert hub.repositories[NAME].private
    assert run("push", folder, "--repo", NAME, "--private")[0] == 0
    hub.repositories[NAME].private = False
    before = list(hub.repositories[NAME].messages)
    expected = (
        "user/lesion exists and is public: make it private in its settings, or drop --private."
    )
    assert run("push", folder, "--repo", NAME, "--private") == (2, "", f"dermhub: {expected}\n")
    assert hub.repositories[NAME].messages == before


REFUSALS: dict[str, tuple[int, dict[str, str], str]] = {
    "wrong token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, ""),
    "token that may only read": (403, {}, "preupload"),
    "too many requests": (429, {"Retry-After": "60"}, "/commit/"),
    "storage": (403, {}, "^/lfs/"),
}


def spoil(how: str, hub: Hub, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make one thing fail: the token, the folder, or the hub from a certain request on."""
    weights = folder / "model.safetensors"
    if how == "no token":
        patch.delenv("HF_TOKEN")
    elif how == "no card":
        (folder / "README.md").unlink()
    elif how == "edited card":
        card = folder / "README.md"
        card.write_text(card.read_text().replace("## Limits", "## Praise"))
    elif how == "flipped bit":
        weights.write_bytes(weights.read_bytes()[:-1] + bytes([weights.read_bytes()[-1] ^ 1]))
    elif how == "down":
        hub.stop()
    else:
        hub.create(NAME)
        status, headers, hub.only = REFUSALS[how]
        hub.refusal = status, headers


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "no token",
            "To push to user/lesion the hub must know you: log in with `hf auth login`, or set "
            "HF_TOKEN",
        ),
        ("no card", "FOLDER can't be published: it lacks README.md"),
        (
            "flipped bit",
            "FOLDER meets 7 of 8 items of the reporting checklist, expected all: weights and their "
            "sha256 ",
        ),
        (
            "edited card",
            "FOLDER meets 7 of 8 items of the reporting checklist, expected all: card equal to its "
            "figures (README.md has in line LINE '## Praise', the figures give '## Limits'). Train "
            "or measure the model again.",
        ),
        ("down", "HOST can't be reached ([Errno 111] Connection refused): connect"),
        ("wrong token", "HOST wants to know who asks for user/lesion (401): log in"),
        ("token that may only read", "HOST does not permit this on user/lesion (403): log in"),
        ("too many requests", "HOST has had too many requests (429): try again in 60 s"),
        ("storage", "HOST does not permit this on user/lesion (403): log in"),
    ],
)
def test_push_that_fails_is_one_sentence_and_no_commit(
    hub: Hub, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    spoil(how, hub, folder, monkeypatch)
    code, out, err = run("push", folder, "--repo", NAME)
    assert (code, out) == (2, "")
    said = re.sub(r"line \d+", "line LINE", err.replace(str(folder), "FOLDER"))
    assert said.startswith(f"dermhub: {message}")
    assert err.count("\n") == 1
    assert NAME not in hub.repositories or hub.repositories[NAME].messages == ["initial commit"]
    if how in ("no token", "no card", "edited card", "flipped bit"):
        assert hub.requests == []


@pytest.mark.parametrize("name", ["lesion", "user/lesion@main", "a/b/c", "user/"])
def test_push_to_what_is_no_repository(run: Run, folder: Path, name: str) -> None:
    assert run("push", folder, "--repo", name) == (
        2,
        "",
        f"dermhub: --repo is {name!r}, expected user/name.\n",
    )


def test_pull_prints_the_folder_in_the_cache(hub: Hub, run: Run, model: dict[str, bytes]) -> None:
    commit = hub.put(NAME, model)
    code, out, err = run("pull", NAME)
    assert (code, err) == (0, "")
    assert Path(out.strip()).name == commit


def test_pull_copies_and_overwrites_nothing(
    hub: Hub, run: Run, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.put(NAME, model)
    to = tmp_path / "new" / "copy"
    assert run("pull", NAME, "--to", to) == (0, f"{to}: copied from user/lesion\n", "")
    assert not [path for path in to.rglob("*") if path.is_symlink()]
    assert (to / "figures" / "roc.png").read_bytes() == model["figures/roc.png"]
    assert [path.name for path in to.parent.iterdir()] == ["copy"]
    dermhub.load(to)
    assert run("pull", NAME, "--to", to) == (0, f"{to}: already holds user/lesion\n", "")
    (to / "metrics.json").write_text('{"mine": 1}')
    expected = (
        f"dermhub: {to} holds something else: give another folder with --to, or remove it first.\n"
    )
    assert run("pull", NAME, "--to", to) == (2, "", expected)
    assert (to / "metrics.json").read_text() == '{"mine": 1}'


def test_pull_to_where_nothing_can_be_written(
    hub: Hub, run: Run, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.put(NAME, model)
    (tmp_path / "file").touch()
    code, _, err = run("pull", NAME, "--to", tmp_path / "file" / "copy")
    assert (code, err.count("\n")) == (2, 1)
    assert err.endswith("can't be written (File exists): choose another folder.\n")
    assert run("pull", NAME, "--to", tmp_path / "file")[2].endswith(
        "holds something else: give another folder with --to, or remove it first.\n"
    )


def test_pull_of_what_dermhub_did_not_write(hub: Hub, run: Run, model: dict[str, bytes]) -> None:
    hub.put(NAME, {**model, "config.json": b'{"architecture": "resnet18"}'})
    code, _, err = run("pull", NAME)
    assert code == 2
    assert err.endswith(
        "config.json has no 'dermhub' block: it is not a model that dermhub wrote.\n"
    )


def test_weights_that_do_not_belong_to_the_configuration(
    hub: Hub, run: Run, model: dict[str, bytes], photo: Path
) -> None:
    # Published like that, so the hub's own hashes are right.
    hub.put(NAME, {**model, "model.safetensors": model["model.safetensors"][:-1] + b"\1"})
    for command in (["pull", NAME], ["predict", photo, "--model", NAME]):
        code, _, err = run(*command)
        assert code == 2
        assert "model.safetensors has the sha256 " in err
        assert err.endswith("the file was changed or damaged; fetch or copy the model again.\n")


def test_pull_of_a_folder_that_is_no_model(run: Run, tmp_path: Path) -> None:
    code, _, err = run("pull", tmp_path)
    assert code == 2
    assert err == f"dermhub: {tmp_path} is not a model folder: it has no config.json.\n"


@pytest.mark.slow
def test_pull_in_a_process_of_its_own(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    # With the environment that a person sets, and without torch: it takes a second.
    hub.put(NAME, model)

    def pull(**environment: str) -> tuple[int, str]:
        command = [sys.executable, "-W", "error", "-X", "importtime", "-m", "dermhub", "pull", NAME]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert " torch\n" not in done.stderr
        return done.returncode, "\n".join(
            line for line in done.stderr.splitlines() if "import time:" not in line
        )

    offline = {"HF_HUB_OFFLINE": "1"}
    code, err = pull(**offline, HF_HOME=str(tmp_path))
    expected = (
        "dermhub: There is no folder user/lesion, and user/lesion@main is not whole in the cache "
        "and HF_HUB_OFFLINE"
    )
    assert (code, err.split(" is set")[0]) == (2, expected)
    assert pull(HF_HOME=str(tmp_path)) == (0, "")
    hub.stop()
    assert pull(**offline, HF_HOME=str(tmp_path)) == (0, "")


def test_push_follows_no_link_out_of_the_folder(hub: Hub, run: Run, folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_text("mine")
    (folder / "notes.md").symlink_to(secret)
    code, out, err = run("push", folder, "--repo", NAME)
    assert (code, out) == (2, "")
    assert err == (
        f"dermhub: {folder / 'notes.md'} is a link that leads out of {folder}, and is not "
        "published: put a copy of the file in its place, or remove it.\n"
    )
    assert NAME not in hub.repositories
    # A folder of pictures behind a link, and a link inside the folder.
    (folder / "notes.md").unlink()
    (folder / "other.md").symlink_to("README.md")
    assert run("push", folder, "--repo", NAME)[0] == 0
    figures = (folder / "figures").rename(folder.parent / "figures")
    (folder / "figures").symlink_to(figures)
    assert "is a link that leads out of" in run("push", folder, "--repo", "user/second")[2]
