"""The rooms of the demo: which module imports which, and what each says of itself."""

from __future__ import annotations

import ast
import functools
import graphlib
from pathlib import Path

import pytest

from tests.support.imports import imported

ROOT = Path(__file__).resolve().parents[2]

LAYOUT = {
    "": {"__init__", "accounts", "api", "decode_child", "decode_limits", "decoding", "models"}
    | {"own_folder", "reading", "read_upload"},
    "page": {"__init__", "answer", "cases", "examples", "figures", "html", "maps", "marks", "page"}
    | {"prevalence", "several", "stability", "theme", "view"},
    "gate": {"__init__", "asgi", "body", "connections", "in_flight", "json_body", "request_head"}
    | {"same_origin", "sessions", "sign_in", "tries", "visitor"},
    "server": {"__init__", "door", "event_log", "fairness", "gradio_inside", "gradio_queue"}
    | {"gradio_uploads", "process", "server", "sweeper", "upload_folder"}
    | {"upload_room", "variables", "waiting_room"},
}
"""The modules of each room; "" stands for the files that lie in demo/ itself."""

INNER = ("api", "models", "reading")
"""Modules of demo/ itself that the way to the page does not need."""

NEVER = {
    "page": ("demo.server", "demo.gate", "app"),
    "gate": ("demo.server", "demo.page", *(f"demo.{name}" for name in INNER), "dermhub", "app"),
    "server": ("demo.page", "demo.api", "demo.models", "demo.reading", "dermhub", "app"),
    "": ("demo.server", "demo.gate", "app"),
}
"""Room -> what none of its modules imports. app.py alone joins the page and the server."""

LATE = {"gradio", "fastapi", "uvicorn", "torch", "numpy", "PIL"}
"""Libraries that take seconds, or that `python app.py --help` does not need."""

AT_ONCE = (
    *("app", "demo.accounts", "demo.decode_limits", "demo.server.server", "demo.server.door"),
    *("demo.server.event_log", "demo.server.process", "demo.server.upload_folder"),
    "demo.own_folder",
    *("demo.server.sweeper", "demo.server.variables"),
    *("demo.server.upload_room", "demo.gate.asgi", "demo.gate.body", "demo.gate.in_flight"),
    *("demo.gate.json_body", "demo.gate.request_head", "demo.gate.same_origin"),
    *("demo.gate.sessions", "demo.gate.sign_in", "demo.gate.tries", "demo.gate.visitor"),
)
"""Modules that are imported before the command line is read."""


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of app.py and of every module of the demo, by its full name."""
    paths = [ROOT / "app.py", *sorted((ROOT / "demo").glob("**/*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
        for path in paths
    }


def room(module: str) -> str:
    """The room of a module of the demo, "" for one that lies in demo/ itself."""
    return module.split(".")[1] if module.count(".") == 2 else ""


def of_the_demo(tree: ast.AST) -> set[str]:
    """The modules of the demo that a module imports."""
    names = {name for name in imported(tree) if name.split(".")[0] in ("demo", "app")}
    return {name if name in modules() else name.rpartition(".")[0] for name in names}


def demo_modules() -> list[str]:
    """All modules but app.py."""
    return [name for name in modules() if name != "app"]


def test_every_module_has_its_room() -> None:
    for folder, names in LAYOUT.items():
        paths = (ROOT / "demo" / folder).glob("*.py")
        assert {path.stem for path in paths} == names
    folders = {path.name for path in (ROOT / "demo").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == {"gate", "page", "server"}


@pytest.mark.parametrize("module", demo_modules())
def test_page_and_server_do_not_know_of_each_other(module: str) -> None:
    shut = NEVER[room(module)]
    strays = {
        name
        for name in imported(modules()[module])
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in shut)
    }
    assert strays == set()


def test_app_joins_them() -> None:
    joined = {room(name) for name in of_the_demo(modules()["app"])}
    assert {"page", "server"} <= joined


def test_no_circles() -> None:
    graph = {name: of_the_demo(tree) - {name} for name, tree in modules().items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imports_of_every_kind_are_seen() -> None:
    # Guards the tests above: a reader of imports that finds none would let everything pass.
    tree = ast.parse(
        "import demo.models\nfrom demo import reading\nfrom demo.page.html import NOTICE\n"
        "if TYPE_CHECKING:\n    from demo.accounts import Accounts\n"
        "def f():\n    from demo.server import door\n"
    )
    expected = {"models", "reading", "page.html", "accounts", "server.door"}
    assert of_the_demo(tree) == {f"demo.{name}" for name in expected}


@pytest.mark.parametrize("module", AT_ONCE)
def test_what_is_imported_first_is_light(module: str) -> None:
    tops = [
        node for node in modules()[module].body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    libraries = {name.split(".")[0] for node in tops for name in imported(node)}
    assert not libraries & LATE
    # Nothing else of the demo comes with them.
    assert {name for node in tops for name in of_the_demo(node)} <= set(AT_ONCE)


def test_everything_says_what_it_is() -> None:
    silent = []
    for module, tree in modules().items():
        if tree.body and not ast.get_docstring(tree):
            silent.append(module)
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            members = [m for m in node.body if isinstance(m, ast.FunctionDef)]
            undocumented = [m.name for m in members if not ast.get_docstring(m)]
            silent += [f"{module}.{node.name}.{m}" for m in undocumented if not m.startswith("_")]
        tops = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        silent += [
            f"{module}.{node.name}"
            for node in tops
            if not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    # Methods that logging and io call have the docstring of the one that they replace.
    assert set(silent) == {
        "demo.server.event_log._Handler.emit",
        "demo.server.event_log._Muted.writable",
        "demo.server.event_log._Muted.write",
    }
