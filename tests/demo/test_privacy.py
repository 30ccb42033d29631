"""Nothing of a visit stays, however the server ends, and nobody outside is asked."""

from __future__ import annotations

import contextlib
import io
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from PIL import Image

from dermhub.images.drawn_lesions import draw
from tests.support.demo_process import Demo, serve

pytestmark = pytest.mark.slow

MARK = "Mustermann-7c1f"
"""In the names and in the EXIF of everything that is sent."""

KINDS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
"""First bytes of images; the server keeps none of its own outside of its folder."""


def photo(folder: Path, name: str) -> Path:
    """An image of somebody, by its name and its EXIF."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = MARK
    draw(11, (310, 230), 0.7).save(folder / name, exif=exif)
    return folder / name


def visit(demo: Demo, folder: Path) -> str:
    """Ask everything that can be asked, also what fails, and return all that was answered."""
    client = Client(demo.url, verbose=False)
    folder.mkdir(exist_ok=True)
    (folder / f"{MARK}.pdf").write_bytes(b"%PDF-1.7\n" + MARK.encode())
    (folder / f"{MARK}-cut.png").write_bytes(photo(folder, f"{MARK}.png").read_bytes()[:5000])
    files = [photo(folder, f"{MARK}.jpg"), folder / f"{MARK}.pdf", folder / f"{MARK}-cut.png"]
    answers = []
    for name, endpoint in client.view_api(return_format="dict")["named_endpoints"].items():
        first = endpoint["parameters"][0]
        if first["component"] == "File":
            answers.append(client.predict([handle_file(path) for path in files], api_name=name))
        elif first["component"] == "Image":
            answers += [client.predict(handle_file(path), api_name=name) for path in files]
    for odd in (
        {"path": f"/etc/{MARK}.png", "meta": {"_type": "gradio.FileData"}},
        f"http://127.0.0.1:1/{MARK}",
    ):
        with contextlib.suppress(Exception):
            answers.append(client.predict(odd, api_name="/analyse"))
    assert len(answers) >= len(files)
    client.close()
    return str(answers)


def traces(home: Path) -> list[str]:
    """Files below a folder with the mark in their name or content, and all images."""
    paths = []
    for path in home.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if MARK in path.name or MARK.encode() in content or content.startswith(KINDS):
            paths.append(str(path.relative_to(home)))
    return paths


@pytest.fixture
def options(trained: dict[str, Path]) -> tuple[Any, ...]:
    """The models to serve."""
    return ("--binary", trained["binary"], "--lesion", trained["lesion"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_after_an_orderly_end(
    options: tuple[Any, ...], tmp_path: Path, number: int
) -> None:
    home, notes = tmp_path / "home", tmp_path / "notes"
    with serve(home, *options, notes=notes) as demo:
        answers = visit(demo, tmp_path / "sent")
        # Guards the rest of this test: while the server runs, the marks are there to be found.
        assert traces(home)
        (private,) = (home / "tmp").glob("dermhub-uploads-*")
        assert demo.stop(number) == 0
        log = "".join(demo.lines)
    assert traces(home) == []
    assert list((home / "tmp").iterdir()) == []
    assert MARK not in log
    assert MARK not in _without_names(answers)
    _check_notes(notes, private, home)


def _without_names(answers: str) -> str:
    # A batch's table names the files that the visitor sent; that is the visitor's own answer.
    return (
        answers.replace(f"{MARK}.jpg", "").replace(f"{MARK}.pdf", "").replace(f"{MARK}-cut.png", "")
    )


def _check_notes(notes: Path, private: Path, home: Path) -> None:
    """Every file was written below the private folder, and nobody was asked but this machine."""
    lines = notes.read_text().splitlines()
    # A name may be noted as bytes; strip() would also take a "b" from its end.
    written = [re.sub("^b?'(.*)'$", r"\1", line[6:]) for line in lines if line.startswith("write ")]
    asked = [line[4:] for line in lines if line.startswith("ask ")]
    assert [path for path in written if path.startswith(str(private))], (
        "the notes hold what was written"
    )
    allowed = (
        str(private),
        str(home / ".cache"),
        str(home / ".config"),
    )
    outside = [
        path
        for path in written
        if path.startswith("/") and not path.startswith((*allowed, "/dev/null"))
    ]
    # Python tries whether it can write into the folder for temporary files, and torch makes one for
    # compiled code.
    harmless = re.compile(r".*/__pycache__/.*|.*/tmp/([a-z0-9_]{8}|torchinductor_\w+)")
    assert [path for path in outside if not harmless.fullmatch(path)] == []
    here = ("127.0.0.1", "localhost")
    others = [address for address in asked if not any(name in address for name in here)]
    assert set(others) <= {"None"}


def test_nothing_is_left_after_a_kill_and_a_restart(
    options: tuple[Any, ...], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with serve(home, *options) as demo:
        visit(demo, tmp_path / "sent")
        demo.process.kill()
        demo.process.wait()
        assert MARK not in "".join(demo.lines)
    assert traces(home)
    with serve(home, *options) as demo:
        assert [path for path in traces(home) if MARK in path] == []
        with serve(home, *options) as second:
            # The second one has looked for leftovers, and left the first one's folder alone.
            assert len(list((home / "tmp").glob("dermhub-uploads-*"))) == 2
            visit(second, tmp_path / "sent")
        visit(demo, tmp_path / "sent")
        assert demo.stop() == 0
    with serve(home, *options) as demo:
        assert demo.stop() == 0
    assert traces(home) == []


def test_an_answer_holds_nothing_of_the_files_own_words(demo: Demo, tmp_path: Path) -> None:
    path = photo(tmp_path, f"{MARK}.jpg")
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.getexif()[0x010E] == MARK
    html = Client(demo.url, verbose=False).predict(handle_file(path), api_name="/analyse")
    assert "data:image/jpeg;base64," in html
    assert MARK not in html
