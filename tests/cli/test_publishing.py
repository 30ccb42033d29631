"""The commands of docs/publishing.md, run as they stand there against a hub on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import dermhub
from dermhub.cli.main import main
from dermhub.hub.pins import Entry
from dermhub.models import catalog
from tests.support import hub_environment
from tests.support.hub_routes import TOKEN
from tests.support.hub_server import Hub

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def command_of(heading: str) -> str:
    """The command of a section of the page."""
    page = (ROOT / "docs/publishing.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^## {heading}\n\n```\n(.+?)\n```$", page, re.MULTILINE)
    return str(block)


@pytest.fixture
def models(hub: Hub, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with model_cards/, of two real models, in which commands run; a token is set."""
    assert hub.server
    for name in ("binary", "lesion"):
        shutil.copytree(finished_run / "model", tmp_path / "model_cards" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return tmp_path


def run(command: str) -> int:
    """Run a command of the page in this process, with its * expanded as a shell does."""
    words = shlex.split(command.removeprefix("python -m dermhub "))
    expanded = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
    return main([word for group in expanded for word in group])


def test_the_models(models: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_of("The models")) == 0
    assert set(hub.repositories) == {"user/dermhub-binary", "user/dermhub-lesion"}
    # A line for each push, and entries that pin what was sent.
    lines = capsys.readouterr().out.splitlines(keepends=True)
    source = "".join(line for line in lines if not line.startswith("http"))
    entries: dict[str, Entry] = eval(f"{{{source}}}", {"Entry": Entry})
    assert set(entries) == {"binary", "lesion"}
    for name, entry in entries.items():
        assert dermhub.load(entry).config == dermhub.load(models / "model_cards" / name).config
    commits = {name: hub.repositories[name].branches["main"] for name in hub.repositories}
    assert run(command_of("The models")) == 0
    assert {name: hub.repositories[name].branches["main"] for name in commits} == commits


def test_several_models_and_one_repository(
    models: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.is_dir()
    code = main(["push", "model_cards/binary", "model_cards/lesion", "--repo", "user/dermhub"])
    assert (code, hub.requests) == (2, [])
    assert capsys.readouterr().err == (
        "dermhub: --repo user/dermhub is the same for 2 folders: put {} where the name of each "
        "belongs, as in user/dermhub-{}.\n"
    )


def test_nothing_is_sent_where_one_of_several_models_is_not_whole(
    models: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "model_cards/lesion/model.safetensors").write_bytes(b"")
    code = main(["push", "model_cards/binary", "model_cards/lesion", "--repo", "user/dermhub-{}"])
    assert (code, hub.requests) == (2, [])
    assert capsys.readouterr().err.startswith("dermhub: model_cards/lesion meets 7 of 8 items")


def test_the_space(models: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = models / "checkout"
    for name in ("dermhub", "demo"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "requirements-demo.txt", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, checkout)
    (models / "model_cards").rename(checkout / "model_cards")
    monkeypatch.setattr(catalog, "MODEL_CARDS", checkout / "model_cards")
    assert run(command_of("The Space")) == 0
    (space,) = hub.repositories
    sent = hub.repositories[space].commits[hub.repositories[space].branches["main"]]
    assert sent["requirements.txt"] == (ROOT / "requirements-demo.txt").read_bytes()
    assert b"torch" not in re.sub(rb"#.*", b"", sent["requirements.txt"])
    for name in ("app.py", "demo/page/page.py", "dermhub/installation.py", "dermhub/py.typed"):
        assert sent[name] == (ROOT / name).read_bytes()
    weights = "model_cards/lesion/model.safetensors"
    assert sent[weights] == (checkout / weights).read_bytes()


def test_the_wheel(models: Path) -> None:
    build, upload = command_of("The wheel").split(" && ")
    assert build == "python -m build --wheel"
    # Built in an environment of its own by that command; here with what is installed.
    command = [sys.executable, *shlex.split(build)[1:], "--no-isolation"]
    subprocess.run(
        [*command, "--outdir", str(models / "dist"), str(ROOT)], check=True, capture_output=True
    )
    program, *arguments = shlex.split(upload)
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=models,
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    repository, wheel = arguments[1], Path(arguments[2])
    address = f"{hub_environment.ENDPOINT}/{repository}/resolve/main/{wheel.name}"
    with urllib.request.urlopen(address, timeout=60) as reply:
        assert reply.read() == (models / wheel).read_bytes()
