"""The server: it listens, waits for its page, serves it, and ends when told to.

uvicorn runs in a thread from the first moment, with the `Door` as its application; the main thread
loads the models and then waits for a signal. Running answers are given before the end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from demo.gate.in_flight import InFlight, most_connections
from demo.gate.same_origin import Names
from demo.gate.sign_in import SignIn
from demo.server.door import MAX_UPLOAD, Door
from demo.server.event_log import EventLog
from demo.server.process import (
    address_host,
    environment,
    listen,
    raise_descriptors,
    spare_memory,
)
from demo.server.upload_folder import PrivateFolder

if TYPE_CHECKING:
    import fastapi
    import gradio as gr

    from demo.accounts import Accounts
    from demo.server.waiting_room import WaitingRoom


GRACE = 30.0
"""Seconds that running and waiting requests get to end after SIGTERM."""

LOCAL = ("127.0.0.1", "localhost", "::1")

SPACE_FRAMERS = "'self' https://huggingface.co"
"""Sites that may show the page of a Space in a frame."""

WORKERS = 8
"""Threads for requests: each that has run a model keeps memory of its own."""

VISITS = 128
"""Visits that are remembered, so that an old request overwrites no newer answer."""

WhyRefused = Callable[[str | None], str]
"""Gives the sentence with which the last request of a visit was refused, once; "" for none."""

StillWanted = Callable[[], bool]
"""Tells a function that runs for a visitor whether anybody waits for its answer."""

MakePage = Callable[[Path, WhyRefused, StillWanted], "gr.Blocks"]
"""Builds the page, given the private folder and what its functions may ask of the server."""


@dataclass(frozen=True)
class Settings:
    """Settings of a server: address, accounts, and how many requests may wait."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    max_queue: int = 32
    accounts: Accounts | None = None
    public_hosts: tuple[str, ...] = ()
    """Names under which a proxy offers the page; with any, no other name is answered to."""

    space: bool = False
    """True in a Hugging Face Space: its proxy alone reaches the server, and its page frames ours.
    """


class Server:
    """A listening server, which gets its page later, by `open`.

    Raises PortError where the port can't be had.
    """

    def __init__(self, settings: Settings, version: str) -> None:
        self.settings = settings
        self._socket = listen(settings.host, settings.port)
        self.event_log = EventLog(sys.stderr)
        self.folder = PrivateFolder(report=lambda error: self.event_log.fault(error, "sweeper"))
        os.environ.update(environment(self.folder.uploads))
        spare_memory()
        self._connections = most_connections(raise_descriptors())
        names = Names(
            settings.host in LOCAL, set(settings.public_hosts), settings.public_hosts != ()
        )
        self._sign_in = (
            SignIn(settings.accounts, self.event_log.write) if settings.accounts else None
        )
        framers = SPACE_FRAMERS if settings.space else "'self'"
        in_flight = InFlight(self._connections)
        self.door = Door(
            self.event_log, self.folder, version, names, self._sign_in, in_flight, framers
        )
        self._room: WaitingRoom | None = None
        self._closed: asyncio.Event | None = None
        self._start()

    def open(
        self,
        make: MakePage,
        look: dict[str, Any],
        models: Callable[[], dict[str, dict[str, str]]],
        mcp: bool = False,
        front: str = "",
    ) -> str:
        """Put a page behind the door and return its address.

        The address is the public one with `share`, "" if that failed. `look` is head, theme and the
        like, as Gradio's launch takes them, and `front` HTML for the top of the page's head.
        `models` gives what /healthz tells of the loaded ones. With `mcp`, endpoints are tools as
        well.
        """
        import fastapi
        import gradio

        from demo.server import gradio_inside, gradio_uploads
        from demo.server.waiting_room import WaitingRoom

        gradio_inside.keep_no_values()
        gradio_inside.pass_paths_on()
        gradio_inside.put_in_front(front)
        gradio_uploads.bound_uploads()
        page = make(self.folder.path, self._why_refused, self._still_wanted).queue(api_open=False)
        gradio_inside.keep_no_names(page)
        gradio_inside.load_every_example(page)
        gradio_inside.limit_threads(page, WORKERS)
        room = WaitingRoom(page, self.event_log, self.folder, self.settings.max_queue)
        gradio_inside.use_queue(page, room)
        gradio_inside.limit_visits(page, VISITS)
        outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        gradio.mount_gradio_app(
            outer,
            page,
            path="/",
            server_name=self.settings.host,
            server_port=self.settings.port,
            footer_links=["api"],
            run_history=False,
            show_error=False,
            max_file_size=MAX_UPLOAD,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=mcp,
            **look,
        )
        gradio_inside.check_files(page)
        if mcp:
            token = self._sign_in.inner_token if self._sign_in is not None else ""
            gradio_inside.prepare_tools(page, self.local, token)
        self._room = self.door.queue = room
        self._run(self._live(outer, page))
        self.folder.keep_what_is_there()
        self.door.models, self.door.app, self.door.state = models, outer, "ready"
        weights = {name: identity["weights_sha256"] for name, identity in models().items()}
        self.event_log.write("ready", **weights)
        return self._public() if self.settings.share else self.local

    @property
    def local(self) -> str:
        """The address at which this machine finds the page."""
        return f"http://{address_host(self.settings.host)}:{self.settings.port}/"

    def close(self) -> None:
        """End the server and remove all that was uploaded.

        Running and waiting requests get at most `GRACE` seconds to end.
        """
        began = time.monotonic()
        self.door.state = "stopping"
        if self._room is not None:
            self._room.stopping = True
            while self.door.answering and time.monotonic() - began < GRACE:
                time.sleep(0.02)
            outcome = "cut" if self.door.answering else "done"
            self.event_log.write("stopped", outcome=outcome, seconds=time.monotonic() - began)
        if self._closed is not None and self.door.loop is not None:
            self.door.loop.call_soon_threadsafe(self._closed.set)
        self._uvicorn.should_exit = True
        self._thread.join(10)
        self.folder.remove()

    def _why_refused(self, visit: str | None) -> str:
        return self._room.why_refused(visit) if self._room is not None else ""

    def _still_wanted(self) -> bool:
        return self._room is None or self._room.still_wanted()

    def _start(self) -> None:
        import uvicorn

        from demo.gate.connections import BACKLOG, Connections

        config = uvicorn.Config(
            self.door,
            http=Connections(self._connections).protocol(),
            backlog=BACKLOG,
            ws="none",
            # By default that of a proxy on this machine, or of FORWARDED_ALLOW_IPS.
            forwarded_allow_ips="*" if self.settings.space else None,
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

    async def _live(self, outer: fastapi.FastAPI, page: gr.Blocks) -> None:
        """Begin the page's life in the server's loop; it ends when the server closes."""
        from demo.server import gradio_inside

        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        closed = self._closed = asyncio.Event()

        async def live() -> None:
            async with outer.router.lifespan_context(outer):
                ready.set_result(None)
                await closed.wait()
                gradio_inside.end_visits(page, gradio_inside.mounted_app(outer))

        self._life = asyncio.create_task(live())
        await asyncio.wait([ready, self._life], return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        assert self.door.loop is not None
        asyncio.run_coroutine_threadsafe(coroutine, self.door.loop).result(60)

    def _public(self) -> str:
        from demo.server import gradio_inside

        # Without a network it raises many kinds of error; "" says that there is no address.
        with suppress(Exception):
            host = "127.0.0.1" if self.settings.host == "0.0.0.0" else self.settings.host
            address = gradio_inside.open_tunnel(host, self.settings.port)
            self.door.names.public.add(urlsplit(address).hostname or "")
            return address
        return ""
