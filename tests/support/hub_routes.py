"""The answers of the loopback hub; see `hub_server` for the protocol they follow."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.support import hub_environment

if TYPE_CHECKING:
    from tests.support.hub_server import Hub


TOKEN = "hf_loopback"
"""The one token that may read everything and write."""


def git_hash(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str) -> bool:
    """Which files the hub keeps beside git."""
    return path.endswith((".safetensors", ".png", ".bin"))


class Server(ThreadingHTTPServer):
    """The port, and what is behind it."""

    daemon_threads = True
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of the server."""


class Handler(BaseHTTPRequestHandler):
    """One method for each kind of request, found through `ROUTES`."""

    server: Server
    protocol_version = "HTTP/1.1"
    # Else each answer waits 40 ms for the client to acknowledge its first packet.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """The tests read `Hub.requests` instead."""

    def setup(self) -> None:
        super().setup()
        self.server.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.server.hub.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _route(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.server.hub.requests.append(f"{self.command} {path}")
        concerned = re.search(self.server.hub.only, path) is not None
        if self.server.hub.spoil == "hang" and concerned:
            self.server.hub.release.wait(30)
            self.close_connection = True
        elif self.server.hub.refusal is not None and concerned:
            self._refuse(*self.server.hub.refusal)
        elif self.command != "HEAD" and self.command != "GET" and not self._known():
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        else:
            for pattern, answer in ROUTES:
                if match := re.fullmatch(pattern, f"{self.command} {path}"):
                    answer(self, *match.groups())
                    return
            self._refuse(404, {})

    def _known(self) -> bool:
        # Storage outside the hub (here /lfs/) takes addresses that are secrets themselves, and no
        # token.
        reads = self.path.startswith("/lfs/") or "/paths-info/" in self.path
        return self.headers.get("Authorization") == f"Bearer {TOKEN}" or reads

    def _send(
        self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, headers: Mapping[str, str]) -> None:
        self._send(status, b"{}", headers)

    def _commit(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision that the asker may see; refuses otherwise."""
        repository = self.server.hub.repositories.get(name)
        if repository is None or (repository.private and not self._known()):
            # A stranger is not told which of the two it is.
            self._refuse(404 if self._known() else 401, {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._refuse(403 if self._known() else 401, {"X-Error-Code": "GatedRepo"})
        elif (sha := repository.branches.get(revision, revision)) not in repository.commits:
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return sha, repository.commits[sha]
        return None

    def info(self, kind: str, name: str, revision: str | None) -> None:
        if found := self._commit(_key(kind, name), revision or "main"):
            private = self.server.hub.repositories[_key(kind, name)].private
            siblings = [{"rfilename": path, "size": len(file)} for path, file in found[1].items()]
            self._json(
                {"id": name, "sha": found[0], "private": private, "siblings": siblings, "tags": []}
            )

    def tree(self, kind: str, name: str, revision: str) -> None:
        if found := self._commit(_key(kind, name), revision):
            self._json([_row(path, content) for path, content in found[1].items()])

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        # The hub's own client sends JSON, a mirror such as olah a form.
        text = self.body.decode()
        asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
        if found := self._commit(_key(kind, name), revision):
            self._json([_row(path, content) for path, content in found[1].items() if path in asked])

    def resolve(self, space: str | None, name: str, revision: str, path: str) -> None:
        found = self._commit(f"{space or ''}{name}", revision)
        if found is None:
            return
        sha, files = found
        if path not in files:
            self._refuse(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        elif is_lfs(path):
            oid = hashlib.sha256(files[path]).hexdigest()
            # Another host than the endpoint's, as the CDN is: the client must not send the token
            # there.
            location = f"http://localhost:{hub_environment.PORT}/cdn/{oid}"
            linked = {
                "X-Linked-Etag": f'"{oid}"',
                "X-Linked-Size": str(len(files[path])),
                "Location": location,
            }
            self._send(
                302, b"", {"X-Repo-Commit": sha, "ETag": f'"{git_hash(files[path])}"', **linked}
            )
        else:
            self._bytes(files[path], {"X-Repo-Commit": sha, "ETag": f'"{git_hash(files[path])}"'})

    def cdn(self, oid: str) -> None:
        assert "Authorization" not in self.headers
        self._bytes(self.server.hub.lfs[oid], {"ETag": f'"{oid}"'})

    def _bytes(self, content: bytes, headers: dict[str, str]) -> None:
        """A file, or the rest of it; spoilt if that is switched on."""
        start = int(re.sub(r"bytes=(\d*)-.*", r"\1", self.headers.get("Range", "")) or 0)
        concerned = self.command == "GET" and re.search(self.server.hub.only, self.path) is not None
        spoil = self.server.hub.spoil if concerned else ""
        if spoil == "flip":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if spoil == "cut":
            content = content[: len(content) // 2]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if spoil == "drop" and not start:
            self._send(
                200, content[: len(content) // 2], {**headers, "Content-Length": str(len(content))}
            )
            self.close_connection = True
        else:
            self._send(206 if start else 200, content[start:], headers)

    def whoami(self) -> None:
        self._json(
            {"name": "user", "type": "user", "orgs": []} if self._known() else {},
            200 if self._known() else 401,
        )

    def validate(self) -> None:
        try:
            front = yaml.safe_load(json.loads(self.body)["content"].split("---\n")[1])
            wrong = [] if isinstance(front, dict) else ["The front matter is no mapping."]
        except (IndexError, yaml.YAMLError):
            wrong = ["The front matter can't be read."]
        self._json(
            {"errors": [{"message": text} for text in wrong], "warnings": []}, 400 if wrong else 200
        )

    def create(self) -> None:
        asked = json.loads(self.body)
        name = _key(f"{asked.get('type', 'model')}s", f"{asked['organization']}/{asked['name']}")
        exists = name in self.server.hub.repositories
        if not exists:
            assert asked.get("sdk") == ("gradio" if name.startswith("spaces/") else None)
            self.server.hub.create(name, private=asked.get("visibility") == "private")
        self._json({"url": f"{hub_environment.ENDPOINT}/{name}"}, 409 if exists else 200)

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if found := self._commit(_key(kind, name), revision):
            rows = []
            for path in [file["path"] for file in json.loads(self.body)["files"]]:
                row = {
                    "path": path,
                    "uploadMode": "lfs" if is_lfs(path) else "regular",
                    "shouldIgnore": False,
                }
                if path in found[1]:
                    content = found[1][path]
                    row["oid"] = (
                        hashlib.sha256(content).hexdigest() if is_lfs(path) else git_hash(content)
                    )
                rows.append(row)
            self._json({"files": rows})

    def batch(self, name: str) -> None:
        rows = []
        for wanted in json.loads(self.body)["objects"]:
            row = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.hub.lfs:
                upload = {"href": f"{hub_environment.ENDPOINT}/lfs/{wanted['oid']}"}
                verify = {"href": f"{hub_environment.ENDPOINT}/{name}.git/info/lfs/verify"}
                row["actions"] = {"upload": upload, "verify": verify}
            rows.append(row)
        self._json({"transfer": "basic", "objects": rows})

    def upload(self, oid: str) -> None:
        self.server.hub.lfs[oid] = self.body
        self._send(200)

    def verify(self, _: str) -> None:
        asked = json.loads(self.body)
        content = self.server.hub.lfs.get(asked["oid"], b"")
        whole = (hashlib.sha256(content).hexdigest(), len(content)) == (asked["oid"], asked["size"])
        self._json({}, 200 if whole else 422)

    def commit(self, kind: str, name: str, revision: str) -> None:
        header, *lines = [json.loads(line) for line in self.body.splitlines()]
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile"
                files[value["path"]] = self.server.hub.lfs[value["oid"]]
        sha = self.server.hub.repositories[_key(kind, name)].commit(
            files, header["value"]["summary"], revision
        )
        self._json(
            {"commitUrl": f"{hub_environment.ENDPOINT}/{name}/commit/{sha}", "commitOid": sha}
        )


def _row(path: str, content: bytes) -> dict[str, Any]:
    """A file in a listing."""
    row: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": git_hash(content),
    }
    if is_lfs(path):
        row["lfs"] = {
            "oid": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 130,
        }
    return row


def _key(kind: str, name: str) -> str:
    return f"spaces/{name}" if kind == "spaces" else name


_ID = r"([\w.-]+/[\w.-]+)"

_API = rf"/api/(models|spaces)/{_ID}"

ROUTES = (
    (rf"(?:GET|HEAD) {_API}(?:/revision/(.+))?", Handler.info),
    (rf"GET {_API}/tree/([^/]+)/?", Handler.tree),
    (r"GET /api/whoami-v2", Handler.whoami),
    (rf"(?:GET|HEAD) /(spaces/)?{_ID}/resolve/([^/]+)/(.+)", Handler.resolve),
    (rf"POST {_API}/paths-info/(.+)", Handler.paths_info),
    (r"(?:GET|HEAD) /cdn/(\w+)", Handler.cdn),
    (r"POST /api/validate-yaml", Handler.validate),
    (r"POST /api/repos/create", Handler.create),
    (rf"POST {_API}/preupload/(.+)", Handler.preupload),
    (r"POST /(.+).git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /lfs/(\w+)", Handler.upload),
    (r"POST /(.+).git/info/lfs/verify", Handler.verify),
    (rf"POST {_API}/commit/(.+)", Handler.commit),
)
