"""A Hugging Face hub on this machine: what the real client asks when it downloads, and how a hub answers.

    GET  /api/models/ORG/NAME/revision/REV      name, commit and files of a repository
    GET  /api/models/ORG/NAME/tree/COMMIT       files with sizes; `lfs` for large ones
    HEAD /ORG/NAME/resolve/COMMIT/FILE          commit, ETag and size of a file; a large one is elsewhere (302)
    GET  the same, or Location                  its bytes, from where a Range asks

Failures are switched on by the attributes of `Hub`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hub_environment import PORT

LARGE = 100_000
"""Bytes from which on a file is kept outside of git (LFS) and named by its sha256."""


class Hub:
    """The state of the hub: repositories, what was asked, and which failure is on."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.status = 0
        self.code = ""
        self.silent = threading.Event()
        self.silent.set()
        self.cut = ""
        self.flip = ""

    def publish(self, repository: str, folder: Path, branch: str = "main", **others: bytes) -> str:
        """Make a commit of a folder's files, and of `others` by name; returns its 40 hexadecimal digits."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        files |= {name.replace("__", "."): content for name, content in others.items()}
        text = repr(sorted((name, hashlib.sha1(content).hexdigest()) for name, content in files.items()))
        commit = hashlib.sha1((repository + text).encode()).hexdigest()
        self.commits.setdefault(repository, {})[commit] = files
        self.branches.setdefault(repository, {})[branch] = commit
        return commit


def oid(content: bytes) -> str:
    """The ETag of a file: its sha256 where it is large, else the hash that git gives it."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.silent.wait()
        if self.hub.status:
            self.answer(self.hub.status, b"{}", {"X-Error-Code": self.hub.code})
        elif path.startswith("/api/models/"):
            _, _, _, org, name, kind, revision, *_ = path.split("/")
            self.api(f"{org}/{name}", kind, revision)
        else:
            _, org, name, _, revision, file = path.split("/", 5)
            self.file(f"{org}/{name}", revision, file)

    def commit(self, repository: str, revision: str) -> str | None:
        """The commit of a revision; answers with the hub's error where there is none."""
        if repository not in self.hub.commits:
            # A hub that doesn't know you does not tell a missing repository from a private one.
            self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            return None
        found = self.hub.branches[repository].get(revision, revision)
        if found not in self.hub.commits[repository]:
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return None
        return found

    def api(self, repository: str, kind: str, revision: str) -> None:
        """What the client asks before it downloads."""
        commit = self.commit(repository, revision)
        if commit is None:
            return
        files = self.hub.commits[repository][commit]
        content: Any = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        if kind == "tree":
            content = [self.entry(name, data) for name, data in files.items()]
        self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    @staticmethod
    def entry(name: str, content: bytes) -> dict[str, Any]:
        """A file in a listing."""
        told: dict[str, Any] = {"type": "file", "path": name, "oid": oid(content), "size": len(content)}
        if len(content) >= LARGE:
            told["lfs"] = {"oid": oid(content), "size": len(content), "pointerSize": 134}
        return told

    def file(self, repository: str, revision: str, name: str) -> None:
        """A file, or where it is kept; `cdn` stands for the second machine that large files come from."""
        elsewhere = self.headers["Host"].startswith("localhost")
        commit = self.commit(repository, revision)
        if commit is None:
            return
        content = self.hub.commits[repository][commit].get(name)
        if content is None:
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        told = {"X-Repo-Commit": commit, "ETag": f'"{oid(content)}"', "Accept-Ranges": "bytes"}
        if len(content) >= LARGE and not elsewhere:
            told |= {"X-Linked-Etag": f'"{oid(content)}"', "X-Linked-Size": str(len(content))}
            self.answer(302, b"", told | {"Location": f"http://localhost:{PORT}{self.path}"})
            return
        if name == self.hub.flip:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, content[start:], told, cut=name == self.hub.cut)

    def answer(self, status: int, content: bytes, headers: dict[str, str], cut: bool = False) -> None:
        """Send headers and bytes; `cut` breaks the connection off in the middle, once."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut:
            self.hub.cut = ""
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """The hub as a server in threads of this process."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(("127.0.0.1", PORT), type("Bound", (Handler,), {"hub": hub}))
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""

    def get_request(self) -> tuple[socket.socket, Any]:
        """A new connection, which is remembered because clients keep theirs open."""
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def stop(self) -> None:
        """End all connections and refuse new ones."""
        self.shutdown()
        self.server_close()
        self.thread.join()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
