"""What deploy/linuxone holds without an emulator: lists that agree, a proof that can fail, a current certificate."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

import dermhub
from dermhub import files

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy/linuxone"


def listed(path: Path) -> list[str]:
    """The entries of a list, without comments."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def test_the_rest_is_pinned_as_everywhere() -> None:
    pins = dict(line.split("==") for line in listed(FOLDER / "requirements.txt"))
    general = dict(re.findall(r"^(\w+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    for name in ("timm", "gradio", "kagglehub"):
        assert pins[name] == general[name], name
    # The distribution has these, compiled; a second copy would shadow them.
    assert not pins.keys() & {"torch", "torchvision", "numpy", "pillow", "pandas", "matplotlib", "orjson", "brotli"}
    assert {"python3-torch", "python3-torchvision", "python3-numpy", "python3-pil"} <= set(
        listed(FOLDER / "packages.txt")
    )


@pytest.mark.parametrize("script", ["install.sh", "prove.sh", "root.sh"])
def test_scripts_are_whole(script: str) -> None:
    subprocess.run(["bash", "-n", FOLDER / script], check=True)
    assert "packages.txt" in (FOLDER / script).read_text(encoding="utf-8")


def test_the_container_is_made_by_the_installer() -> None:
    assert "deploy/linuxone/install.sh" in (FOLDER / "Containerfile").read_text(encoding="utf-8")


def test_the_certificate_is_that_of_the_shipped_models_and_lists() -> None:
    text = (FOLDER / "PARITY.md").read_text(encoding="utf-8")
    assert "Result: **PASSED**" in text
    assert "DIFFERS" not in text
    for name, folder in dermhub.shipped().items():
        assert f"{name}/model.safetensors: sha256 `{files.sha256(folder / 'model.safetensors')}`" in text, name
    for name in ("packages.txt", "requirements.txt"):
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() in text, name


def page(shade: int = 0, share: str = "9.8%") -> str:
    """An answer of the demo in short: a figure, the photograph and one map."""
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels().astype(int) + shade, 0, 255).astype(np.uint8)).save(stream, "PNG")
    picture = f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
    return f"<h3>Probability of malignancy: {share}</h3>{picture}{picture}"


def write(folder: Path, order: str, answer: dict[str, Any], heat: float, html: str) -> None:
    """What golden.py and ask.py leave behind, of one model and one image."""
    folder.mkdir(parents=True)
    np.save(folder / "lesion-a.jpg.npy", np.full((2, 4, 4), heat, "<f4"))
    model = {"files": {"model.safetensors": "0" * 64}, "images": {"a.jpg": answer}}
    loss = answer.pop("loss")
    content = {
        "machine": {"byte order": order},
        "models": {"lesion": model},
        "epoch": {"loss": loss, "validation": 2.0},
    }
    (folder / "answers.json").write_text(json.dumps(content))
    (folder / "page.html").write_text(html)


def compared(
    tmp_path: Path, heat: float = 0.5, html: str = "", tests: str = "9 passed", here: str = "", **changes: Any
) -> int:
    """The exit code of compare.py for two machines of which the second differs by `changes`."""
    answer = {"tensor": "a", "logits": [1.0, 2.0], "probabilities": [0.3, 0.7], "label": "nv", "malignant": False}
    write(tmp_path / "x86", "little", {**answer, "loss": 1.9}, 0.5, here or page())
    write(tmp_path / "s390x", "big", {**answer, "loss": 1.9, **changes}, heat, html or page())
    command = [sys.executable, str(FOLDER / "compare.py"), "x86", "s390x", "out.md", f"tests={tests}", "emulator=none"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode


def test_a_colour_that_is_hardly_seen_hardly_counts(tmp_path: Path) -> None:
    def sheet(opacity: int) -> str:
        stream = io.BytesIO()
        Image.new("RGBA", (4, 4), (68, 1, 84, opacity)).save(stream, "PNG")
        return page() + f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'

    for opacity, code in ((1, 0), (9, 1)):
        assert compared(tmp_path / str(opacity), html=sheet(opacity), here=sheet(0)) == code, opacity


def test_equal_machines_are_certified(tmp_path: Path) -> None:
    assert compared(tmp_path, heat=0.50005, loss=1.90005, logits=[1.00005, 2.0], html=page(shade=1)) == 0
    assert "Result: **PASSED**" in (tmp_path / "out.md").read_text()


@pytest.mark.parametrize(
    "run",
    [
        lambda folder: compared(folder, tensor="b"),
        lambda folder: compared(folder, label="mel"),
        lambda folder: compared(folder, malignant=True),
        lambda folder: compared(folder, logits=[1.0002, 2.0]),
        lambda folder: compared(folder, logits=[float("nan"), 2.0]),
        lambda folder: compared(folder, probabilities=[0.30002, 0.69998]),
        lambda folder: compared(folder, heat=0.5002),
        lambda folder: compared(folder, loss=1.9002),
        lambda folder: compared(folder, html=page(share="9.9%")),
        lambda folder: compared(folder, html=page(shade=3)),
        lambda folder: compared(folder, html="<p>No answer.</p>"),
        lambda folder: compared(folder, tests="1 failed, 8 passed"),
        lambda folder: compared(folder, tests="none ran"),
    ],
)
def test_any_difference_fails_the_proof(tmp_path: Path, run: Callable[[Path], int]) -> None:
    assert run(tmp_path) == 1
    assert "**DIFFERS**" in (tmp_path / "out.md").read_text()
