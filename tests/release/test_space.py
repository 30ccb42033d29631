"""The demo as a Space: what is sent, and a front matter that the hub takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dermhub.cli import main
from dermhub.errors import ConfigError
from dermhub.hub.pins import Entry
from dermhub.models import catalog
from dermhub.release import space
from dermhub.tasks import BINARY
from tests.support.hub_routes import TOKEN
from tests.support.hub_server import Hub
from tests.support.tiny import make_model

ROOT = Path(__file__).resolve().parents[2]
ENTRY = Entry(
    "binary",
    "user/binary",
    "1" * 40,
    {"config.json": ("2" * 64, 10), "model.safetensors": ("3" * 64, 20)},
    "binary",
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository that ships one model."""
    root = tmp_path / "checkout"
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("dermhub", "demo"):
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    for name in ("app.py", "requirements-demo.txt", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, root)
    (root / "secret.txt").write_text("not for others")
    make_model(root / "model_cards" / "binary", BINARY)
    monkeypatch.setattr(catalog, "MODEL_CARDS", root / "model_cards")
    return root


def front(contents: dict[str, Path | bytes]) -> dict[str, object]:
    """The front matter of the README.md that is sent."""
    page = contents["README.md"]
    assert isinstance(page, bytes)
    content: dict[str, object] = yaml.safe_load(page.decode().split("---\n")[1])
    return content


def test_it_takes_what_the_demo_needs_and_no_more(checkout: Path) -> None:
    contents = space.contents(checkout)
    listed = ["git", "ls-files", "-co", "--exclude-standard", "dermhub", "demo"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    modules = {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}
    assert "demo/page/page.py" in modules
    # The light list, under the name that a Space looks for.
    assert contents["requirements.txt"] == checkout / "requirements-demo.txt"
    model = {f"model_cards/binary/{name}" for name in ("config.json", "model.safetensors")}
    assert contents.keys() == {
        "app.py",
        "requirements.txt",
        "LICENSE",
        "README.md",
        *modules,
        *model,
    }


def test_shipped_models_are_carried_and_not_named(checkout: Path) -> None:
    assert not {"models", "preload_from_hub"} & front(space.contents(checkout)).keys()
    page = space.contents(checkout)["README.md"]
    assert page == (ROOT / "README.md").read_bytes()


def test_published_models_are_named_pinned_and_not_carried(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.CATALOGUE, "binary", ENTRY)
    contents = space.contents(checkout)
    assert not [name for name in contents if name.startswith("model_cards")]
    matter = front(contents)
    assert matter["models"] == ["user/binary"]
    assert matter["preload_from_hub"] == [f"user/binary config.json,model.safetensors {'1' * 40}"]
    before = yaml.safe_load((ROOT / "README.md").read_text().split("---\n")[1])
    assert {key: matter[key] for key in before} == before


def test_its_gradio_is_the_pinned_one(checkout: Path) -> None:
    requirements = (checkout / "requirements-demo.txt").read_text()
    assert f"gradio=={front(space.contents(checkout))['sdk_version']}" in requirements


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "sdk_version: ",
            "sdk_version: 1.",
            r"sdk is gradio 1\.\S+, but requirements-demo.txt pins gradio \S+: make them",
        ),
        (
            "sdk: gradio",
            "sdk: docker",
            r"sdk is docker \S+, but requirements-demo.txt pins gradio \S+: make them equal",
        ),
        ("emoji: ", "emojis: ", r"the front matter lacks emoji"),
        ("app_file: app.py", "app_file: main.py", r"there is no app_file 'main.py'"),
        (
            "colorFrom: ",
            "colorFrom: dark",
            r"colour 'dark\w+' is unknown, expected one of red, yellow, .*, gray",
        ),
        (
            "short_description: ",
            f"short_description: {'long ' * 12}",
            r"short_description is longer than the 60",
        ),
        ("---\n", "\n---\n", r"README.md has no front matter"),
    ],
)
def test_front_matter_that_the_hub_would_refuse(
    checkout: Path, old: str, new: str, message: str
) -> None:
    readme = checkout / "README.md"
    readme.write_text(readme.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        space.contents(checkout)


def test_no_checkout_and_no_model(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"holds no app.py: a Space is made from a checkout of the repository\.$"
    ):
        space.contents(tmp_path)
    shutil.rmtree(checkout / "model_cards")
    with pytest.raises(
        ConfigError,
        match=r"^There is no model for the Space: none is shipped in model_cards and none",
    ):
        space.contents(checkout)


@pytest.mark.usefixtures("checkout")
def test_the_command_makes_one_commit_and_then_none(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main.main(["space", "--repo", "user/demo"]) == 0
    sent = hub.repositories["spaces/user/demo"]
    assert sent.messages == ["initial commit", "dermhub demo"]
    assert sent.commits[sent.branches["main"]]["app.py"] == (ROOT / "app.py").read_bytes()
    assert main.main(["space", "--repo", "user/demo"]) == 0
    assert len(sent.messages) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert "/spaces/user/demo: " in first
    assert first.endswith(f"commit {sent.branches['main']}")
    assert ", nothing sent (commit " in second
