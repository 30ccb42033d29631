"""Inner names of Gradio that the demo needs, each behind a function or class of our own.

Written for Gradio 6.31, whose documentation promises none of them. No other module of the demo uses
one but gradio_queue.py and gradio_uploads.py, so that an upgrade of Gradio is checked against these
files alone (tests/demo/test_gradio_inside.py). Importing one imports Gradio, which takes seconds.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import jinja2
from gradio import networking, routes
from gradio.data_classes import FileData, ImageData, ListFiles
from gradio.queueing import Queue
from gradio.state_holder import SessionState
from gradio_client import Client

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio.routes import App


def limit_threads(page: gr.Blocks, number: int) -> None:
    """Run at most `number` functions of a page at a time. Call it before the queue is made.

    Gradio makes its thread pool, and a queue its workers, from `max_threads`. Only `Blocks.launch`
    takes it as an argument, and a mounted page is never launched: it would keep 40 threads.
    """
    page.max_threads = number


def limit_visits(page: gr.Blocks, number: int) -> None:
    """Remember the state of at most `number` visits. Call it before the page is mounted.

    Gradio keeps some 0.1 MB of each visit, for 10,000 visits: `state_session_capacity`, which only
    `Blocks.launch` takes as an argument, and which mounting copies into the page's StateHolder.
    """
    page.state_session_capacity = number


def keep_no_values() -> None:
    """Keep no images and answers of visits.

    After every request, Gradio writes what went in and what came out into the visit's copy of the
    page's configuration, by `SessionState._update_value_in_config`. It reads them for "deep links"
    alone, which this server does not offer.
    """
    SessionState._update_value_in_config = lambda *_: None  # type: ignore[method-assign]


class _Nothing(set[str]):
    """A set that keeps nothing of what is added."""

    def add(self, element: str) -> None:
        """Keep nothing."""

    def update(self, *_: Iterable[str]) -> None:
        """Keep nothing."""


def keep_no_names(page: gr.Blocks) -> None:
    """Keep no names of files that were uploaded.

    Gradio collects their paths for its own cleaner (`delete_cache`), for ever where that is off:
    those of all uploads in `Blocks.upload_file_set`, and those of a component in its `temp_files`.
    Our sweeper deletes what lies in the folder, whoever put it there.
    """
    page.upload_file_set = _Nothing()
    for block in page.blocks.values():
        block.temp_files = _Nothing()


def load_every_example(page: gr.Blocks) -> None:
    """Let a click on an example count while another example is loading.

    Gradio drops it: `Examples` makes the step that loads one and takes no `trigger_mode` for it.
    Call it before the page is mounted.
    """
    for step in page.fns.values():
        sources = [page.blocks.get(block) for block, _ in step.targets if block is not None]
        if any(isinstance(source, gr.Dataset) for source in sources):
            step.trigger_mode = "multiple"


def use_queue(page: gr.Blocks, queue: Queue) -> None:
    """Put a queue of our own in the place of the one that `Blocks.queue` has made.

    Gradio's routes and its startup look the queue up as `page._queue` each time, and `Blocks.queue`
    can make no other class than its own.
    """
    page._queue = queue


def check_files(page: gr.Blocks) -> None:
    """Have Gradio refuse files outside of the upload folder.

    Gradio compares a path that a client sends with the upload folder only where `has_launched` is
    set, which only `Blocks.launch` does.
    """
    page.has_launched = True


def pass_paths_on() -> None:
    """Give functions uploads as paths, unopened, instead of what Gradio makes of them.

    A function gets an image as its path, None where there is none, and files as a list of (path,
    name that the owner gave it). By itself, `Image.preprocess` opens every upload, fails on what
    Pillow can't open before our sentences are reached, and writes what is not RGB once more;
    `File.preprocess` drops the name and leaves an empty file for each upload.

    The classes are changed and not the page's components: of a component that was updated, as an
    example updates the image, Gradio makes a new one for the visit.
    """
    gr.Image.preprocess = _image_path  # type: ignore[method-assign,assignment]
    gr.File.preprocess = _named_paths  # type: ignore[method-assign,assignment]


def _image_path(_: gr.Image, payload: ImageData | None) -> str | None:
    return payload.path if payload else None


def _named_paths(_: gr.File, payload: ListFiles | FileData | None) -> list[tuple[str, str]]:
    if payload is None:
        return []
    files = payload.root if isinstance(payload, ListFiles) else [payload]
    return [(file.path, file.orig_name or Path(file.path).name) for file in files]


def put_in_front(html: str) -> None:
    """Put HTML at the top of the served page, in place of Gradio's own tags for link previews.

    Gradio serves `frontend/index.html` from `routes.templates`; what is given as `head` comes
    later, by a script, where no program that makes a preview would see it.
    """
    templates = routes.templates.env
    name = "frontend/index.html"
    assert templates.loader is not None
    source = templates.loader.get_source(templates, name)[0]
    rest = re.sub(r'<meta\s+(?:property="og:|name="twitter:)[^>]*/>', "", source)
    charset = '<meta charset="utf-8" />'
    front = rest.replace(charset, f"{charset}\n{{% raw %}}{html}{{% endraw %}}")
    templates.loader = jinja2.ChoiceLoader([jinja2.DictLoader({name: front}), templates.loader])


def mounted_app(outer: FastAPI) -> App:
    """Return Gradio's application, which `gr.mount_gradio_app` puts in the last route of `outer`.

    `Blocks.app` is another one, made by `Blocks.queue` and never served.
    """
    app: App = outer.routes[-1].app  # type: ignore[attr-defined]
    return app


def end_visits(page: gr.Blocks, app: App) -> None:
    """End the connections by which open pages show that they are alive. Call it in the app's loop.

    The heartbeat of each open page ends when `stop_event` is set, and that of each open answer when
    `is_running` is not; `Blocks.close` does both, but only for a page that was launched.
    """
    app.stop_event.set()
    page.is_running = False


def prepare_tools(page: gr.Blocks, address: str, token: str) -> None:
    """Have the MCP tools of a page ask this server, and offer those alone that work.

    Gradio's tools ask this server by HTTP, at the address that the first client named in its
    `Host`, so that a client could choose whom the server asks. They carry `token`, "" for none,
    because a client's own is not handed on to every request. `predict_several` fails for every
    client: Gradio drops the part of its schema that says what a file is.
    """
    tools = page.mcp_server_obj
    assert tools is not None
    tools.tool_to_endpoint.pop("predict_several", None)
    headers = {"x-gradio-user": "mcp", **({"authorization": f"Bearer {token}"} if token else {})}

    @functools.cache
    def client() -> Client:
        return Client(
            address,
            download_files=False,
            verbose=False,
            analytics_enabled=False,
            _skip_components=False,
            headers=headers,
        )

    tools._get_or_create_client = client  # type: ignore[method-assign]


def open_tunnel(host: str, port: int) -> str:
    """Return a public address for a server on this machine, through Gradio's tunnel.

    Only `Blocks.launch(share=True)` makes one. Gradio raises many kinds of error where there is no
    network, or the tunnel's program can't be fetched.
    """
    return networking.setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)
