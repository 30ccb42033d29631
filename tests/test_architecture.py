"""The package as a whole: its names, the cost of an import, and the order of its rooms."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dermhub
from dermhub import errors
from tests.support.imports import imported

FOLDER = Path(dermhub.__file__).parent

ROOMS = (
    *("", "images", "hub", "models", "data", "evaluation"),
    *("cards", "training", "scoring", "release", "cli"),
)
"""The rooms from the ground up; "" stands for the files that lie in dermhub/ itself.

A module imports from its own room and from rooms before it alone, also inside functions and for
types.
"""

APART = {("hub", "images"), ("scoring", "training")}
"""Rooms on one floor: the first knows nothing of the second either."""

MOST = 12
"""Modules that a room holds at most."""

ONLY_IN = {
    "timm": {"models.backbone"},
    "kagglehub": {"data.kaggle"},
    "matplotlib": {"evaluation.plots"},
    "yaml": {"cards.render", "release.space"},
    "jinja2": {"cards.render"},
    "tqdm": {"training.fit", "scoring.image_folder"},
    "importlib": {"__init__"},
    "onnx": {"models.export"},
    "onnxruntime": {"models.engines.onnx_runtime"},
    "filelock": {"training.lock"},
    "gradio": set(),
    "huggingface_hub": {"hub.client", "hub.errors"},
    "httpx2": {"hub.errors"},
    "pyarrow": {"scoring.results"},
    "torchvision": set(),
    "sklearn": set(),
    "pydicom": {"images.optional.dicom"},
    "pillow_heif": {"images.optional.heif"},
}
"""Libraries that one module wraps for all others, or that only the demo and the tests use."""

WITHOUT_TORCH = ("", "images", "hub", "evaluation", "cards", "scoring")
"""Rooms whose modules never import PyTorch."""

TORCH_IN_DATA = {"data.datasets", "data.handover", "data.augment"}
"""Of the data's room, the modules that may import PyTorch; all others read images without it."""

TORCH_IN_MODELS = {"backbone", "weights", "export", "engines.pytorch", "engines.fused"}
TORCH_IN_MODELS |= {"classifier", "engines.select"}
"""Of the models' room, the modules that may import PyTorch; all others answer without it."""

WITHOUT_PANDAS = ("", "images", "hub", "models")
"""Rooms that a light installation needs, which has no pandas."""

PANDAS_WHEN_ASKED = {"models.prediction"}
"""Their modules with a function that hands out a pandas table, or says that pandas is missing."""

HEAVY = {"torch", "timm", "numpy", "pandas", "PIL", "safetensors", "matplotlib", "gradio"}
HEAVY |= {"kagglehub", "yaml", "jinja2", "tqdm", "huggingface_hub", "httpx2", "pyarrow"}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of every module of the package, by its name below dermhub."""
    trees = {}
    for path in sorted(FOLDER.glob("**/*.py")):
        name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def room(module: str) -> str:
    """The room of a module, "" for one that lies in dermhub/ itself."""
    return module.partition(".")[0] if "." in module else ""


def own_imports(tree: ast.AST) -> set[str]:
    """The modules of the package that a module imports; `__init__` for the package's own names."""
    names = set()
    for name in imported(tree):
        if name.partition(".")[0] != "dermhub":
            continue
        inner = name.removeprefix("dermhub").removeprefix(".")
        if inner not in modules():
            inner = inner.rpartition(".")[0]  # a name in a module
        names.add(inner or "__init__")
    return names


def run(code: str) -> str:
    """Run code in a fresh interpreter, with warnings as errors; returns its output."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    assert done.stderr == ""
    return done.stdout


def test_import_costs_nothing() -> None:
    code = "import sys, dermhub; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(run(code).split())
    assert "dermhub" in loaded
    assert not loaded & HEAVY
    assert (
        run("import sys, dermhub; print(*(n for n in sys.modules if n.startswith('dermhub')))")
        == "dermhub\n"
    )


@pytest.mark.slow
def test_many_images_are_run_without_torch() -> None:
    code = (
        "import sys, dermhub.scoring.evaluate, dermhub.scoring.image_folder, "
        "dermhub.scoring.inference, dermhub.release.verify; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    assert not set(run(code).split()) & {"torch", "torchvision", "timm", "safetensors"}


def test_labels_errors_and_options_are_light() -> None:
    code = (
        "import sys, dermhub; dermhub.LESION, dermhub.ModelError, dermhub.TrainConfig, "
        "dermhub.shipped; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    assert not set(run(code).split()) & HEAVY


def test_a_classifier_without_a_model_costs_no_torch() -> None:
    code = (
        "import sys, dermhub.models.classifier; print(*sorted({name.split('.')[0] for name in "
        "sys.modules}))"
    )
    assert set(run(code).split()) & HEAVY == {"numpy", "PIL"}


def test_every_offered_name_is_there() -> None:
    for name in dermhub.__all__:
        assert getattr(dermhub, name) is not None, name
    namespace: dict[str, object] = {}
    exec("from dermhub import *", namespace)
    assert set(dermhub.__all__) <= set(namespace)


def test_offered_names_are_the_same_list_four_times() -> None:
    homes = {name for names in dermhub._HOMES.values() for name in names}
    assert sorted(homes | {"__version__"}) == sorted(dermhub.__all__)
    assert len(dermhub.__all__) == len(set(dermhub.__all__))
    guarded = next(node for node in modules()["__init__"].body if isinstance(node, ast.If))
    expected = {
        f"dermhub.{home}.{name}" for home, names in dermhub._HOMES.items() for name in names
    }
    assert set(imported(guarded)) == expected


def test_offered_names_are_those_of_their_modules() -> None:
    for home, names in dermhub._HOMES.items():
        for name in names:
            assert getattr(dermhub, name) is getattr(
                importlib.import_module(f"dermhub.{home}"), name
            )


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'dermhub' has no attribute 'laod'$"):
        _ = dermhub.laod
    assert not hasattr(dermhub, "_private")
    with pytest.raises(ImportError, match=r"laod"):
        exec("from dermhub import laod", {})


def inner_modules() -> list[str]:
    """All modules but the public face and the entry of `python -m dermhub`."""
    return [name for name in modules() if name not in ("__init__", "__main__")]


def test_every_module_has_its_room() -> None:
    assert {room(name) for name in modules()} == set(ROOMS)
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} - {"__pycache__"} == set(
        ROOMS[1:]
    )


def test_no_room_is_crowded() -> None:
    assert len([name for name in modules() if not room(name)]) <= MOST
    folders = [path.parent for path in FOLDER.glob("*/**/*.py") if path.name != "__init__.py"]
    crowded = {
        str(folder.relative_to(FOLDER)) for folder in folders if folders.count(folder) > MOST
    }
    assert not crowded


def test_faces_of_rooms_are_empty() -> None:
    # An import in a face would load the whole room for each of its modules.
    faces = [tree for name, tree in modules().items() if name.endswith(".__init__")]
    assert len(faces) >= 10
    assert all(not face.body for face in faces)


@pytest.mark.parametrize("module", inner_modules())
def test_imports_go_downwards(module: str) -> None:
    above = ROOMS[ROOMS.index(room(module)) + 1 :]
    upwards = {name for name in own_imports(modules()[module]) if room(name) in above}
    assert not upwards
    apart = {
        first
        for first, second in (*APART, *(pair[::-1] for pair in APART))
        if second == room(module)
    }
    sideways = {name for name in own_imports(modules()[module]) if room(name) in apart}
    assert not sideways


def test_no_circles() -> None:
    graph = {name: own_imports(modules()[name]) - {name, "__init__"} for name in inner_modules()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imports_of_every_kind_are_seen() -> None:
    # Guards the tests above: a reader of imports that finds none would let everything pass.
    tree = ast.parse(
        "import dermhub.tasks\nfrom dermhub import files, __version__\n"
        "from dermhub.models.config import ModelConfig\nif TYPE_CHECKING:\n"
        "    from dermhub.data.tables import read_table\n"
        "def f():\n    from dermhub.models import backbone\n"
    )
    expected = {"tasks", "files", "__init__", "models.config", "data.tables", "models.backbone"}
    assert own_imports(tree) == expected


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_library_is_imported_where_it_belongs(library: str) -> None:
    users = {
        module
        for module, tree in modules().items()
        if any(n.split(".")[0] == library for n in imported(tree))
    }
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("module", inner_modules())
def test_light_rooms_do_without_heavy_libraries(module: str) -> None:
    libraries = {name.partition(".")[0] for name in imported(modules()[module])}
    if room(module) in WITHOUT_TORCH:
        assert not libraries & {"torch", "timm", "safetensors"}
    if room(module) == "data" and module not in TORCH_IN_DATA:
        assert not libraries & {"torch", "timm", "safetensors"}
    if room(module) == "models" and module.removeprefix("models.") not in TORCH_IN_MODELS:
        assert not libraries & {"torch", "timm", "safetensors"}
    if room(module) in WITHOUT_PANDAS and module not in PANDAS_WHEN_ASKED:
        assert "pandas" not in libraries


@pytest.mark.parametrize("module", sorted(PANDAS_WHEN_ASKED))
def test_pandas_is_imported_when_a_table_is_asked_for(module: str) -> None:
    # At the top only for types.
    (guarded,) = (node for node in modules()[module].body if isinstance(node, ast.If))
    assert set(imported(guarded)) == {"pandas"}
    others = [node for node in modules()[module].body if node is not guarded]
    at_once = [node for node in others if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not {"pandas"} & {name for node in at_once for name in imported(node)}


def public(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Every public class, function and method of a module, with its name; no overloads."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not any(
                isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list
            ):
                yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}.{node.name}")


def test_everything_public_says_what_it_does() -> None:
    things = {
        name: node for module, tree in modules().items() for name, node in public(tree, module)
    }
    assert {
        "models.classifier.Classifier.predict",
        "images.decode.to_rgb",
        "errors.suggest",
    } <= set(things)
    assert [name for name, node in things.items() if not ast.get_docstring(node)] == []  # type: ignore[arg-type]
    silent = [name for name, tree in modules().items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def test_the_demo_knows_the_public_names_alone() -> None:
    inner = {
        f"{path.name}: {name}"
        for path in (FOLDER.parent / "demo").glob("**/*.py")
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("dermhub.") and name.removeprefix("dermhub.") not in dermhub.__all__
    }
    assert inner == set()


@pytest.mark.parametrize(
    "name", ["ImageError", "DataError", "LeakError", "ModelError", "ConfigError"]
)
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
