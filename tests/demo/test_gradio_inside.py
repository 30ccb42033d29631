"""Inner names of Gradio: one module of the demo uses them, and the installed Gradio has them."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastapi
import gradio as gr
import pytest
from gradio import networking, queueing, route_utils, routes, server_messages
from gradio.data_classes import FileData, ImageData, ListFiles
from gradio.state_holder import SessionState
from starlette.datastructures import Headers

from demo.server import gradio_inside, gradio_queue, gradio_uploads
from demo.server.door import ANSWERS, SHUT
from demo.server.gradio_queue import HookedQueue, Outcome, Request

ROOT = Path(__file__).resolve().parents[2]

INSIDE = {ROOT / "demo" / "server" / f"gradio_{name}.py" for name in ("inside", "queue", "uploads")}

PAGE = {"_queue", "app", "blocks", "fns", "has_launched", "is_running", "max_threads"}
PAGE |= {"state_holder", "state_session_capacity"}
QUEUE = {"event_ids_to_events", "pending_event_ids_session", "pending_messages_per_session"}
QUEUE |= {"active_jobs", "event_queue_per_concurrency_id", "blocks"}
QUEUE |= {"push", "send_message", "get_events", "compute_analytics_summary"}
EVENT = {"_id", "alive", "enqueue_time", "fn", "session_hash"}
UPLOADS = {"GradioMultiPartParser"}
TOOLS = {"mcp_server_obj", "tool_to_endpoint", "_get_or_create_client"}
PARSER = {"_current_part", "_files_to_close_on_error"}
HOLDER = {"session_data", "time_last_used"}
OTHERS = {"_update_value_in_config", "get_fn", "setup_tunnel", "stop_event", "preprocess"}
OTHERS |= {"root_block", "templates", "upload_file_set", "temp_files"}

INNER = PAGE | QUEUE | EVENT | HOLDER | UPLOADS | TOOLS | PARSER | OTHERS
INNER -= {"app", "blocks", "fn", "session_hash"}
"""Names that stand in one module of the demo alone. Those left out are common words, or have a
public meaning as well, as `gr.Request.session_hash` has.
"""

OPEN = {
    *("/", "/assets/{path}", "/config", "/favicon.ico", "/login", "/logout", "/manifest.json"),
    *("/pwa_icon", "/pwa_icon/{size}", "/robots.txt", "/static/{path}", "/svelte/{path}"),
    *("/theme.css", "/gradio_api/theme.css", "/gradio_api/info", "/gradio_api/openapi.json"),
    *("/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/file={path_or_url}"),
    *("/gradio_api/file/{path}", "/gradio_api/queue/join", "/gradio_api/queue/data"),
    *("/gradio_api/queue/status", "/gradio_api/cancel", "/gradio_api/reset"),
    *("/gradio_api/call/{api_name}", "/gradio_api/call/{api_name}/{event_id}"),
    *("/gradio_api/call/v2/{api_name}", "/gradio_api/call/v2/{api_name}/{event_id}"),
    *("/gradio_api/api/{api_name}", "/gradio_api/run/{api_name}"),
    *("/gradio_api/heartbeat/{session_hash}", "/gradio_api/startup-events"),
    *("/gradio_api/app_id", "/gradio_api/login_check", "/gradio_api/user"),
}
"""Paths of Gradio that the door leaves open, as templates."""


def other_modules() -> list[Path]:
    """app.py and every module of the demo but those that know Gradio from inside."""
    return [ROOT / "app.py", *sorted(set((ROOT / "demo").glob("**/*.py")) - INSIDE)]


def inner_names(tree: ast.AST) -> Iterator[str]:
    """Others' private names, names of `INNER`, and modules of Gradio, that a module uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            private = node.attr.startswith("_") and not node.attr.startswith("__") and not mine
            # A public name of our own class may be spelt as one of Gradio's.
            if private or (node.attr in INNER and not mine):
                yield node.attr
            if isinstance(node.value, ast.Name) and node.value.id in ("gr", "gradio"):
                yield from [node.attr] if node.attr in ("context", "queueing", "routes") else []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("gradio."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gradio":
            yield node.module or ""


@pytest.mark.parametrize("path", other_modules(), ids=lambda path: path.stem)
def test_no_other_module_knows_gradio_from_inside(path: Path) -> None:
    assert list(inner_names(ast.parse(path.read_text("utf-8")))) == []


def test_inner_names_of_every_kind_are_seen() -> None:
    # Guards the test above: a reader that finds nothing would let everything pass.
    tree = ast.parse(
        "from gradio.queueing import Queue\nimport gradio.routes\npage._queue = 1\n"
        "page.has_launched = True\ngr.context.Context.root_block\nself._queue = 2\n"
        "image.preprocess = f\n"
    )
    expected = ["_queue", "context", "gradio.queueing", "gradio.routes", "has_launched"]
    assert sorted(inner_names(tree)) == [*expected, "preprocess", "root_block"]


def test_inside_they_are_used() -> None:
    used = {
        node.attr
        for path in INSIDE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    overridden = {"push", "send_message", "get_events", "compute_analytics_summary"}
    gone = {"root_block", "fns", "app"}  # names that the demo has done without since
    assert (INNER | EVENT) - gone - overridden <= used


class Room(HookedQueue):
    """A queue that refuses what it is told to, and keeps what it learns."""

    def __init__(self, page: gr.Blocks, sentence: str = "") -> None:
        super().__init__(page)
        self.sentence, self.requests, self.outcomes = sentence, list[Request](), list[Outcome]()

    def refusal(self, request: Request) -> str:
        """Keep the request."""
        self.requests.append(request)
        return self.sentence

    def ended(self, outcome: Outcome) -> None:
        """Keep the end."""
        self.outcomes.append(outcome)


def make_page() -> gr.Blocks:
    """A page with a function that doubles a number, as the demo serves it."""
    page: gr.Blocks
    with gr.Blocks(analytics_enabled=False) as page:
        number, image = gr.Number(), gr.Image(type="filepath")
        files = gr.File(file_count="multiple")
        gr.Button().click(lambda x, *_: 2 * x, [number, image, files], number, api_name="double")
    page.queue(api_open=False)
    return page


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of this file's tests: Gradio makes its locks in the running one."""
    return "asyncio"


@pytest.fixture
async def page() -> gr.Blocks:
    """A page with its own queue."""
    return make_page()


def mounted(page: gr.Blocks) -> fastapi.FastAPI:
    """The application that a page is mounted in."""
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(outer, page, path="/", ssr_mode=False, run_history=False)
    return outer


def parser() -> route_utils.GradioMultiPartParser:
    """Gradio's reader of an upload that has not come."""

    async def nothing() -> AsyncGenerator[bytes, None]:
        yield b""

    return gradio_uploads.UploadParser(Headers({}), nothing(), max_file_size=1)


@pytest.mark.anyio
async def test_the_installed_gradio_has_every_name(page: gr.Blocks) -> None:
    outer = mounted(page)
    event = queueing.Event("visit", page.fns[0], fastapi.Request({"type": "http"}), None)
    # `fns` and the like are properties, so that the instances are asked and not the classes.
    owners: dict[str, tuple[object, set[str]]] = {
        "Blocks": (page, PAGE | {"upload_file_set", "temp_files"}),
        "Queue": (page._queue, QUEUE),
        "Event": (event, EVENT),
        "StateHolder": (page.state_holder, HOLDER),
        "SessionState": (SessionState, {"_update_value_in_config"}),
        "App": (gradio_inside.mounted_app(outer), {"stop_event", "get_blocks"}),
        "route_utils": (route_utils, {"get_fn"} | UPLOADS),
        "networking": (networking, {"setup_tunnel"}),
        "UploadParser": (parser(), PARSER),
        "Image": (gr.Image, {"preprocess"}),
        "File": (gr.File, {"preprocess"}),
    }
    missing = {
        f"{owner}.{name}"
        for owner, (value, names) in owners.items()
        for name in names
        if name not in dir(value)
    }
    assert missing == set()


def test_signatures_are_those_that_are_overridden() -> None:
    for name in ("push", "send_message", "get_events", "compute_analytics_summary"):
        theirs = inspect.signature(getattr(queueing.Queue, name)).parameters
        ours = inspect.signature(getattr(HookedQueue, name)).parameters
        assert list(ours) == list(theirs)
    parameters = inspect.signature(SessionState._update_value_in_config).parameters
    assert list(parameters) in (["self", "key", "value"], ["_"])  # ours, once it is replaced
    assert list(inspect.signature(networking.setup_tunnel).parameters)[:3] == [
        "local_host",
        "local_port",
        "share_token",
    ]


@pytest.mark.anyio
async def test_limits_reach_what_gradio_makes_of_them(page: gr.Blocks) -> None:
    gradio_inside.limit_threads(page, 8)
    gradio_inside.limit_visits(page, 128)
    room = Room(page)
    gradio_inside.use_queue(page, room)
    app = gradio_inside.mounted_app(mounted(page))
    assert room.max_thread_count == 8
    assert page.limiter is None
    page.create_limiter()  # type: ignore[no-untyped-call]
    assert page.limiter is not None
    assert page.limiter.total_tokens == 8
    assert page.state_holder.capacity == app.state_holder.capacity == 128
    assert app.get_blocks()._queue is room


@pytest.mark.anyio
async def test_uploads_are_passed_on_as_paths(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for component in (gr.Image, gr.File):
        monkeypatch.setattr(component, "preprocess", component.preprocess)
    gradio_inside.pass_paths_on()
    inputs: list[Any] = list(page.fns[0].inputs)
    number, image, files = inputs
    assert number.preprocess(3) == 3
    assert image.preprocess(ImageData(path="folder/no-image.txt")) == "folder/no-image.txt"
    assert image.preprocess(None) is None
    sent = [FileData(path="folder/a.png", orig_name="Ä.png"), FileData(path="folder/b.png")]
    assert files.preprocess(ListFiles(root=sent)) == [
        ("folder/a.png", "Ä.png"),
        ("folder/b.png", "b.png"),
    ]
    assert files.preprocess(sent[0]) == [("folder/a.png", "Ä.png")]
    assert files.preprocess(None) == []
    # An example updates the image, and Gradio makes a new component for the visit.
    state = SessionState(page)
    state[image._id] = gr.Image(type="filepath", render=False)
    assert state[image._id].preprocess(ImageData(path="no-image.txt")) == "no-image.txt"


@pytest.mark.anyio
async def test_no_names_of_files_are_kept(page: gr.Blocks) -> None:
    gradio_inside.keep_no_names(page)
    page.upload_file_set.update(["folder/patient.png"])
    kept = [page.upload_file_set]
    for block in page.blocks.values():
        block.temp_files.add("folder/patient.png")
        kept.append(block.temp_files)
    assert len(kept) > 3
    assert set().union(*kept) == set()


@pytest.mark.anyio
async def test_a_click_on_an_example_counts_while_another_is_loading() -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        text = gr.Textbox()
        # What gr.Examples makes of its examples.
        examples = gr.Dataset(components=[text], samples=[["one"], ["two"]])
        examples.click(str, examples, text)
        text.change(None)
    before = [step["trigger_mode"] for step in page.get_config_file()["dependencies"]]
    gradio_inside.load_every_example(page)
    after = [step["trigger_mode"] for step in page.get_config_file()["dependencies"]]
    assert (before, after) == (["once", "always_last"], ["multiple", "always_last"])


@pytest.mark.anyio
async def test_a_visit_ends(page: gr.Blocks) -> None:
    app = gradio_inside.mounted_app(mounted(page))
    page.is_running = True
    gradio_inside.end_visits(page, app)
    assert app.stop_event.is_set()
    assert not page.is_running


@pytest.mark.anyio
async def test_a_launched_page_checks_files(page: gr.Blocks) -> None:
    assert not page.has_launched
    gradio_inside.check_files(page)
    assert page.has_launched


def body_of(page: gr.Blocks, visit: str | None) -> Any:
    """A client's request to have a number doubled."""
    function = next(iter(page.fns))
    return SimpleNamespace(
        session_hash=visit, fn_index=function, data=[21, None, None], event_id=None, request=None
    )


@pytest.mark.anyio
async def test_a_refusal_is_an_answer(page: gr.Blocks) -> None:
    mounted(page)
    room = Room(page, "The server is busy.")
    taken, event, state = await room.push(body_of(page, None), None, None)
    assert (taken, state) == (True, "success")
    # Gradio names a visit without a name after its only request.
    message = await room.pending_messages_per_session[event].get()
    (request,) = room.requests
    assert (request.endpoint, request.visit, request.seconds) == ("double", None, 1)
    assert [value for _, value in request.inputs] == [21, None, None]
    assert isinstance(message, server_messages.ProcessCompletedMessage)
    assert not message.success
    assert message.output["error"] == "The server is busy."
    assert room.pending_event_ids_session == {event: {event}}
    assert len(room) == 0
    assert room.outcomes == []


@pytest.mark.anyio
async def test_ends_are_told_and_answers_forgotten(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(page)
    monkeypatch.setattr(gradio_queue, "COLLECTION_TIME", 0.0)
    room = Room(page)
    _, name, _ = await room.push(body_of(page, None), None, None)
    (event,) = room.event_ids_to_events.values()
    assert event._id == event.session_hash == name
    _ = page.state_holder[name]
    room.send_message(event, server_messages.ProcessStartsMessage(eta=None))
    done = server_messages.ProcessCompletedMessage(output={"data": [42]}, success=True)
    room.send_message(event, done)
    assert room.pending_messages_per_session[name].qsize() == 3  # the first one is an estimation
    await room.clean_events(event_id=name)
    await asyncio.sleep(0.01)
    room.sentence = "Later."
    await room.push(body_of(page, "visit"), None, None)
    assert name not in room.pending_messages_per_session
    assert name not in page.state_holder.session_data
    assert name not in page.state_holder.time_last_used
    (outcome,) = room.outcomes
    assert (outcome.endpoint, outcome.collected, outcome.success) == ("double", True, True)
    assert outcome.values == (42,)
    assert 0 <= outcome.waited < 60
    assert 0 <= outcome.seconds < 60


@pytest.mark.anyio
async def test_no_values_are_kept(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(page)
    number = page.fns[0].inputs[0]._id
    original = SessionState._update_value_in_config

    def value_kept() -> Any:
        state = SessionState(page)
        state._update_value_in_config(number, 21)
        return state.config_values[number]["props"].get("value")

    monkeypatch.setattr(SessionState, "_update_value_in_config", original)
    assert value_kept() == 21
    gradio_inside.keep_no_values()
    assert value_kept() is None


@pytest.mark.anyio
async def test_every_path_of_gradio_is_shut_or_known(page: gr.Blocks) -> None:
    # A path that an upgrade of Gradio adds fails here: decide whether the door opens it.
    paths = {
        path.rstrip("/") or path
        for path in gradio_inside.mounted_app(mounted(page)).openapi()["paths"]
    }
    assert {path for path in paths if not SHUT.match(path)} == OPEN
    assert SHUT.match("/gradio_api/file=http://example.org/x.png")
    assert {path for path in paths if ANSWERS.search(path)} == {
        "/gradio_api/call/{api_name}/{event_id}",
        "/gradio_api/call/v2/{api_name}/{event_id}",
        "/gradio_api/queue/data",
        # Takes a request and ends at once, so that counting it does no harm.
        "/gradio_api/call/v2/{api_name}",
    }
    assert "/gradio_api/upload" in paths


def test_words_of_ours_stand_in_front_of_the_served_page(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = routes.templates.env
    monkeypatch.setattr(templates, "loader", templates.loader)
    assert templates.loader is not None
    before = templates.loader.get_source(templates, "frontend/index.html")[0]
    # Guards the test: Gradio's own tags come first, and would be shown with a link.
    assert 'property="og:title" content="Gradio"' in before
    gradio_inside.put_in_front("<title>{{ ours }}</title>")
    after = templates.loader.get_source(templates, "frontend/index.html")[0]
    assert "{% raw %}<title>{{ ours }}</title>{% endraw %}" in after
    assert after.index("<title>") < after.index("<base")
    assert "og:" not in after
    assert "twitter:" not in after
    assert 'name="viewport"' in after
