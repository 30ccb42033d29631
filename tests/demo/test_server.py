"""The demo as a server: the answers of its API, its start, its bad options, and its end."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file

import app
import dermhub
from demo import models
from demo.page.html import fill
from demo.page.theme import ICON
from dermhub.errors import ModelError
from dermhub.images.drawn_lesions import draw
from dermhub.tasks import BINARY, LESION, TASKS
from tests.support.demo_process import ROOT, Demo, free_port, serve
from tests.support.readings import Page
from tests.support.tiny import make_model

pytestmark = pytest.mark.slow


def run(*options: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """app.py, which is expected to end by itself."""
    command = [sys.executable, str(ROOT / "app.py"), *map(str, options)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


def test_the_answer_is_that_of_the_models(
    client: Any, trained: dict[str, Path], tmp_path: Path
) -> None:
    draw(5, (300, 200), 0.7).save(tmp_path / "photo.png")
    html = client.predict(handle_file(tmp_path / "photo.png"), api_name="/analyse")
    binary, lesion = (
        dermhub.load(trained[name]).predict(tmp_path / "photo.png") for name in ("binary", "lesion")
    )
    expected = dermhub.assess(binary, lesion)
    shown = Page(html)
    assert expected.title in shown.text
    assert expected.summary in shown.text
    record = json.loads(shown.of("data-record")[0])
    assert record["zone"] == expected.zone
    assert record["malignancy"] == pytest.approx(expected.malignancy, abs=1e-6)
    assert record["probabilities"] == pytest.approx(lesion.probabilities, abs=1e-6)
    lines = [item.description for item in expected.diagnoses]
    assert [line for line in lines if line not in shown.text] == []


def test_every_class_has_its_map_or_a_sentence(client: Any, tmp_path: Path) -> None:
    draw(6, (300, 200), 0.7).save(tmp_path / "photo.png")
    html = client.predict(handle_file(tmp_path / "photo.png"), api_name="/analyse")
    for task in TASKS.values():
        for name in task.classes:
            assert f'<option value="{name}"' in html
            assert re.search(rf'<p class="derm-of( on)?" data-map="{name}\|">', html), name
    assert html.count(" selected>") == 1


def test_no_image_is_not_an_error(client: Any) -> None:
    assert client.predict(None, api_name="/analyse") == ""


def test_the_page_is_served(demo: Demo) -> None:
    with urllib.request.urlopen(demo.url) as page:
        text = page.read().decode()
    assert page.status == 200
    assert '"title":"dermhub"' in text
    # Programs that show a link read the first tags of each kind.
    tags = re.findall(r'<meta property="og:(\w+)" content="([^"]*)"', text)
    assert dict(reversed(tags))["title"].startswith("dermhub: how suspicious")
    assert "Not a medical device" in dict(reversed(tags))["description"]
    assert "Gradio" not in str(tags)
    assert 'name="twitter:' not in text
    with urllib.request.urlopen(f"{demo.url}/favicon.ico") as icon:
        assert icon.read() == ICON.read_bytes()


def test_its_api_is_what_it_says_it_is(client: Any) -> None:
    offered = [
        "/analyse",
        "/predict",
        "/explain",
        "/check_stability",
        "/similar",
        "/at_prevalence",
        "/predict_several",
    ]
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == offered


def test_an_upload_is_gone_when_the_server_ends(trained: dict[str, Path], tmp_path: Path) -> None:
    from gradio_client import Client

    options = ("--binary", trained["binary"], "--lesion", trained["lesion"])
    (tmp_path / "sent").mkdir()
    draw(7, (300, 200)).save(tmp_path / "sent" / "patient-name.png")
    with serve(tmp_path / "home", *options) as demo:
        Client(demo.url, verbose=False).predict(
            handle_file(tmp_path / "sent" / "patient-name.png"), api_name="/analyse"
        )
        assert len(list((tmp_path / "home").rglob("patient-name.png"))) == 1
        (private,) = (tmp_path / "home" / "tmp").glob("dermhub-uploads-*")
        assert private.stat().st_mode & 0o077 == 0
        assert demo.stop(signal.SIGTERM) == 0
        assert "patient-name" not in "".join(demo.lines)
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    # matplotlib, which gradio imports, keeps a list of the machine's fonts.
    assert [path for path in left if not path.name.startswith("fontlist")] == []


def test_a_port_in_use_is_one_sentence(trained: dict[str, Path], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = ("--binary", trained["binary"], "--lesion", trained["lesion"], "--port", port)
        done = run(*options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("app.py: ")
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [("--binary", "There is no model 'nowhere'"), ("--lesion", "There is no model 'nowhere'")],
)
def test_an_unknown_model_is_one_sentence(
    trained: dict[str, Path], tmp_path: Path, option: str, words: str
) -> None:
    other = {"--binary": "--lesion", "--lesion": "--binary"}[option]
    done = run(option, "nowhere", other, trained[other[2:]], "--port", free_port(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"app.py: {words}.*\n", done.stderr)


def test_models_of_the_wrong_kind_are_one_sentence(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    options = ("--binary", trained["lesion"], "--lesion", trained["binary"], "--port", free_port())
    done = run(*options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"app\.py: .*--binary.*'lesion'.*\n", done.stderr)


def test_a_model_without_figures_is_one_sentence(trained: dict[str, Path], tmp_path: Path) -> None:
    bare = make_model(tmp_path / "bare", LESION)
    done = run("--binary", trained["binary"], "--lesion", bare, "--port", free_port(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"app\.py: .*bare.*metrics\.json.*\n", done.stderr)


@pytest.mark.parametrize(
    ("name", "content"), [("metrics.json", "{}"), ("README.md", "no front matter")]
)
def test_a_damaged_model_folder_is_one_sentence(
    trained: dict[str, Path], tmp_path: Path, name: str, content: str
) -> None:
    folder = Path(shutil.copytree(trained["binary"], tmp_path / "model"))
    (folder / name).write_text(content)
    with pytest.raises(
        ModelError, match=r"has a damaged metrics.json or README.md: fetch the model again\.$"
    ):
        models.load_model("binary", str(folder))


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys, app\ntry: app.options(['--help'])\nexcept SystemExit: print('LOADED', "
        "*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shown, _, loaded = done.stdout.partition("LOADED")
    assert all(
        option in shown for option in ("--host", "--port", "--share", "--binary", "--lesion")
    )
    assert not {name.split(".")[0] for name in loaded.split()} & {
        "torch",
        "gradio",
        "numpy",
        "PIL",
        "pandas",
    }


def test_its_defaults() -> None:
    given = app.options([])
    assert (given.host, given.port, given.share) == ("127.0.0.1", 7860, False)
    assert (given.binary, given.lesion) == (BINARY.name, LESION.name)


@pytest.mark.parametrize("port", ["-1", "0", "65536", "http"])
def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.options(["--port", port])
    assert port in capsys.readouterr().err


def test_the_camera_is_that_of_the_back_and_not_mirrored(client: Any) -> None:
    components = client.config["components"]
    (image,) = [one for one in components if one["props"].get("elem_id") == "image"]
    assert image["props"]["webcam_options"] == {
        "mirror": False,
        "constraints": {"video": {"facingMode": "environment"}},
    }


@pytest.mark.parametrize("share", [False, True])
def test_the_words_on_privacy_are_true_for_a_public_link(share: bool) -> None:
    words = fill("foot.html.jinja", version="1", shared_link=share)
    assert ("pass through Gradio's relay" in words) == share
    assert "are deleted there within minutes" in words


def test_the_card_is_given_without_front_matter_and_pictures(trained: dict[str, Path]) -> None:
    text = models.card_text(dermhub.load(trained["lesion"]))
    assert text.lstrip().startswith("# dermhub lesion")
    assert "![" not in text
    assert "license:" not in text
