"""A Hugging Face hub on a loopback port: the part of the real protocol that dermhub relies on, for
the real client.

Reading, for a repository `org/name` (a Space has `spaces/` before its name, and `/api/spaces/` for
`/api/models/`):

    GET  /api/models/org/name/revision/main
        -> the commit ("sha") that a branch points to, and who may see it
    GET  /api/models/org/name/tree/<sha>
        -> path, size and git hash of each file; the sha256 too of an LFS file
    HEAD /org/name/resolve/<sha>/<path>
        -> X-Repo-Commit, ETag (git hash), Content-Length
           LFS: 302, X-Linked-Etag (sha256), X-Linked-Size, Location
    GET  the same, or the Location
        -> the bytes; 206 and the rest of them for a Range

Writing, with a token that may write:

    POST /api/validate-yaml
        -> errors in the front matter of a README.md
    POST /api/repos/create
        -> 409 where it exists
    POST /api/models/org/name/preupload/main
        -> for each file: by LFS or regular, and the hash of what is there
    POST /org/name.git/info/lfs/objects/batch
        -> where to PUT each LFS file that is not there, and what to verify
    POST /api/models/org/name/commit/main
        -> one line of JSON for the message, then one for each file

An error has its reason in X-Error-Code. The answers are in `hub_routes`; `Hub.refusal` and
`Hub.spoil` switch failures on.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.support import hub_environment, hub_routes

_NUMBERS = itertools.count()


@dataclass
class Repository:
    """Branches and commits; a commit is all its files."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes], message: str, branch: str = "main") -> str:
        """Add files to what the branch holds, or replace them."""
        # Unlike git's, the name is never the same twice, so that no test finds another's commit in
        # a cache.
        sha = hashlib.sha1(str(next(_NUMBERS)).encode()).hexdigest()
        self.commits[sha] = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        self.branches[branch] = sha
        self.messages.append(message)
        return sha


@dataclass
class Hub:
    """What the server holds, what it was asked, and the failures that are switched on."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refusal: tuple[int, dict[str, str]] | None = None
    """Status and headers with which requests are refused."""
    spoil: Literal["", "cut", "drop", "flip", "hang"] = ""
    """How files are sent: too short, with the connection dropped half-way, with one bit flipped; or
    nothing at all.
    """
    only: str = ""
    """Both failures are limited to paths in which this pattern is found."""

    def __post_init__(self) -> None:
        self.release = threading.Event()
        self.connections: set[socket.socket] = set()
        self.server: hub_routes.Server | None = None

    def start(self) -> None:
        """Listen on the port that the client was told."""
        self.server = hub_routes.Server(("127.0.0.1", hub_environment.PORT), hub_routes.Handler)
        self.server.hub = self
        # The default poll of half a second would be waited for whenever the server stops.
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection, as when a machine goes down."""
        self.release.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def create(self, name: str, private: bool = False) -> None:
        """Make a repository, with what the hub puts into a new one."""
        self.repositories[name] = Repository(private)
        self.repositories[name].commit(
            {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit"
        )

    def put(self, name: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Commit files to a repository, which is made if need be, and return the commit."""
        if name not in self.repositories:
            self.create(name)
        self.lfs |= {hashlib.sha256(content).hexdigest(): content for content in files.values()}
        return self.repositories[name].commit(files, "put", branch)
