"""Hostile and odd files: each is read, or refused in the sentence it states, fast and in few MB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb
from tests.support import odd_files
from tests.support.hostile import pngs
from tests.support.hostile.kinds import DIRECTORIES, JPEGS, KINDS, MANY, OTHERS, PIECES, Hostile

SAME = ("PNG", "JPEG", "WebP", "GIF")

SECONDS, MEGABYTES = 2.0, 300.0

CHILD = """
import sys, time
from pathlib import Path
from PIL import Image
from dermhub.errors import ImageError
from dermhub.images.decode import to_rgb

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

Image.preinit()
for name in sys.argv[1:]:
    content = Path(name).read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    before, began = peak(), time.process_time()
    try:
        to_rgb(content)
    except ImageError:
        pass
    print(time.process_time() - began, peak() - before)
"""


def refusal(content: bytes) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(ImageError) as raised:
        to_rgb(content)
    text = str(raised.value).replace("the uploaded data", "The file")
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_there_are_enough_of_them() -> None:
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names)) >= 80
    assert set(MANY) < set(names)


def marked(kind: Hostile) -> Any:
    """A kind as a parameter, slow where even the small one is encoded as a large picture."""
    large = kind.name.endswith(("WebP, 40 megapixels", "CMYK, 63 megapixels"))
    return pytest.param(kind, id=kind.name, marks=[pytest.mark.slow] if large else [])


@pytest.mark.parametrize("kind", [marked(kind) for kind in KINDS])
def test_a_small_one(kind: Hostile) -> None:
    content = kind.little()
    if kind.expected:
        assert refusal(content).startswith(kind.expected)
        return
    rgb = to_rgb(content)
    # Of most kinds, the drawn lesion with something around it: not a pixel changes.
    form = kind.name.partition(",")[0]
    if form in SAME and sorted(rgb.size) == [150, 200] and kind.make is not pngs.png_surplus:
        assert rgb.tobytes() == to_rgb(odd_files.saved(form)).tobytes()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "kinds", [DIRECTORIES, PIECES, JPEGS, OTHERS], ids=["EXIF", "TIFF", "JPEG", "other"]
)
def test_a_full_one_takes_two_seconds_and_300_megabytes_at_most(
    kinds: tuple[Hostile, ...], tmp_path: Path
) -> None:
    paths = [tmp_path / str(number) for number, _ in enumerate(kinds)]
    for path, kind in zip(paths, kinds, strict=True):
        path.write_bytes(kind.large())
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    costs = {
        kind.name: tuple(map(float, line.split())) for kind, line in zip(kinds, lines, strict=True)
    }
    assert {
        name: cost for name, cost in costs.items() if cost > (SECONDS, 0) or cost[1] > MEGABYTES
    } == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_very_many_are_refused(name: str) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    assert refusal(kind.large()) == MANY[name]


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermhub.images.decode.MAX_BYTES", 1_000_000)
    path = tmp_path / "photo.png"
    path.write_bytes(odd_files.saved("PNG") + bytes(2_000_000))
    with pytest.raises(ImageError) as raised:
        to_rgb(path)
    assert str(raised.value) == (
        f"{path} has more than the 1 MB that are accepted; scale the image down or save it as JPEG."
    )
