"""Exports: the answers and maps of PyTorch, from a folder without weights and without PyTorch."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import dermhub
from dermhub import files, layout
from dermhub.errors import ConfigError, ModelError
from dermhub.images.decode import ImageInput
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.images.view import to_array
from dermhub.models import backbone, export
from dermhub.models.classifier import Classifier
from dermhub.models.engines import onnx_runtime
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from tests.support.tiny import Command, add_file, make_model

ROOT = Path(dermhub.__file__).parent.parent
Pair = tuple[Classifier, Classifier]


@pytest.fixture(
    scope="module",
    params=[("test_efficientnet", LESION), ("test_resnet", BINARY)],
    ids=lambda p: p[0],
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Load a model in PyTorch, and its export in ONNX Runtime. Read only."""
    architecture, task = request.param
    folder = tmp_path_factory.mktemp("exports")
    torch_model = Classifier(make_model(folder / "model", task, architecture))
    export.export(torch_model, folder / "model.onnx")
    return torch_model, dermhub.load(folder / "model.onnx")


def test_predictions_are_those_of_pytorch(pair: Pair) -> None:
    images: list[ImageInput | Photo] = [
        draw(seed, (60 + 7 * seed, 90 - 3 * seed), seed / 20) for seed in range(20)
    ]
    for mine, its in zip(*(model.predict(images) for model in pair), strict=True):
        assert list(mine.probabilities) == list(its.probabilities)
        assert list(its.probabilities.values()) == pytest.approx(
            list(mine.probabilities.values()), abs=1e-5
        )
        assert (mine.label, mine.malignant, mine.threshold) == (
            its.label,
            its.malignant,
            its.threshold,
        )
    assert len({prediction.malignancy for prediction in pair[1].predict(images)}) > 10


def test_class_maps_are_those_of_pytorch(pair: Pair, photo: Path) -> None:
    every = [model.explain_all(photo) for model in pair]
    assert list(every[0]) == list(every[1]) == list(pair[0].classes)
    for mine, its in zip(*(maps.values() for maps in every), strict=True):
        assert its.evidence.dtype == np.float32
        np.testing.assert_allclose(its.evidence, mine.evidence, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(its.heatmap, mine.heatmap, atol=1e-4)
    assert any(explanation.evidence.any() for explanation in every[1].values())


def test_contrast_is_that_of_pytorch(pair: Pair, photo: Path) -> None:
    first, second, *_ = pair[0].classes
    shown = 0
    for target, versus in ((first, second), (second, first)):
        mine, its = (model.explain(photo, target, versus) for model in pair)
        np.testing.assert_allclose(its.evidence, mine.evidence, rtol=1e-4, atol=1e-5)
        assert (its.target, its.versus) == (target, versus)
        shown += bool(its.evidence.any())
    assert shown


def test_maps_of_a_batch(pair: Pair) -> None:
    images = np.stack(
        [to_array(draw(seed, (64, 64), 0.5), pair[0].config.input) for seed in range(3)]
    )
    directions = np.eye(len(pair[0].classes), dtype=np.float32)[:2]
    mine, its = (
        classifier.engine.class_maps(classifier.engine.forward(images)[1], directions)
        for classifier in pair
    )
    assert its.shape == mine.shape
    np.testing.assert_allclose(its, mine, rtol=1e-4, atol=1e-5)


def test_everything_that_config_json_says_is_carried(pair: Pair) -> None:
    graph = {layout.GRAPH: files.sha256(pair[1].folder / layout.GRAPH)}
    assert pair[1].config == dataclasses.replace(pair[0].config, files=graph)
    assert (pair[1].name, pair[1].folder.name) == ("model", "model.onnx")


def test_the_file_is_what_the_documentation_says(pair: Pair) -> None:
    model = onnx.load(pair[1].folder / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    size = pair[0].config.input.size
    (images,) = model.graph.input
    assert [axis.dim_param or axis.dim_value for axis in images.type.tensor_type.shape.dim] == [
        "batch",
        3,
        size,
        size,
    ]
    assert [output.name for output in model.graph.output] == ["logits", "features"]
    assert all(
        output.type.tensor_type.shape.dim[0].dim_param == "batch" for output in model.graph.output
    )
    keys = {prop.key: prop.value for prop in model.metadata_props}
    assert keys == {"dermhub.weights": pair[0].config.weights_sha256}


def test_onnx_runtime_alone_runs_the_graph(pair: Pair) -> None:
    size = pair[0].config.input.size
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    session = onnx_runtime.module("The test").InferenceSession(pair[1].folder / "model.onnx")
    (logits,) = session.run(["logits"], {"images": images})
    np.testing.assert_array_equal(logits, pair[1].engine.forward(images)[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_twice_the_same_bytes(pair: Pair, tmp_path: Path) -> None:
    export.export(pair[0], tmp_path / "again.onnx")
    assert contents(tmp_path / "again.onnx") == contents(pair[1].folder)


def test_an_earlier_export_is_replaced(pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(pair[1].folder, tmp_path / "x.onnx")
    add_file(tmp_path / "x.onnx", "extra.safetensors", b"extra")
    (tmp_path / "link").symlink_to(tmp_path / "x.onnx")
    export.export(pair[0], tmp_path / "link")
    assert contents(tmp_path / "x.onnx") == contents(pair[1].folder)
    assert {path.name for path in tmp_path.iterdir()} == {"x.onnx", "link"}


def test_an_empty_folder_is_taken(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").mkdir()
    export.export(pair[0], tmp_path / "x.onnx")
    assert contents(tmp_path / "x.onnx") == contents(pair[1].folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"weights"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "config.json").unlink(),
    ],
)
def test_what_is_no_earlier_export_stays(
    pair: Pair, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    folder = Path(shutil.copytree(pair[1].folder, tmp_path / "x.onnx"))
    spoil(folder)
    before = contents(folder)
    with pytest.raises(
        ConfigError,
        match=r"x\.onnx holds something else than an earlier export: give another name for the "
        r"export, or remove it first\.$",
    ):
        export.export(pair[0], folder)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_not_overwritten(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"an older export")
    with pytest.raises(
        ConfigError, match=r"x\.onnx is a file, but an export is a folder: give ano"
    ):
        export.export(pair[0], tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_bytes() == b"an older export"


def test_an_earlier_export_stays_where_the_new_one_can_not_be_put(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(pair[1].folder, tmp_path / "x.onnx"))
    before, real = contents(folder), Path.rename

    def rename(path: Path, to: Path) -> Path:
        if path.name == "made":
            raise KeyboardInterrupt
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        export.export(pair[0], folder)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_files_that_come_during_the_export_stay(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(pair[1].folder, tmp_path / "x.onnx"))
    real = Path.rename

    def rename(path: Path, to: Path) -> Path:
        if path == folder:
            (folder / "notes.txt").write_text("mine")
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ConfigError, match=r"x\.onnx holds something else than an earlier export"):
        export.export(pair[0], folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [folder]


def test_files_beside_the_weights_are_carried(tiny_lesion_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_lesion_model, tmp_path / "model")
    content = bytes(range(256))
    add_file(folder, "extra.safetensors", content)
    export.export(Classifier(folder), tmp_path / "model.onnx")
    assert ModelFolder(tmp_path / "model.onnx").read("extra.safetensors") == content
    assert list(Classifier(tmp_path / "model.onnx").config.files) == [
        "extra.safetensors",
        "model.onnx",
    ]


def test_command_line(
    tiny_lesion_model: Path, tmp_path: Path, photo: Path, command: Command
) -> None:
    file = tmp_path / "new" / "tiny.onnx"
    code, out, error = command("export", "--model", tiny_lesion_model, "--to", file)
    assert (code, error) == (0, "")
    assert re.fullmatch(
        rf"{file}: tiny-lesion, \d\.\d MB, at most \de-\d\d from PyTorch \(accepted: 1e-04\)\n", out
    )
    assert list(file.parent.iterdir()) == [file]
    rows = []
    for model in (tiny_lesion_model, file):
        code, out, error = command(
            "predict", photo, "--model", model, "--format", "json", "--explain", tmp_path / "m"
        )
        assert (code, error) == (0, "")
        rows.append(json.loads(out)[0])
    assert rows[0]["label"] == rows[1]["label"]
    assert rows[0]["malignancy"] == pytest.approx(rows[1]["malignancy"], abs=1e-5)


def test_evaluate_takes_an_export(pair: Pair, tiny_data: Path, command: Command) -> None:
    labels = tiny_data / "tiny_metadata.csv"
    answers = []
    for model in pair:
        code, out, _ = command(
            "evaluate", "--model", model.folder, "--images", tiny_data, "--labels", labels
        )
        assert code == 0
        answers.append(json.loads(out))
    assert answers[0]["n"] == answers[1]["n"] == 49
    assert answers[0]["accuracy"] == answers[1]["accuracy"]
    assert answers[0]["nll"] == pytest.approx(answers[1]["nll"], abs=1e-5)


def test_head_with_more_than_a_mean_is_refused_by_name(tmp_path: Path, command: Command) -> None:
    folder = make_model(tmp_path / "model", BINARY, "test_convnext")
    code, out, error = command("export", "--model", folder, "--to", tmp_path / "x.onnx")
    assert (code, out) == (2, "")
    assert error == (
        "dermhub: test_convnext ends in more than global average pooling and one linear layer, "
        "from which an ONNX model makes its class maps: it can't be exported.\n"
    )
    assert not (tmp_path / "x.onnx").exists()


def test_an_export_can_not_be_exported(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"model\.onnx is an export already: export the model's own folder\.$"
    ):
        export.export(pair[1], tmp_path / "x.onnx")


@pytest.mark.parametrize("name", ["model", "model.pt", "onnx", "model.onnx.zip"])
def test_any_name_will_do(pair: Pair, tmp_path: Path, name: str) -> None:
    export.export(pair[0], tmp_path / name)
    assert contents(tmp_path / name) == contents(pair[1].folder)
    assert dermhub.load(tmp_path / name).name == name


def test_folder_that_can_not_be_written(pair: Pair, photo: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be written"):
        export.export(pair[0], photo / "x.onnx")


def test_without_onnx_nothing_is_loaded(
    tiny_lesion_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    loaded: list[object] = []
    monkeypatch.setattr("dermhub.models.classifier.load", loaded.append)
    code, out, err = command("export", "--model", tiny_lesion_model, "--to", tmp_path / "out")
    assert (code, out, loaded) == (2, "", [])
    assert err.startswith("dermhub: The export needs the package onnx, which can't be imported (")


def test_without_onnx(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        ConfigError,
        match=r"^The export needs the package onnx, .*: pip install onnx onnxruntime\.$",
    ):
        export.export(pair[0], tmp_path / "x.onnx")


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_a_graph_that_answers_otherwise_is_not_written(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    # The traced graph is another one than that which answers.
    real = backbone.features
    calls: list[int] = []

    def other(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return real(model, images) * (factor if torch.onnx.is_in_onnx_export() else 1.0)

    monkeypatch.setattr(backbone, "features", other)
    with pytest.raises(
        ModelError,
        match=r"^The ONNX model of \w+ differs from PyTorch by (\d|nan).*: nothing was written\.$",
    ):
        export.export(pair[0], tmp_path / "x.onnx")
    assert calls
    assert not list(tmp_path.iterdir())


def test_pytorch_is_not_touched(pair: Pair, photo: Path) -> None:
    # The slow test below has an environment without these; here they are only out of reach.
    absent = (
        "torch",
        "timm",
        "pandas",
        "safetensors",
        "onnx",
        "huggingface_hub",
        "matplotlib",
        "yaml",
    )
    code = (
        f"import sys; sys.modules |= dict.fromkeys({absent}); import dermhub; model = "
        f"dermhub.load({str(pair[1].folder)!r}); print(model.predict({str(photo)!r}).label); "
        f"model.explain_all({str(photo)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (pair[1].predict(photo).label, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(dermhub.shipped()))
def test_shipped_models(name: str, tmp_path: Path) -> None:
    mine = dermhub.load(name, runtime="torch")
    assert export.export(mine, tmp_path / "model.onnx") <= 1e-5
    its = dermhub.load(tmp_path / "model.onnx")
    for seed in range(6):
        image = draw(seed, (600, 450), seed / 5)
        expected, other = (model.explain_all(image) for model in (mine, its))
        for a, b in zip(expected.values(), other.values(), strict=True):
            probabilities = [list(e.prediction.probabilities.values()) for e in (a, b)]
            assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)
            np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-4)


ALONE = """
import importlib.util, sys
import dermhub
heavy = ("torch", "timm", "pandas", "safetensors", "onnx")
present = [name for name in heavy if importlib.util.find_spec(name)]
assert not present, present
model = dermhub.load("model.onnx")
explanation = model.explain("photo.png")
explanation.overlay.save("map.png")
model.explain("photo.png", *model.classes[:2]).heatmap
print(*explanation.prediction.probabilities.values())
"""


@pytest.mark.slow
def test_an_environment_without_pytorch(tmp_path: Path) -> None:
    """Install what an export needs into a fresh environment, and predict and explain there.

    That is the package's requirements without the hub's client. Run with -s to see its size.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [line for line in project["dependencies"] if "huggingface" not in line]
    assert len(needed) == 3
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run([python, "-m", "pip", "install", *quiet, *needed], check=True)
    shutil.copytree(
        ROOT / "dermhub", tmp_path / "dermhub", ignore=shutil.ignore_patterns("__pycache__")
    )
    image = draw(3, (600, 450), 0.8)
    image.save(tmp_path / "photo.png")
    name = sorted(dermhub.shipped())[-1]
    model = dermhub.load(name)
    export.export(model, tmp_path / "model.onnx")

    def run(*arguments: str) -> str:
        command = [str(python), "-W", "error", *arguments]
        clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(
            command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
        )
        return str(done.stdout)

    numbers = [float(value) for value in run("-c", ALONE).split()]
    assert numbers == pytest.approx(list(model.predict(image).probabilities.values()), abs=1e-5)
    assert (tmp_path / "map.png").stat().st_size > 1000
    table = run(
        "-m", "dermhub", "predict", "photo.png", "--model", "model.onnx", "--explain", "maps"
    )
    assert model.predict(image).label in table
    assert (tmp_path / "maps/photo-map.png").is_file()
    size = (
        sum(path.stat().st_size for path in (tmp_path / "venv").rglob("*") if path.is_file()) / 1e6
    )
    print(f"\n{size:.0f} MB, {name}:\n{table}")
    assert size < 500
