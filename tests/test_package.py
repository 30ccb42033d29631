"""The package as a whole: what it offers, what an import costs, and which module may import which."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dermhub
from dermhub import errors

FOLDER = Path(dermhub.__file__).parent

LAYERS = (
    {"labels", "errors", "signatures", "bombs", "concern"},
    {"files", "catalog"},
    {"config", "train_config", "metrics", "drawings", "kaggle"}
    | {"card_text", "hub_errors", "hub_session", "tensors", "journal", "progress"},
    {"partition", "preprocess", "calibration", "conformal", "backbone", "breakdown", "losses", "card_results", "hub"}
    | {"distributed", "engine", "card_parity", "skin", "gate", "lesion_mask", "depthwise"},
    {"augment", "fold", "gradcam", "checkpoint", "figures", "locate", "space", "cox", "retest"}
    | {"seen", "scores", "traits", "card_more", "card_training", "onnx_format", "quality"},
    {"prediction"},
    {"card_maps"},
    {"cards"},
    {"summary"},
    {"external", "map_quality"},
    {"verify"},
    {"engine_torch"},
    {"engine_onnx"},
    {"data", "classifier", "checklist", "overlap", "merge"},
    {"cost", "rows", "extra", "sharper", "teacher", "export"},
    {"training", "soup"},
    {"passes", "lint", "archive"},
    {"refit", "sources", "replay", "cascade"},
    {"map_masks"},
    {"measure"},
    {"evaluation"},
    {"hub_commands", "card_commands", "folder_commands"},
    {"__init__", "__main__"},
)
"""A module imports from layers above its own in this list alone, also inside functions and for types."""

LAYER = {module: number for number, layer in enumerate(LAYERS) for module in layer}

ONLY_IN = {
    "timm": {"backbone"},
    "kagglehub": {"kaggle"},
    "matplotlib": {"figures"},
    "yaml": {"card_text", "space"},
    "tqdm": {"training"},
    "importlib": {"__init__"},
    "onnx": {"export"},
    "onnxruntime": {"engine_onnx"},
    "gradio": set(),
    "huggingface_hub": {"hub"},
    "pyarrow": {"scores"},
    "torchvision": {"augment"},
    "sklearn": set(),
}
"""Libraries that one module wraps for all others, or that only the demo and the tests use."""

HEAVY = {"torch", "timm", "numpy", "pandas", "PIL", "safetensors", "matplotlib", "gradio", "kagglehub", "yaml", "tqdm"}
HEAVY |= {"huggingface_hub", "pyarrow"}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of every module of the package."""
    return {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("**/*.py"))}


def imported(tree: ast.AST) -> Iterator[str]:
    """The full name of everything that is imported anywhere in a module: at its top, in functions, for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.AST) -> set[str]:
    """The modules of the package that a module imports; `__init__` for the bare package and its own names."""
    names = [name.split(".") for name in imported(tree) if name.split(".")[0] == "dermhub"]
    return {parts[1] if len(parts) > 1 and parts[1] in LAYER else "__init__" for parts in names}


def run(code: str) -> str:
    """What a fresh interpreter prints, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    assert done.stderr == ""
    return done.stdout


def test_import_costs_nothing() -> None:
    code = "import sys, dermhub; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(run(code).split())
    assert "dermhub" in loaded
    assert not loaded & HEAVY
    assert run("import sys, dermhub; print(*(n for n in sys.modules if n.startswith('dermhub')))") == "dermhub\n"


def test_labels_errors_and_options_are_light() -> None:
    code = (
        "import sys, dermhub; dermhub.LESION, dermhub.ModelError, dermhub.TrainConfig, dermhub.shipped; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    assert not set(run(code).split()) & HEAVY


def test_a_classifier_without_a_model_costs_no_torch() -> None:
    code = "import sys, dermhub.classifier; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    assert set(run(code).split()) & HEAVY == {"numpy", "PIL"}


def test_every_offered_name_is_there() -> None:
    for name in dermhub.__all__:
        assert getattr(dermhub, name) is not None, name
    found: dict[str, object] = {}
    exec("from dermhub import *", found)
    assert set(dermhub.__all__) <= set(found)


def test_offered_names_are_the_same_list_four_times() -> None:
    homes = {name for names in dermhub._HOMES.values() for name in names}
    assert sorted(homes | {"__version__"}) == sorted(dermhub.__all__)
    assert len(dermhub.__all__) == len(set(dermhub.__all__))
    guarded = next(node for node in modules()["__init__"].body if isinstance(node, ast.If))
    expected = {f"dermhub.{home}.{name}" for home, names in dermhub._HOMES.items() for name in names}
    assert set(imported(guarded)) == expected


def test_offered_names_are_those_of_their_modules() -> None:
    for home, names in dermhub._HOMES.items():
        for name in names:
            assert getattr(dermhub, name) is getattr(importlib.import_module(f"dermhub.{home}"), name)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'dermhub' has no attribute 'laod'$"):
        _ = dermhub.laod
    assert not hasattr(dermhub, "_private")
    with pytest.raises(ImportError, match=r"laod"):
        exec("from dermhub import laod", {})


def test_every_module_has_its_layer() -> None:
    assert set(modules()) == set(LAYER)


@pytest.mark.parametrize("module", sorted(LAYER))
def test_imports_go_strictly_downwards(module: str) -> None:
    upwards = {name for name in own_imports(modules()[module]) if LAYER[name] >= LAYER[module]}
    assert not upwards


def test_layers_see_imports_of_every_kind() -> None:
    # Guards the test above: a reader of imports that finds none would let everything pass.
    tree = ast.parse(
        "import dermhub.labels\nfrom dermhub import files, __version__\nfrom dermhub.config import InputSpec\n"
        "if TYPE_CHECKING:\n    from dermhub.data import read_table\ndef f():\n    from dermhub import backbone\n"
    )
    assert own_imports(tree) == {"labels", "files", "__init__", "config", "data", "backbone"}


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_library_is_imported_where_it_belongs(library: str) -> None:
    users = {module for module, tree in modules().items() if any(n.split(".")[0] == library for n in imported(tree))}
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("module", sorted(LAYERS[0] | LAYERS[1]))
def test_lowest_layers_do_without_torch(module: str) -> None:
    libraries = {name.split(".")[0] for name in imported(modules()[module])}
    assert not libraries & {"torch", "timm", "safetensors"}


def public(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Every public class, function and method of a module, with its name; overloads have their function's."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list):
                yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}.{node.name}")


def test_everything_public_says_what_it_does() -> None:
    found = {name: node for module, tree in modules().items() for name, node in public(tree, module)}
    assert {"classifier.Classifier.predict", "preprocess.to_rgb", "errors.suggest"} <= set(found)
    assert [name for name, node in found.items() if not ast.get_docstring(node)] == []  # type: ignore[arg-type]
    assert [name for name, tree in modules().items() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("name", ["ImageError", "DataError", "LeakError", "ModelError", "ConfigError"])
def test_bad_input_is_a_value_error(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.DermhubError)
    assert issubclass(getattr(errors, name), ValueError)


def test_error_tree() -> None:
    assert issubclass(errors.LeakError, errors.DataError)
    assert issubclass(errors.DownloadError, errors.DermhubError)
    assert issubclass(errors.DownloadError, OSError)
    for name in ("ImageError", "DataError", "ModelError", "ConfigError", "DownloadError"):
        assert f"-- {name} " in (errors.__doc__ or "")


def test_suggestion_and_short_lists() -> None:
    assert errors.suggest("lesoin", ["binary", "lesion"]) == " Did you mean 'lesion'?"
    assert errors.suggest("zzz", ["binary", "lesion"]) == errors.suggest("lesion", []) == ""
    assert errors.some([1, 2, 3]) == "1, 2, 3"
    assert errors.some(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert errors.some([]) == ""
