"""A loopback Kaggle that speaks to the real kagglehub client: what dermhub relies on, in one place.

    POST /v1/datasets.DatasetApiService/GetDataset       {"ownerSlug", "datasetSlug"}
        -> {"currentVersionNumber": N}                    asked when a handle names no version
    POST /v1/datasets.DatasetApiService/DownloadDataset  {..., "datasetVersionNumber": N}
        -> 302 to the archive, which is in another store
    GET  /archives/OWNER/NAME/N.zip
        -> 200, Content-Length, Accept-Ranges: bytes, x-goog-hash: md5=BASE64
    GET  the same with Range: bytes=START-               when so many bytes, whole MiB, have arrived
        -> 206

The client has one address of Kaggle in a table, which the fixture changes; the variable
KAGGLE_API_ENDPOINT that its documentation names is not read. An error is a status with {"code",
"message"}.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import io
import json
import re
import sys
import threading
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Kaggle:
    """What the server holds, how it fails, and what it was asked."""

    archives: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """(OWNER/NAME, version) -> zip."""
    token: str = ""
    """The token without which nothing is given."""
    status: int = 0
    """A status with which every question is answered."""
    cuts: list[int | None] = field(default_factory=list)
    """After how many bytes each of the next GETs breaks off; None for one that doesn't."""
    wrong_md5: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """Method, path and range of each request."""

    def publish(self, name: str, version: int, files: dict[str, bytes]) -> None:
        """Add a version of a dataset."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        self.archives[name, version] = stream.getvalue()

    def publish_folder(self, name: str, version: int, folder: Path) -> None:
        """Add all files below a folder as a version of a dataset."""
        found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        self.publish(
            name,
            version,
            {path.relative_to(folder).as_posix(): path.read_bytes() for path in found},
        )

    def current(self, name: str) -> int:
        """The newest version of a dataset; 0 where there is none."""
        return max((version for known, version in self.archives if known == name), default=0)


class Handler(BaseHTTPRequestHandler):
    """One request; `kaggle` is set by `serve`."""

    kaggle: Kaggle
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        """The two calls of the API."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.note()
        name = f"{question['ownerSlug']}/{question['datasetSlug']}"
        version = question.get("datasetVersionNumber", self.kaggle.current(name))
        if self.kaggle.status:
            self.answer(self.kaggle.status, {"code": self.kaggle.status, "message": "no luck"})
        elif self.kaggle.token and self.headers["Authorization"] != f"Bearer {self.kaggle.token}":
            status = 403 if self.headers["Authorization"] else 401
            self.answer(status, {"code": status, "message": "Permission denied"})
        elif (name, version) not in self.kaggle.archives:
            self.answer(404, {"code": 404, "message": "Not found"})
        elif self.path.endswith("/GetDataset"):
            self.answer(200, {"currentVersionNumber": version})
        else:
            self.send_response(302)
            self.send_header(
                "Location", f"http://localhost:{self.kaggle.port}/archives/{name}/{version}.zip"
            )
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self) -> None:
        """An archive, or the rest of it."""
        self.note()
        _, _, owner, dataset, file = self.path.split("/")
        whole = self.kaggle.archives[f"{owner}/{dataset}", int(file.removesuffix(".zip"))]
        part = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        content = whole[int(part[1]) :] if part else whole
        # Taken before the client can go on to its next request, which another thread answers.
        cut = self.kaggle.cuts.pop(0) if self.kaggle.cuts else None
        digest = hashlib.md5(b"another" if self.kaggle.wrong_md5 else whole).digest()
        self.send_response(206 if part else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={base64.b64encode(digest).decode()}")
        self.end_headers()
        self.close_connection = cut is not None
        # A client that resumes asks for the whole first, reads its headers, and hangs up.
        with suppress(ConnectionError):
            self.wfile.write(content[:cut])

    def note(self) -> None:
        """Remember the request."""
        self.kaggle.asked.append(
            f"{self.command} {self.path} {self.headers.get('Range', '')}".strip()
        )

    def answer(self, status: int, content: dict[str, object]) -> None:
        """JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """A server that says nothing when a client hangs up."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Anything else is an error of the fixture, and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def note_frames_without_a_module() -> None:
    """Let `inspect` know the frames of the call stack that belong to no module.

    kagglehub looks through the call stack six times a download, for libraries that may be using it.
    For a frame of no module, as `python -m` and pytest-xdist have, `inspect` goes through all
    imported modules each time, which takes half a second of each test; its answer is the same.
    """
    for frame, _ in traceback.walk_stack(None):
        if inspect.getmodule(frame) is None:
            path = Path(frame.f_code.co_filename)
            for name in (str(path), str(path.absolute())):
                inspect.modulesbyfile[name] = ""


@contextmanager
def serve() -> Iterator[Kaggle]:
    """A running server on a free port of localhost."""
    note_frames_without_a_module()
    kaggle = Kaggle()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"kaggle": kaggle}))
    kaggle.port = server.server_address[1]
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield kaggle
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
