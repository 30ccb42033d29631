"""The lock of a server with passwords: nothing passes without a session or a token.

It stands in front of all of Gradio, in place of Gradio's own accounts: those let other sites use a
visitor's cookie, hand out its token, keep a session for ever, and leave several paths open. The
page to log in is a form that needs no script. `POST /login` takes the same fields as Gradio's, so
that gradio_client's `auth` works.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from demo.gate.asgi import CLOSE, HTML, Header, Message, Receive, Send, header, refuse, reply
from demo.gate.body import Body, too_long
from demo.gate.sessions import LONGEST, Sessions
from demo.gate.tries import Tries
from demo.gate.visitor import address_of

if TYPE_CHECKING:
    from demo.accounts import Accounts

MAX_FORM = 4 * 2**10
"""Bytes of a form with a user and a password."""

WRONG = "Incorrect credentials."

CLOSED = "Log in first: this server asks for a password."

LOGGED_OUT = "You have logged out."

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dermhub</title>
<meta name="viewport" content="width=device-width"><style>
:root {{ color-scheme: light dark }}
body {{ font: 1.1em/1.5 sans-serif; max-width: 24em; margin: 4em auto; padding: 0 1em }}
label, input, button {{ display: block; width: 100%; box-sizing: border-box; font: inherit }}
input, button {{ margin: 0 0 1em; padding: .5em }}
</style></head><body><main><h1>dermhub</h1>{}</main></body></html>"""

FORM = """<form method="post" action="login">{}
<label for="username">User</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Log in</button></form>"""

LOG_OUT = '<form method="post" action="logout"><button>Log out</button></form>'

Write = Callable[..., None]


class SignIn:
    """Lets requests with a session's cookie or a program's token pass, and answers all others."""

    def __init__(self, accounts: Accounts, write: Write) -> None:
        """`write` writes an event with its fields into the event log."""
        # A name of its own, because cookies of one machine's servers are not kept apart.
        self.cookie = f"dermhub-{secrets.token_hex(4)}"
        self.inner_token = secrets.token_urlsafe(32)
        """Token with which the server's own programs ask it: the MCP tools."""
        self._accounts, self._write = accounts, write
        self._sessions, self._tries = Sessions(), Tries()
        self._salt = secrets.token_bytes(16)
        self._limited, self._limited_at = 0, -1.0

    def knows(self, scope: Message) -> bool:
        """Tell whether a request carries a session or a token."""
        return self._user(scope) is not None

    async def let_pass(self, scope: Message, receive: Receive, send: Send) -> bool:
        """Return True where a request may pass; otherwise answer it."""
        path, method = scope["path"].rstrip("/"), scope["method"]
        if path == "/login" and method == "POST":
            await self._log_in(scope, receive, send)
        elif path == "/logout":
            await self._log_out(scope, send)
        elif self.knows(scope):
            return True
        elif method == "GET" and path in ("", "/login"):
            await reply(send, 200, PAGE.format(FORM.format("")), HTML)
        else:
            if header(scope, b"authorization") is not None:
                self._tries.failed("", self._source(scope))
                self._write("login", outcome="wrong token", source=self._source(scope))
            await refuse(send, 401, CLOSED, (CLOSE,))
        return False

    async def _log_in(self, scope: Message, receive: Receive, send: Send) -> None:
        problem = too_long(scope, MAX_FORM)
        if problem:
            await refuse(send, 413, problem, (CLOSE,))
            return
        body = Body(receive, send, MAX_FORM)
        content = await body.read()
        if content is None:
            if body.refusal is not None:
                await refuse(send, *body.refusal, (CLOSE,))
            return
        form = parse_qs(content.decode("utf-8", "replace"), max_num_fields=None)
        user = form.get("username", [""])[0].strip()
        password = form.get("password", [""])[0]
        status, sentence = await self._try(user, password, self._source(scope))
        in_browser = b"text/html" in (header(scope, b"accept") or b"")
        if status != 200:
            if in_browser:
                text = FORM.format(f'<p role="alert">{sentence}</p>')
                await reply(send, status, PAGE.format(text), HTML)
            else:
                await refuse(send, status, sentence)
            return
        cookie = self._set_cookie(self._sessions.begin(user), LONGEST, scope)
        if in_browser:
            await reply(send, 303, "", HTML, (cookie, (b"location", b"./")))
        else:
            await reply(send, 200, {"success": True}, headers=(cookie,))

    async def _try(self, user: str, password: str, source: str) -> tuple[int, str]:
        # A name that is no account's can be a password in the wrong field, and is not logged.
        account = user if user in self._accounts.secrets else None
        wait = self._tries.wait(user, source)
        if wait:
            self._log_limited(account, source)
            minutes = max(round(wait / 60), 1)
            return 429, f"Too many wrong passwords: try again in about {minutes} minutes."
        # Counted before it is known to be wrong, or a hundred at once would all be tried.
        self._tries.failed(user, source)
        began = time.monotonic()
        entered = await self._accounts.enter(user, password)
        if entered is None:
            return 503, "Too many users log in at this moment: try again in some seconds."
        if not entered:
            seconds = time.monotonic() - began
            self._write("login", outcome="wrong", account=account, source=source, seconds=seconds)
            return 400, WRONG
        self._tries.took_back(user, source)
        self._write("login", outcome="entered")
        return 200, ""

    def _log_limited(self, account: str | None, source: str) -> None:
        """Log that tries are refused, once a second: a flood of them is no flood of lines."""
        self._limited += 1
        if time.monotonic() - self._limited_at >= 1:
            count = self._limited
            self._write("login", outcome="limited", account=account, source=source, tries=count)
            self._limited, self._limited_at = 0, time.monotonic()

    async def _log_out(self, scope: Message, send: Send) -> None:
        if scope["method"] != "POST":
            # A picture or a link on another site must not log anybody out.
            await reply(send, 200, PAGE.format(LOG_OUT), HTML)
            return
        token = self._token_of_cookie(scope)
        if token is not None:
            self._sessions.end(token)
        text = f"<p>{LOGGED_OUT}</p>" + FORM.format("")
        await reply(send, 200, PAGE.format(text), HTML, (self._set_cookie("", 0, scope),))

    def _user(self, scope: Message) -> str | None:
        scheme, _, given = (header(scope, b"authorization") or b"").partition(b" ")
        if scheme.lower() == b"bearer":
            token = given.strip().decode("latin-1")
            if hmac.compare_digest(token.encode(), self.inner_token.encode()):
                return "dermhub"
            if self._tries.wait("", self._source(scope)):
                return None
            return self._accounts.holder(token)
        cookie = self._token_of_cookie(scope)
        return self._sessions.user(cookie) if cookie is not None else None

    def _token_of_cookie(self, scope: Message) -> str | None:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load((header(scope, b"cookie") or b"").decode("latin-1"))
        except CookieError:
            return None
        return cookies[self.cookie].value if self.cookie in cookies else None

    def _set_cookie(self, token: str, seconds: float, scope: Message) -> Header:
        origin = header(scope, b"origin") or b""
        secure = scope.get("scheme") == "https" or origin.startswith(b"https:")
        value = f"{self.cookie}={token}; Path=/; Max-Age={seconds:.0f}; HttpOnly; SameSite=Lax"
        return b"set-cookie", (value + ("; Secure" if secure else "")).encode()

    def _source(self, scope: Message) -> str:
        """Return a mark of the sender's address: it tells one from another, and not which it is."""
        address = address_of(scope) or ""
        return hashlib.blake2b(address.encode(), key=self._salt, digest_size=6).hexdigest()
