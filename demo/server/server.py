"""The server's life: it listens, loads, serves, and ends when told to, with the running answers
given.

uvicorn runs in a thread from the first moment, with `Gate` as its application; the main thread
loads the models and then waits for a signal.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from demo.server.door import MAX_UPLOAD, Door
from demo.server.event_log import EventLog
from demo.server.process import environment, listen, shown, spare_memory
from demo.server.uploads import PrivateFolder

if TYPE_CHECKING:
    import gradio as gr

    from demo.accounts import Accounts


GRACE = 30.0
"""Seconds that running and waiting requests get to end after SIGTERM."""


LOCAL = ("127.0.0.1", "localhost", "::1")


WORKERS = 8
"""Threads for requests: each that has run a model keeps memory of its own."""


VISITS = 128
"""Visits that are remembered, so that an old request overwrites no newer answer; then the oldest is
forgotten.
"""


@dataclass(frozen=True)
class Settings:
    """How to serve: where, for whom, and how many may wait."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    max_queue: int = 32
    accounts: Accounts | None = None


class Stop(SystemExit):
    """The process was told to end."""


class Server:
    """A listening server; the page comes later, with `open`. Raises PortError where the port can't
    be had.
    """

    def __init__(self, settings: Settings, version: str) -> None:
        self.settings = settings
        self._socket = listen(settings.host, settings.port)
        self.journal = EventLog(sys.stderr)
        self.folder = PrivateFolder()
        os.environ.update(environment(self.folder.uploads))
        spare_memory()
        self.gate = Door(self.journal, self.folder, version)
        self._page: gr.Blocks | None = None
        self._closed: asyncio.Event | None = None
        self._start()

    def open(
        self,
        make: Callable[[Path], gr.Blocks],
        look: dict[str, Any],
        models: Callable[[], dict[str, dict[str, str]]],
        mcp: bool = False,
    ) -> str:
        """Put a page behind the gate and return its address: the public one with `share`, "" if
        that failed.

        `make` builds the page; it is given the private folder. `look` is css, theme and the like,
        as Gradio's launch takes them. `models` gives what /healthz tells of the loaded ones. With
        `mcp`, endpoints are tools as well.
        """
        import fastapi
        import gradio

        from demo.server.waiting_room import WaitingRoom, keep_no_values

        keep_no_values()
        page = make(self.folder.path).queue(api_open=False)
        page.max_threads = WORKERS
        page._queue = self._room = WaitingRoom(
            page, self.journal, self.folder, self.settings.max_queue
        )
        _one_at_a_time(page)
        # Before it is mounted: what it remembers of a visit is some 0.1 MB.
        page.state_session_capacity = VISITS
        outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        gradio.mount_gradio_app(
            outer,
            page,
            path="/",
            server_name=self.settings.host,
            server_port=self.settings.port,
            footer_links=["api"],
            run_history=False,
            auth=self.settings.accounts.enter if self.settings.accounts else None,
            show_error=False,
            max_file_size=MAX_UPLOAD,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=mcp,
            **look,
        )
        # Only a launched page holds files against the upload folder.
        page.has_launched = True
        self._page, self._app = page, outer.routes[-1].app  # type: ignore[attr-defined]
        self._run(self._live(outer))
        self.folder.keep_what_is_there()
        self.gate.models, self.gate.app, self.gate.state = models, outer, "ready"
        self.journal.write(
            "ready", **{name: one["weights_sha256"] for name, one in models().items()}
        )
        return self._public() if self.settings.share else self.local

    @property
    def local(self) -> str:
        """Where this machine finds the page."""
        return f"http://{shown(self.settings.host)}:{self.settings.port}/"

    def wait(self) -> NoReturn:
        """Serve until a signal raises `Stop` or KeyboardInterrupt."""
        while True:
            time.sleep(3600)

    def close(self) -> None:
        """Let running and waiting requests end, for at most `GRACE` seconds, and remove all that
        was uploaded.
        """
        began = time.monotonic()
        self.gate.state = "stopping"
        if self._page is not None:
            self._room.stopping = True
            while self.gate.answering and time.monotonic() - began < GRACE:
                time.sleep(0.02)
            outcome = "cut" if self.gate.answering else "done"
            self.journal.write("stopped", outcome=outcome, seconds=time.monotonic() - began)
        if self._closed is not None and self.gate.loop is not None:
            self.gate.loop.call_soon_threadsafe(self._closed.set)
        self._uvicorn.should_exit = True
        self._thread.join(10)
        self.folder.remove()

    def _start(self) -> None:
        import uvicorn

        config = uvicorn.Config(
            self.gate,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
            server_header=False,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, args=([self._socket],), name="server", daemon=True
        )
        self._thread.start()
        while not self._uvicorn.started and self._thread.is_alive():
            time.sleep(0.005)

    async def _live(self, outer: Any) -> None:
        """Begin the page's life in the server's loop; it ends when the server closes."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        closed = self._closed = asyncio.Event()

        async def live() -> None:
            async with outer.router.lifespan_context(outer):
                ready.set_result(None)
                await closed.wait()
                # Ends the connections by which open pages show that they are alive.
                self._app.stop_event.set()
                self._page.is_running = False  # type: ignore[union-attr]

        self._life = asyncio.create_task(live())
        await asyncio.wait([ready, self._life], return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()

    def _run(self, coroutine: Any) -> None:
        assert self.gate.loop is not None
        asyncio.run_coroutine_threadsafe(coroutine, self.gate.loop).result(60)

    def _public(self) -> str:
        from gradio import networking

        # Gradio raises many kinds of error where there is no network, or the tunnel's program can't
        # be fetched.
        with suppress(Exception):
            host = "127.0.0.1" if self.settings.host == "0.0.0.0" else self.settings.host
            return networking.setup_tunnel(
                host, self.settings.port, secrets.token_urlsafe(32), None, None
            )
        return ""


def stop_on_signals() -> None:
    """From now on SIGTERM raises `Stop` in the main thread, and a second signal ends the process at
    once.
    """

    def stop(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        raise Stop(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _one_at_a_time(page: gr.Blocks) -> None:
    """All functions that are limited to one at a time share that one: they need the same processor
    cores.
    """
    for function in page.fns.values():
        if function.concurrency_limit == 1:
            function.concurrency_id = "models"
