"""The names of the server, and pages of other sites, which may not ask in a visitor's name.

A browser says in `Origin` from which site's page a request comes, and no page can change that. A
request that does something is refused where that site is not the server's own name, as it stands
in `Host` or, where a proxy has replaced that, in `X-Forwarded-Host` (which a page of another site
can't send: the browser would first ask for permission, and this server never gives it).

A server that listens on this machine alone has one more danger: a site whose name is made to point
to 127.0.0.1 (DNS rebinding) is its own "Host". Such a page comes by http, because the server has
no certificate for that name. So on such a server a page by http must have been opened under an
address or a name of this machine. A proxy with TLS in front needs nothing; one without TLS needs
`--public-host`, which names the server's public name.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from demo.gate.asgi import Message, header

READS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, and whose answers a page of another site can't read."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)

_PORTS = {"http": 80, "https": 443}


@dataclass
class Names:
    """The names under which the server is reached."""

    local: bool
    """True where it listens on this machine alone."""

    public: set[str] = field(default_factory=set)
    """Names of `--public-host` and of a public link, in lower case."""

    strict: bool = False
    """True where requests under any other name are refused, as `--public-host` has it."""

    def problem(self, scope: Message) -> tuple[int, str] | None:
        """Return the status and sentence with which a request is refused, or None."""
        if header(scope, b"host") is None and scope.get("http_version") == "1.0":
            return None
        host = _split_host(header(scope, b"host"))
        if host is None:
            return 400, "The request names no host, or none that can be one."
        if self.strict and host[0] not in self.public and not _is_this_machine(host[0]):
            return 421, (
                f"This server does not answer as {host[0]}: name it with --public-host {host[0]}."
            )
        origin = header(scope, b"origin")
        if origin is None or scope["method"] in READS:
            return None
        return self._foreign(origin, host, _split_host(header(scope, b"x-forwarded-host")))

    def believed(self, scope: Message) -> bool:
        """Tell whether X-Forwarded-Host, where there is one, may name the server in its page.

        Only a proxy has reason to send it, and says for whom it asks.
        """
        host = _split_host(header(scope, b"x-forwarded-host"))
        if host is None:
            return False
        if self.strict:
            return host[0] in self.public
        return header(scope, b"x-forwarded-for") is not None

    def _foreign(
        self, origin: bytes, host: tuple[str, int | None], forwarded: tuple[str, int | None] | None
    ) -> tuple[int, str] | None:
        refusal = 403, "A page of another site asks in your name, which this server refuses."
        try:
            parts = urlsplit(origin.decode("ascii").lower())
            name, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            return refusal
        if not name or parts.scheme not in _PORTS:
            return refusal
        if name in self.public:
            return None
        # A proxy may leave the port out of the name that it hands on.
        same = any(
            pair is not None and name == pair[0] and pair[1] in (None, port)
            for pair in (host, forwarded)
        )
        if not same:
            return refusal
        if self.local and parts.scheme == "http" and not _is_this_machine(name):
            return 403, (
                f"This server does not answer to a page of http://{name}: start it with "
                f"--public-host {name}, or open it by https."
            )
        return None


def _split_host(value: bytes | None) -> tuple[str, int | None] | None:
    text = (value or b"").decode("latin-1").partition(",")[0].strip()
    match = _HOST.fullmatch(text)
    if match is None or len(text) > 255:
        return None
    return match[1].strip("[]").lower(), int(match[2]) if match[2] else None


def _is_this_machine(name: str) -> bool:
    """Tell whether a name is an address or localhost, which nobody else can point elsewhere."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
