"""deploy/linuxone without an emulator: equal lists, a proof that can fail, a certificate."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dermhub
from demo.page.html import palette_uri
from dermhub import files, layout
from dermhub.cards import checklist, render
from dermhub.models.config import ModelConfig
from tests.support.tiny import pixels

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy/linuxone"


def listed(path: Path) -> list[str]:
    """The entries of a list, without comments."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def test_the_rest_is_pinned_as_everywhere() -> None:
    pins = dict(line.split("==") for line in listed(FOLDER / "requirements.txt"))
    general = dict(
        re.findall(r"^(\w+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    )
    for name in ("timm", "gradio", "kagglehub"):
        assert pins[name] == general[name], name
    # The distribution has these, compiled; a second copy would shadow them.
    assert not pins.keys() & {
        "torch",
        "torchvision",
        "numpy",
        "pillow",
        "pandas",
        "matplotlib",
        "orjson",
        "brotli",
    }
    assert {"python3-torch", "python3-torchvision", "python3-numpy", "python3-pil"} <= set(
        listed(FOLDER / "packages.txt")
    )


@pytest.mark.parametrize("script", ["install.sh", "prove.sh", "root.sh"])
def test_scripts_are_whole(script: str) -> None:
    subprocess.run(["bash", "-n", FOLDER / script], check=True)
    assert "packages.txt" in (FOLDER / script).read_text(encoding="utf-8")


def test_the_installer_asks_names_that_exist() -> None:
    # Its last step is a program in Python, which no other test runs.
    script = (FOLDER / "install.sh").read_text(encoding="utf-8")
    program = script.split("<<'CHECK'\n")[1].split("\nCHECK\n")[0]
    tree = ast.parse(program)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "dermhub" in imported
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "dermhub"
    }
    assert asked == {"shipped", "load", "draw"}
    assert asked <= set(dermhub.__all__)


def test_the_container_is_made_by_the_installer() -> None:
    assert "deploy/linuxone/install.sh" in (FOLDER / "Containerfile").read_text(encoding="utf-8")


def test_the_certificate_is_that_of_the_shipped_models_and_lists() -> None:
    text = (FOLDER / "PARITY.md").read_text(encoding="utf-8")
    assert "Result: **PASSED**" in text
    assert "DIFFERS" not in text
    for name, folder in dermhub.shipped().items():
        assert (
            f"{name}/model.safetensors: sha256 `{files.sha256(folder / 'model.safetensors')}`"
            in text
        ), name
    for name in ("packages.txt", "requirements.txt"):
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() in text, name


def test_every_shipped_weight_file_and_graph_is_one_that_was_proven() -> None:
    proven = files.read_json(FOLDER / "parity.json")
    text = (FOLDER / "PARITY.md").read_text(encoding="utf-8")
    for name, folder in dermhub.shipped().items():
        weights = files.sha256(folder / layout.WEIGHTS)
        assert weights in proven, name
        assert weights in text, name
        if (folder / layout.GRAPH).exists():
            # A graph states the weights that it was made from, and config.json states the graph:
            # loading it by ONNX Runtime refuses another one.
            assert dermhub.load(folder, runtime="onnx").config.weights_sha256 == weights, name
    assert len(proven) == len(dermhub.shipped())


def test_a_certificate_names_weights_and_graph(tmp_path: Path) -> None:
    for machine, order in (("x86", "little"), ("s390x", "big")):
        write(tmp_path / machine, order, {**ANSWER}, 0.5, page())
        content = files.read_json(tmp_path / machine / "answers.json")
        content["models"]["lesion"]["files"][layout.GRAPH] = "1" * 64
        files.write_json(tmp_path / machine / "answers.json", content)
    write_onnx(tmp_path / "s390x")
    assert compare(tmp_path, "9 passed") == 0
    lines = (tmp_path / "out.md").read_text().splitlines()
    assert f"- lesion/model.safetensors: sha256 `{WEIGHTS}`" in lines
    assert f"- lesion/model.onnx: sha256 `{'1' * 64}`" in lines


def test_the_proof_runs_tests_that_are_there() -> None:
    script = (FOLDER / "prove.sh").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:quick_)?tests=\(.*?\)$", script, re.MULTILINE | re.DOTALL)
    assert len(lists) == 2

    def names(name: str) -> set[str]:
        command = "\n".join([*lists, f'printf "%s\\n" "${{{name}[@]}}"'])
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert len(names("tests")) > len(names("quick_tests")) > 3
    assert names("quick_tests") < names("tests")
    assert [name for name in names("tests") if not (ROOT / f"tests/{name}.py").is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--fast"],
            "prove.sh: got --fast, expected --quick, --root or a certificate's path.",
        ),
        (["--quick"], f"prove.sh: --quick proves a part and can't write {FOLDER}/PARITY.md: "),
        (
            ["--quick", f"{FOLDER}/other.md"],
            f"prove.sh: --quick proves a part and can't write {FOLDER}/other.md: ",
        ),
    ],
)
def test_options_that_the_proof_refuses(arguments: list[str], message: str) -> None:
    command = ["bash", str(FOLDER / "prove.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith(message)


def page(shade: int = 0, share: str = "10%") -> str:
    """An answer of the demo in short: a figure, the photograph and one map."""
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels().astype(int) + shade, 0, 255).astype(np.uint8)).save(
        stream, "PNG"
    )
    picture = f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
    return f"<h3>Probability of any cancer, as the AI sees it: {share}</h3>{picture}{picture}"


ANSWER: dict[str, Any] = {
    "tensor": "a",
    "logits": [1.0, 2.0],
    "probabilities": [0.3, 0.7],
    "label": "nv",
    "malignant": False,
    "sets and concerns": [["nv"], "", []],
}
OTHER_SETS: dict[str, Any] = {"sets and concerns": [["nv"], "", ["blurred"]]}
WEIGHTS = "0" * 64


def write(folder: Path, order: str, answer: dict[str, Any], heat: float, html: str) -> None:
    """Write the files of golden.py and ask.py, of one model and one image."""
    folder.mkdir(parents=True)
    np.save(folder / "lesion-a.jpg.npy", np.full((2, 4, 4), heat, "<f4"))
    loss = answer.pop("loss", 1.9)
    meaning = answer.pop("meaning", "m")
    model = {
        "files": {"model.safetensors": WEIGHTS},
        "meaning": meaning,
        "images": {"a.jpg": answer},
    }
    content = {
        "machine": {"byte order": order, "torch": "2.0"},
        "models": {"lesion": model},
        "epoch": {"loss": loss, "validation": 2.0},
    }
    (folder / "answers.json").write_text(json.dumps(content))
    (folder / "page.html").write_text(html)


def write_onnx(folder: Path, heat: float = 0.5, name: str = "lesion", **changes: Any) -> None:
    """Write the files of golden.py for the ONNX file of that model."""
    np.save(folder / f"{name}.onnx-a.jpg.npy", np.full((2, 4, 4), heat, "<f4"))
    answer = {
        key: value for key, value in ANSWER.items() if key not in ("tensor", "logits")
    } | changes
    model = {"meaning": answer.pop("meaning", "m"), "images": {"a.jpg": answer}}
    (folder / "onnx.json").write_text(json.dumps({"version": "1.21.0", "models": {name: model}}))


def compared(
    tmp_path: Path,
    heat: float = 0.5,
    html: str = "",
    tests: str = "9 passed",
    here: str = "",
    onnx: dict[str, Any] | None = None,
    **changes: Any,
) -> int:
    """The exit code of compare.py for two machines.

    The second differs by `changes`, or its ONNX answers by `onnx`.
    """
    write(tmp_path / "x86", "little", {**ANSWER}, 0.5, here or page())
    write(tmp_path / "s390x", "big", {**ANSWER, **changes}, heat, html or page())
    write_onnx(tmp_path / "s390x", **(onnx or {}))
    return compare(tmp_path, tests)


def compare(folder: Path, tests: str) -> int:
    """The exit code of compare.py for the answers of two machines in a folder."""
    paths = [str(folder / name) for name in ("x86", "s390x", "out.md")]
    command = ["compare.py", *paths, f"tests={tests}", "emulator=none"]
    # In this process, because a new one takes longer than the comparison.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(FOLDER / "compare.py"), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_colour_that_is_hardly_seen_hardly_counts(tmp_path: Path) -> None:
    def sheet(opacity: int) -> str:
        stream = io.BytesIO()
        Image.new("RGBA", (4, 4), (68, 1, 84, opacity)).save(stream, "PNG")
        return (
            page()
            + f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
        )

    for opacity, code in ((1, 0), (9, 1)):
        assert compared(tmp_path / str(opacity), html=sheet(opacity), here=sheet(0)) == code, (
            opacity
        )


def test_equal_machines_are_certified(tmp_path: Path) -> None:
    assert (
        compared(tmp_path, heat=0.50005, loss=1.90005, logits=[1.00005, 2.0], html=page(shade=1))
        == 0
    )
    assert "Result: **PASSED**" in (tmp_path / "out.md").read_text()


def test_onnx_files_are_certified(tmp_path: Path) -> None:
    assert compared(tmp_path, onnx={"heat": 0.50005, "probabilities": [0.30009, 0.69991]}) == 0
    text = (tmp_path / "out.md").read_text()
    assert "| lesion.onnx: probabilities | <= 0.0001 | 9.0e-05 | ok |" in text
    assert "| onnxruntime | (not used) | 1.21.0 |" in text


def test_short_form_for_the_cards(tmp_path: Path) -> None:
    assert (
        compared(tmp_path, logits=[1.00002, 2.0], onnx={"probabilities": [0.30004, 0.69996]}) == 0
    )
    (sha256, proof), *more = files.read_json(tmp_path / "parity.json").items()
    assert (sha256, more) == (WEIGHTS, [])
    assert proof.pop("date")
    assert proof == {
        "images": 1,
        "torch": ["2.0", "2.0"],
        "onnxruntime": "1.21.0",
        "largest_difference": {
            "pytorch": {"logits": 2e-5, "probabilities": 0.0, "heat map": 0.0},
            "onnx": {"probabilities": 4e-5, "heat map": 0.0},
        },
    }


def test_answers_of_a_page_as_json(tmp_path: Path) -> None:
    text = json.dumps(
        {"html": page().replace('src="', "style='background:url(").replace('">', ")'>")}
    )
    assert compared(tmp_path, html=text, here=text) == 0
    assert "app.py: 2 pictures" in (tmp_path / "out.md").read_text()


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
        lambda folder: compared(folder, **OTHER_SETS),
        lambda folder: compared(folder, onnx={"probabilities": [0.3002, 0.6998]}),
        lambda folder: compared(folder, onnx={"label": "mel"}),
        lambda folder: compared(folder, onnx={"malignant": True}),
        lambda folder: compared(folder, onnx={"sets and concerns": [[], "", []]}),
        lambda folder: compared(folder, onnx={"heat": 0.5002}),
        lambda folder: compared(folder, onnx={"meaning": "n"}),
        lambda folder: compared(folder, onnx={"name": "other"}),
        lambda folder: compared(folder, html=page(share="11%")),
        lambda folder: compared(folder, html=page(shade=3)),
        lambda folder: compared(folder, html="<p>No answer.</p>"),
        lambda folder: compared(folder, tests="1 failed, 8 passed"),
        lambda folder: compared(folder, tests="none ran"),
    ],
)
def test_any_difference_fails_the_proof(tmp_path: Path, run: Callable[[Path], int]) -> None:
    assert run(tmp_path) == 1
    assert "**DIFFERS**" in (tmp_path / "out.md").read_text()
    assert files.read_json(tmp_path / "parity.json") == {}


def certify(*arguments: object) -> tuple[int, str]:
    """certify.py: its exit code and what it prints."""
    command = [sys.executable, str(FOLDER / "certify.py"), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_cards_state_the_proof_of_their_own_weights(finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run / "model", tmp_path / "model")
    sha256 = files.sha256(folder / "model.safetensors")
    assert compared(tmp_path, logits=[1.00002, 2.0]) == 0
    (proof,) = files.read_json(tmp_path / "parity.json").values()
    files.write_json(tmp_path / "other.json", {"1" * 64: proof})
    files.write_json(tmp_path / "sha256.json", {sha256: proof})

    before = (folder / "README.md").read_text(encoding="utf-8")
    assert "## Parity\n\nNot proven for these weights: " in before
    assert certify(tmp_path / "sha256.json", folder) == (0, f"{folder}: proven\n")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert (
        "| PyTorch 2.0 | 2.0e-05 | 0.0e+00 | 0.0e+00 |\n| ONNX Runtime 1.21.0 |  | 0.0e+00 | "
        "0.0e+00 |" in text
    )
    assert checklist.lint(folder).missing == ()
    assert certify(tmp_path / "other.json", folder) == (
        0,
        f"{folder}: not proven for these weights\n",
    )
    assert (folder / "README.md").read_text(encoding="utf-8") == before


def test_a_proof_of_other_weights_is_not_stated(finished_run: Path) -> None:
    config, content = (
        files.read_json(finished_run / "model" / name) for name in ("config.json", "metrics.json")
    )
    content["parity"] = {"weights_sha256": "1" * 64}
    assert "Not proven for these weights" in render.render(ModelConfig.from_json(config), content)


@pytest.mark.slow
def test_certify_what_is_no_model(tmp_path: Path) -> None:
    files.write_json(tmp_path / "parity.json", {})
    code, said = certify(tmp_path / "parity.json", tmp_path)
    assert (code, said) == (
        2,
        f"certify.py: {tmp_path} is not a model folder: it has no config.json.\n",
    )


def with_palette(place: int, colours: int) -> str:
    """An answer of the demo with one picture, a PNG with a palette, all of one place in it."""
    palette = np.arange(colours * 4).astype(np.uint8).reshape(colours, 4)
    headline = "<h3>Probability of any cancer, as the AI sees it: 10%</h3>"
    return f'{headline}<img src="{palette_uri(np.full((2, 3), place, np.uint8), palette)}">'


@pytest.mark.parametrize(("colours", "code"), [(256, 0), (64, 1), (3, 1)])
def test_pictures_with_a_palette_are_compared_by_their_places(
    tmp_path: Path, colours: int, code: int
) -> None:
    # One step of 256 levels is accepted; of three colours, as an outline has, it is half of all.
    here, there = with_palette(1, colours), with_palette(2, colours)
    assert compared(tmp_path / "other", html=there, here=here) == code
    assert compared(tmp_path / "same", html=here, here=here) == 0
