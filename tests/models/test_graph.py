"""The graph beside the weights: it answers where ONNX Runtime is installed and it is whole."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import dermhub
from dermhub import files, layout
from dermhub.errors import ConfigError, ModelError
from dermhub.images.drawn_lesions import draw
from dermhub.models import export, weights
from dermhub.models.beside import files as beside_files
from dermhub.models.classifier import Classifier
from dermhub.models.engines import onnx_runtime, select
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.release import sidecars
from dermhub.tasks import BINARY, LESION
from tests.support.tiny import Command, add_file, add_graph, add_old_graph, make_model

GRAPH = layout.GRAPH


@pytest.fixture(scope="module")
def whole(tiny_lesion_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model folder with a graph. Read only."""
    folder = shutil.copytree(tiny_lesion_model, tmp_path_factory.mktemp("graph") / "model")
    return add_graph(folder)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        Classifier(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_both_runtimes_answer_and_explain_alike(whole: Path) -> None:
    mine, its = Classifier(whole, runtime="torch"), Classifier(whole)
    assert (type(mine.engine), type(its.engine)) == (TorchEngine, OnnxEngine)
    assert (mine.config, mine.name) == (its.config, its.name)
    for seed in range(4):
        pairs = [
            classifier.explain_pairs(draw(seed, (72, 64), seed / 4)) for classifier in (mine, its)
        ]
        for key, explanation in pairs[0].items():
            other = pairs[1][key]
            probabilities = [
                list(e.prediction.probabilities.values()) for e in (explanation, other)
            ]
            assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)
            np.testing.assert_allclose(explanation.evidence, other.evidence, atol=1e-5)
            assert explanation.prediction.label == other.prediction.label


def test_a_trained_model_has_one(finished_run: Path) -> None:
    folder = finished_run / "model"
    assert ModelFolder(folder).config.files[GRAPH] == files.sha256(folder / GRAPH)
    assert type(dermhub.load(folder).engine) is OnnxEngine
    assert type(dermhub.load(folder, runtime="onnx").engine) is OnnxEngine
    assert type(dermhub.load(folder, runtime="torch").engine) is TorchEngine


def test_answers_import_no_pytorch(whole: Path, photo: Path) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'timm', 'onnx')); import dermhub; "
        f"model = dermhub.load({str(whole)!r}); print(model.predict({str(photo)!r}).label); "
        f"model.explain_all({str(photo)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (Classifier(whole).predict(photo).label, "")


def test_a_gpu_is_asked_for_without_pytorch(whole: Path) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'timm')); import dermhub\n"
        f"try: dermhub.load({str(whole)!r}, device='cuda')\n"
        "except dermhub.ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "The device is 'cuda', which needs torch (pip install -r requirements.txt) or, for a model "
        "with a model.onnx, onnxruntime-gpu in place of onnxruntime. Without device='cuda' the "
        "model computes on the processor.\n"
    )


def test_answers_leave_nothing_behind_and_tell_nobody(
    whole: Path, photo: Path, tmp_path: Path
) -> None:
    # ONNX Runtime's own telemetry writes an id and a journal into the home folder (not where CI is
    # set).
    code = f"import dermhub; dermhub.load({str(whole)!r}).predict({str(photo)!r})"
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "ORT_DISABLE_TELEMETRY")
    }
    subprocess.run([sys.executable, "-c", code], env={**environment, **places}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_torch_module_is_there_when_asked_for(whole: Path) -> None:
    classifier = Classifier(whole)
    assert classifier.model is classifier.model
    state, expected = classifier.model.state_dict(), weights.load(whole)[0].state_dict()
    assert all((state[name] == tensor).all() for name, tensor in expected.items())


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, lambda classifier: pickle.loads(pickle.dumps(classifier))],
    ids=["copy", "pickle"],
)
def test_a_copy_answers_the_same(
    whole: Path, photo: Path, again: Callable[[Classifier], Classifier]
) -> None:
    classifier = Classifier(whole)
    other = again(classifier)
    assert type(other.engine) is OnnxEngine
    assert other.predict(photo) == classifier.predict(photo)


def test_a_copy_needs_no_folder(folder: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    export.export(Classifier(folder), Path("x.onnx"))
    saved = [pickle.dumps(Classifier(name)) for name in (folder.name, "x.onnx")]
    expected = Classifier(folder).predict(photo)
    shutil.rmtree(folder)
    shutil.rmtree("x.onnx")
    monkeypatch.chdir("/")
    assert [pickle.loads(content).predict(photo) for content in saved] == [expected] * 2


def test_the_torch_module_of_a_relative_folder_made_in_inference_mode(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.parent)
    classifier = Classifier(whole.name)
    monkeypatch.chdir("/")
    with torch.inference_mode():
        model = classifier.model
    model(torch.zeros(1, 3, 64, 64)).sum().backward()


def test_without_onnx_runtime_pytorch_answers(
    whole: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Classifier(whole, runtime="torch").predict(photo)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    classifier = Classifier(whole)
    assert type(classifier.engine) is TorchEngine
    assert classifier.predict(photo) == expected
    with pytest.raises(
        ConfigError,
        match=r"model can't be run by ONNX Runtime: it needs the package onnxruntime and a "
        r"model\.onnx",
    ):
        Classifier(whole, runtime="onnx")


def test_runtimes_that_can_not_run_it(whole: Path, tiny_lesion_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^The runtime is 'tpu', expected auto, torch, onnx\.$"):
        dermhub.load(whole, runtime="tpu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="can't be run by ONNX Runtime"):
        dermhub.load(tiny_lesion_model, runtime="onnx")
    with pytest.raises(
        ModelError, match=r"nowhere is not a model folder: it has no config\.json\.$"
    ):
        Classifier(tmp_path / "nowhere", runtime="onnx")
    single = tmp_path / "single.onnx"
    single.write_bytes((whole / GRAPH).read_bytes())
    with pytest.raises(
        ModelError,
        match=r"single\.onnx is a single ONNX file, but an exported model is a folder: give the",
    ):
        dermhub.load(single)
    # The graph in a model folder stands for the folder.
    assert dermhub.load(whole / GRAPH).folder == whole
    export.export(Classifier(whole), tmp_path / "x.onnx")
    with pytest.raises(
        ConfigError,
        match=r"x\.onnx is an exported model without model\.safetensors, which PyTorch can't run: ",
    ):
        dermhub.load(tmp_path / "x.onnx", runtime="torch")


def test_an_export_carries_the_graph_with_its_weights(whole: Path, tmp_path: Path) -> None:
    export.export(Classifier(whole), tmp_path / "x")
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"config.json", GRAPH}
    graph = (tmp_path / "x" / GRAPH).read_bytes()
    assert (tmp_path / "x" / GRAPH).stat().st_size > (whole / layout.WEIGHTS).stat().st_size
    assert graph == onnx_runtime.with_weights(
        (whole / GRAPH).read_bytes(), (whole / layout.WEIGHTS).read_bytes(), GRAPH
    )
    assert ModelFolder(tmp_path / "x").config == dataclasses.replace(
        ModelFolder(whole).config, files={GRAPH: files.sha256(tmp_path / "x" / GRAPH)}
    )


def test_weights_lie_in_the_folder_once(whole: Path) -> None:
    model = onnx.load(whole / GRAPH, load_external_data=False)
    own = [each for each in model.graph.initializer if not each.external_data]
    assert own == []
    # ONNX Runtime alone, and every other reader of ONNX, takes them from the file beside it.
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64), np.float32)
    session = onnx_runtime.module("The test").InferenceSession(whole / GRAPH)
    (logits,) = session.run(["logits"], {"images": images})
    np.testing.assert_array_equal(logits, Classifier(whole).engine.forward(images)[0])


def test_weights_in_half_precision_answer_alike(tmp_path: Path, photo: Path) -> None:
    folder = make_model(tmp_path / "model", LESION)
    model, config = weights.load(folder)
    weights.round_half(model)
    weights.save(folder, model, config, half=True)
    mine, its = Classifier(folder, runtime="torch"), Classifier(add_graph(folder))
    assert type(its.engine) is OnnxEngine
    for a, b in zip(*(each.explain_all(photo).values() for each in (mine, its)), strict=True):
        assert b.prediction.probabilities == pytest.approx(a.prediction.probabilities, abs=1e-5)
        np.testing.assert_allclose(b.evidence, a.evidence, atol=1e-5)
    # An export holds the same bytes, and nothing in float32 beside them.
    export.export(its, tmp_path / "x")
    size = (folder / layout.WEIGHTS).stat().st_size + (folder / GRAPH).stat().st_size
    assert (tmp_path / "x" / GRAPH).stat().st_size < size
    assert Classifier(tmp_path / "x").predict(photo) == its.predict(photo)


def test_a_graph_of_an_earlier_version_answers_alike(
    tiny_lesion_model: Path, tmp_path: Path, photo: Path
) -> None:
    folder = add_old_graph(Path(shutil.copytree(tiny_lesion_model, tmp_path / "model")))
    expected = Classifier(folder, runtime="torch").predict(photo).probabilities
    old = Classifier(folder)
    assert type(old.engine) is OnnxEngine
    assert old.predict(photo).probabilities == pytest.approx(expected, abs=1e-5)
    export.export(old, tmp_path / "x")
    assert (tmp_path / "x" / GRAPH).read_bytes() == (folder / GRAPH).read_bytes()
    assert Classifier(tmp_path / "x").predict(photo) == old.predict(photo)
    # Of other weights with the right hash in its metadata: found by its values.
    before = ModelFolder(folder).config.weights_sha256
    other = add_old_graph(make_model(tmp_path / "other", BINARY))
    after = ModelFolder(other).config.weights_sha256
    graph = (other / GRAPH).read_bytes().replace(after.encode(), before.encode())
    add_file(folder, GRAPH, graph)
    assert "is not the graph of model.safetensors (it" in refusal(folder)


@pytest.mark.parametrize("length", [0, 10, 5000])
def test_a_graph_that_was_cut_short(folder: Path, length: int) -> None:
    content = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(content[:length])
    assert "model.onnx has the sha256" in refusal(folder)
    assert refusal(folder).endswith(
        "the file was changed or damaged; fetch or copy the model again."
    )
    # PyTorch does not need it, but the folder is not the one that was measured.
    with pytest.raises(ModelError, match=r"model\.onnx has the sha256"):
        Classifier(folder, runtime="torch")


def test_one_flipped_bit(folder: Path) -> None:
    content = bytearray((folder / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / GRAPH).write_bytes(content)
    assert "model.onnx has the sha256" in refusal(folder)


def test_a_graph_that_is_not_there(folder: Path) -> None:
    (folder / GRAPH).unlink()
    assert "model.onnx can't be read (No such file or directory): " in refusal(folder)


def test_a_graph_of_other_weights(folder: Path, whole: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", LESION, "test_resnet")
    add_graph(other)
    content = (other / GRAPH).read_bytes()
    add_file(folder, GRAPH, content)
    assert refusal(folder) == (
        f"{folder / GRAPH} is no ONNX model that ONNX Runtime can read (its weights lie in another "
        "file, or elsewhere in model.safetensors): copy it again, or export the model again."
    )
    # The graph of another training of the same network.
    graph = onnx.load_model_from_string(ModelFolder(whole).read(GRAPH))
    graph.metadata_props[0].value = "1" * 64
    add_file(folder, GRAPH, graph.SerializeToString())
    assert refusal(folder) == (
        f"{folder / GRAPH} was not made from the weights that config.json names: measure, export "
        "or fetch the model again."
    )


def test_a_graph_of_somebody_else(folder: Path) -> None:
    model = onnx.load_model_from_string((folder / GRAPH).read_bytes())
    del model.metadata_props[:]
    add_file(folder, GRAPH, model.SerializeToString())
    assert "was not made from the weights that config.json names" in refusal(folder)
    add_file(folder, GRAPH, b"text")
    assert "is no ONNX model that ONNX Runtime can read (" in refusal(folder)


def test_a_graph_that_does_not_fit_the_configuration(folder: Path) -> None:
    config = ModelFolder(folder).config
    wider = dataclasses.replace(config, input=dataclasses.replace(config.input, size=80))
    files.write_json(folder / "config.json", wider.to_json())
    assert "model.onnx has a graph with " in refusal(folder)


def test_damaged_weights_are_told_as_ever(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert "model.safetensors has the sha256" in refusal(folder)
    with pytest.raises(ModelError, match=r"model\.safetensors has the sha256"):
        Classifier(folder, runtime="onnx")


def test_without_the_weights_there_is_no_answer(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    sentence = (
        f"{folder} has no model.safetensors, from which its model.onnx takes the weights: it was "
        "not copied whole. Copy or fetch the whole model folder."
    )
    assert refusal(folder) == sentence
    with pytest.raises(ModelError) as raised:
        beside_files.check(folder)
    assert str(raised.value) == sentence
    with pytest.raises(ConfigError, match=r"without model\.safetensors, which PyTorch can't run"):
        Classifier(folder, runtime="torch")
    with pytest.raises(ModelError, match=r"has no model\.safetensors, which PyTorch needs: it is"):
        weights.load(folder)


def test_a_graph_of_an_earlier_version_needs_no_weights(
    tiny_lesion_model: Path, tmp_path: Path, photo: Path
) -> None:
    folder = add_old_graph(Path(shutil.copytree(tiny_lesion_model, tmp_path / "model")))
    expected = Classifier(folder).predict(photo)
    (folder / "model.safetensors").unlink()
    assert Classifier(folder).predict(photo) == expected


def remake(folder: Path) -> ModelFolder:
    """Make the graph of a folder again, as measuring does."""
    model = sidecars.clear(ModelFolder(folder))
    return sidecars.write(model, model.config, {}, sidecars.graph(select.load_torch(model)))


def test_measuring_again_makes_it_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / GRAPH).read_bytes()
    add_file(folder, GRAPH, b"stale")
    remake(folder)
    assert (folder / GRAPH).read_bytes() == before
    assert type(Classifier(folder).engine) is OnnxEngine
    # Without the package onnx the folder is whole as well, and PyTorch answers.
    monkeypatch.setattr(export, "installed", lambda: False)
    remake(folder)
    assert not (folder / GRAPH).exists()
    assert type(Classifier(folder).engine) is TorchEngine


def test_a_model_that_gets_none(tmp_path: Path) -> None:
    # A norm behind the pooling, so that no class map can be made in closed form.
    deep = make_model(tmp_path / "deep", LESION, "test_convnext")
    assert export.graph(TorchEngine(ModelFolder(deep))) is None


def test_a_graph_that_answers_otherwise_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(export, "LIMIT", -1.0)
    with pytest.raises(ModelError, match=r"differs from PyTorch by .*: nothing was written\.$"):
        export.graph(TorchEngine(ModelFolder(folder)))
    code, _, error = command("export", "--model", folder, "--to", folder / "x.onnx")
    assert (code, (folder / "x.onnx").exists()) == (2, False)
    assert error.count("\n") == 1


def test_an_export_onto_the_graph_itself(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.onnx is a file, but an export is a folder: "):
        export.export(Classifier(folder), folder / "." / GRAPH)
    with pytest.raises(ConfigError, match=r"model holds something else than an earlier export: "):
        export.export(Classifier(folder), folder)
    assert type(Classifier(folder).engine) is OnnxEngine


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, -1.0])
def test_a_graph_that_can_not_be_made_costs_no_model(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: float | None,
) -> None:
    # Written wrongly, and not written at all: torch's exporter knows no operator of the 0th set.
    monkeypatch.setattr(export, "LIMIT" if limit else "OPSET", limit or 0)
    remake(folder)
    assert type(Classifier(folder).engine) is TorchEngine
    messages = capsys.readouterr().err
    assert messages.startswith(f"{folder} gets no model.onnx, and PyTorch answers instead: ")
    assert messages.count("\n") == 1


@pytest.mark.parametrize(
    "threads", ["1", "0", pytest.param("99999999999", marks=pytest.mark.slow), "x"]
)
def test_any_number_of_threads(
    whole: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    expected = Classifier(whole).predict(photo)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert Classifier(whole).predict(photo).malignancy == pytest.approx(
        expected.malignancy, abs=1e-5
    )


def test_a_damaged_onnx_runtime_is_none(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    assert type(Classifier(whole).engine) is TorchEngine


def test_installed_tells_of_a_missing_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert onnx_runtime.installed()
    assert export.installed()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not onnx_runtime.installed()
    assert not export.installed()
