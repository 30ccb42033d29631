"""The package: its lists of requirements, the content of the wheel, and a fresh environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import dermhub
from dermhub import installation
from dermhub.hub import client
from dermhub.images.drawn_lesions import draw
from tests.support.demo_process import free_port

ROOT = Path(__file__).resolve().parents[1]

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]

CORE, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]

IN_WHEEL = ("binary", "lesion")
"""The models in the wheel."""


def normal(requirement: str) -> str:
    """A requirement without comment, blanks and quotes."""
    return re.sub(r"\s+#.*|[\s'\"]", "", requirement).lower()


def listed(name: str) -> set[str]:
    """The requirements of a list, without those of the lists that it includes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {normal(line) for line in lines if line and not line.startswith(("#", "-r"))}


def test_lists_and_extras_state_the_same_bounds() -> None:
    assert {name.split(">")[0] for name in map(normal, CORE)} == {
        *("numpy", "pillow", "onnxruntime", "huggingface_hub"),
    }
    assert set(EXTRAS) == {"demo", "mcp", "train", "export", "parquet", "dicom", "heic"}
    assert listed("requirements-demo.txt") == set(map(normal, [*CORE, *EXTRAS["demo"]]))
    assert listed("requirements.txt") == set(
        map(normal, [*CORE, *EXTRAS["demo"], *EXTRAS["train"]])
    )
    optional = ("export", "parquet", "dicom", "heic")
    further = {normal(line) for name in optional for line in EXTRAS[name]}
    assert further <= listed("requirements-dev.txt")
    # A package that stands in several lists has the same bounds in all of them.
    bounds: dict[str, set[str]] = {}
    for name in ("requirements.txt", "requirements-demo.txt", "requirements-dev.txt"):
        for line in listed(name):
            package = re.split(r"[<>=~;]", line)[0]
            bounds.setdefault(f"{package};{line.partition(';')[2]}", set()).add(line)
    assert {package: each for package, each in bounds.items() if len(each) > 1} == {}
    gradio = EXTRAS["demo"][0].removeprefix("gradio")
    assert EXTRAS["mcp"] == [f"gradio[mcp]{gradio}"]


def test_every_extra_that_is_advised_exists() -> None:
    assert set(installation.EXTRAS.values()) <= set(EXTRAS)
    in_extras = {
        (re.split(r"[<>=;\[]", line)[0], name) for name, lines in EXTRAS.items() for line in lines
    }
    names = {"yaml": "pyyaml", "mcp": "gradio", "pillow_heif": "pillow-heif"}
    stated = {(names.get(module, module), extra) for module, extra in installation.EXTRAS.items()}
    assert stated <= in_extras


def in_wheel() -> dict[str, Path]:
    """Path in the wheel -> file in the repository."""
    files = WheelBuilder(str(ROOT)).recurse_included_files()
    return {file.distribution_path: Path(file.path) for file in files}


def test_the_wheel_holds_the_code_the_programs_and_two_models() -> None:
    wheel = in_wheel()
    command = ["git", "ls-files", "-co", "--exclude-standard", "dermhub", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    code = {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}
    expected = {name: ROOT / name for name in code if name.startswith("dermhub/")}
    programs = {"app.py", "train.py", *(name for name in code if name.startswith("demo/"))}
    expected |= {f"dermhub/programs/{name}": ROOT / name for name in programs}
    for model in IN_WHEEL:
        folder = ROOT / "model_cards" / model
        for name, path in client.model_files(folder).items():
            expected[f"dermhub/model_cards/{model}/{name}"] = path
    assert wheel == expected
    assert {"dermhub/py.typed", "dermhub/data/partition.csv"} <= wheel.keys()
    assert sum(path.stat().st_size for path in wheel.values()) < 60e6


def test_a_wheel_can_be_made_from_the_source_archive() -> None:
    archive = {Path(file.path) for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert set(in_wheel().values()) <= archive


def test_a_clone_has_everything_beside_the_package() -> None:
    assert installation.model_cards() == ROOT / "model_cards"
    assert installation.programs() == ROOT
    assert installation.advice("torch.nn") == "pip install -r requirements.txt"
    # The lists of a clone hold no optional readers.
    assert installation.advice("pydicom") == "pip install pydicom"
    assert installation.advice("pillow_heif") == "pip install pillow-heif"


def test_an_installed_package_has_everything_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "programs").mkdir()
    monkeypatch.setattr(installation, "PACKAGE", tmp_path)
    assert installation.model_cards() == tmp_path / "model_cards"
    assert installation.programs() == tmp_path / "programs"
    assert installation.advice("torch.nn") == "pip install 'dermhub[train]'"
    assert installation.advice("gradio") == "pip install 'dermhub[demo]'"
    assert installation.advice("pandas") == "pip install 'dermhub[train]'"
    assert installation.advice("pydicom") == "pip install 'dermhub[dicom]'"
    assert installation.advice("pillow_heif") == "pip install 'dermhub[heic]'"
    assert installation.advice("tqdm") == "pip install tqdm"


OFFLINE = """
import sys

def refuse(event, _):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        raise SystemExit(f"{event}: expected nothing of the kind")

sys.addaudithook(refuse)
from dermhub.__main__ import run
sys.exit(run())
"""
"""The command line, which may ask no other machine and start no other program."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `python -m build` makes it."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = place.glob("dermhub-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        total = sum(file.file_size for file in archive.infolist())
    megabytes = wheel.stat().st_size / 1e6
    print(f"\n{wheel.name}: {megabytes:.1f} MB, {total / 1e6:.1f} MB unpacked")
    assert megabytes < 60
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel and what it needs, and nothing else."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    pip = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", str(wheel)], capture_output=True, text=True
    )
    if done.returncode and re.search("No matching distribution|connection", done.stderr, re.I):
        pytest.skip(f"the package index can't be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return place / "venv"


def ask(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment in a folder, with no variable of ours but PATH."""
    return subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder / "none")},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_wheel_answers_offline_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    image = draw(3, (600, 450), 0.8)
    image.save(tmp_path / "photo.png")
    done = ask(environment, tmp_path, "dermhub", "predict", "photo.png", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)
    # The whole installation, in which PyTorch answers.
    expected = dermhub.load("lesion", runtime="torch").predict(image)
    assert row["label"] == expected.label
    assert row["malignancy"] == pytest.approx(expected.malignancy, abs=1e-5)
    (size,) = [sum(path.stat().st_size for path in environment.rglob("*") if path.is_file()) / 1e6]
    print(f"\n{size:.0f} MB")
    assert size < 400
    done = ask(environment, tmp_path, "python", "-W", "error", "-c", OFFLINE, "predict", ".")
    assert (done.returncode, done.stderr) == (0, "")
    done = ask(environment, tmp_path, "dermhub", "--version")
    assert done.stdout == f"dermhub {dermhub.__version__}\n"
    done = ask(environment, tmp_path, "dermhub", "list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["id", *IN_WHEEL]
    for command, extra in (("serve", "demo"), ("train", "train")):
        done = ask(environment, tmp_path, "dermhub", command)
        assert done.returncode == 2
        assert done.stderr.endswith(f" is not installed: pip install 'dermhub[{extra}]'.\n")
    done = ask(environment, tmp_path, "dermhub", "predict", ".", "--model", "lesion-2")
    assert done.returncode == 2
    assert done.stderr == (
        "dermhub: There is no model 'lesion-2': expected a model folder, one of binary, lesion, or "
        "org/name of the hub. Did you mean 'lesion'?\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"photo.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "model.onnx", "gate.safetensors"]
)
def test_a_package_without_a_model_file_names_it(
    environment: Path, tmp_path: Path, name: str
) -> None:
    draw(3, (600, 450), 0.8).save(tmp_path / "photo.png")
    (folder,) = environment.glob("lib/python3*/site-packages/dermhub/model_cards/lesion")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    try:
        done = ask(environment, tmp_path, "dermhub", "predict", "photo.png")
    finally:
        (folder / name).write_bytes(content)
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr
    assert str(folder) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_installed_package_serves_the_demo(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    port = free_port()
    # With the libraries of the tests, but with nothing of the clone.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "dermhub", "serve", "--port", str(port)],
        cwd=tmp_path / "empty",
        env={"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("dermhub is ready: open " in line for line in process.stdout)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as reply:
            health = json.load(reply)
        assert (health["status"], health["version"]) == ("ready", dermhub.__version__)
        assert set(health["models"]) == set(IN_WHEEL)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as reply:
            assert b"dermhub" in reply.read()
    finally:
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()
    assert not list((tmp_path / "empty").iterdir())
