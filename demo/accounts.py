"""Accounts of the demo: a file of users, with their passwords or, better, salted hashes of them.

`python -m demo.accounts USER` asks for a password and prints the line for such a file;
`python -m demo.accounts --token NAME` makes a token for a program instead.
"""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

SCHEME = "scrypt"

COST = {"n": 2**14, "r": 8, "p": 1}
"""scrypt (RFC 7914) with 16 MiB of memory and about 50 ms a try."""

TOKEN = "token"
"""Scheme of a program's token: 256 random bits, which need no slow hash."""

PAUSE = 1.0
"""Seconds that a wrong password costs."""

WORKERS = 2
"""Passwords that are checked at the same time, in threads of their own."""

MOST_WAITING = 16
"""Passwords that are checked or wait for it; there is no sense in more, at 50 ms each."""

_NO_SALT = bytes(16)


class AccountsError(ValueError):
    """Raised where the file of accounts is not usable; one sentence says why."""


@dataclass(frozen=True)
class Accounts:
    """Users and their secrets: a password as it was written, `scrypt$salt$hash` or `token$hash`,
    in hex.
    """

    secrets: dict[str, str]

    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(WORKERS, "passwords"), init=False, compare=False
    )
    _slots: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(MOST_WAITING), init=False, compare=False
    )

    def holds(self, user: str, password: str) -> bool:
        """Tell whether a user has this password.

        It takes as long for every user, also for one that there is not.
        """
        secret = self.secrets.get(user, "")
        hashed = secret.startswith(SCHEME + "$")
        salt = bytes.fromhex(secret.split("$")[1]) if hashed else _NO_SALT
        given = _scrypt(password, salt).hex()
        if hashed:
            return hmac.compare_digest(given, secret.split("$")[2].lower())
        usable = bool(secret) and not secret.startswith(TOKEN + "$")
        first, second = (_sha256(text) for text in (password, secret))
        return hmac.compare_digest(first, second) and usable

    def holder(self, token: str) -> str | None:
        """Return whose token this is, None where it is nobody's."""
        given = f"{TOKEN}${_sha256(token)}"
        matches = [
            name
            for name, secret in self.secrets.items()
            if hmac.compare_digest(given.encode(), secret.lower().encode())
        ]
        return matches[0] if matches else None

    async def enter(self, user: str, password: str) -> bool | None:
        """Tell whether a user may enter, without holding other requests up.

        A wrong password is answered after `PAUSE` seconds; None says that too many are being
        checked.
        """
        if not self._slots.acquire(blocking=False):
            return None
        try:
            right = await asyncio.get_running_loop().run_in_executor(
                self._pool, self.holds, user, password
            )
        finally:
            self._slots.release()
        if not right:
            await asyncio.sleep(PAUSE)
        return right


def read(path: Path) -> Accounts:
    """Read the accounts of a file with lines `user:password` or `user:scrypt$salt$hash`.

    Empty lines and lines that begin with # are skipped. Raises AccountsError in one sentence that
    names the line and never the password.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise AccountsError(
            f"{path} can't be read: {reason}; expected a file with lines user:password."
        ) from None
    secrets_of: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, colon, secret = line.strip().partition(":")
        if not colon or not user or not secret:
            raise AccountsError(f"Line {number} of {path} is no account, expected user:password.")
        if user in secrets_of:
            raise AccountsError(f"Line {number} of {path} names the user {user!r} a second time.")
        if secret.startswith(SCHEME + "$") and not _is_hash(secret):
            raise AccountsError(
                f"Line {number} of {path} holds a damaged hash: make it anew, python -m "
                "demo.accounts."
            )
        if secret.startswith(TOKEN + "$") and not _is_token_hash(secret):
            raise AccountsError(
                f"Line {number} of {path} holds a damaged token: make it anew, python -m "
                "demo.accounts --token."
            )
        secrets_of[user] = secret
    if not secrets_of:
        raise AccountsError(f"{path} holds no account, expected lines user:password.")
    return Accounts(secrets_of)


def is_open_to_others(path: Path) -> bool:
    """Tell whether other users of this machine can read or write a file."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def line_for(user: str, password: str) -> str:
    """Make the line of an accounts file for a user, with a salted hash."""
    salt = secrets.token_bytes(16)
    return f"{user}:{SCHEME}${salt.hex()}${_scrypt(password, salt).hex()}"


def new_token(name: str) -> tuple[str, str]:
    """Make a token for a program, and the line of an accounts file that lets it in."""
    token = secrets.token_urlsafe(32)
    return token, f"{name}:{TOKEN}${_sha256(token)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _scrypt(password: str, salt: bytes) -> bytes:
    encoded = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(encoded, salt=salt, dklen=32, **COST)


def _is_hash(secret: str) -> bool:
    return re.fullmatch(SCHEME + r"\$([0-9a-fA-F]{2}){8,}\$[0-9a-fA-F]{64}", secret) is not None


def _is_token_hash(secret: str) -> bool:
    return re.fullmatch(TOKEN + r"\$[0-9a-fA-F]{64}", secret) is not None


def _is_user(name: str) -> bool:
    return bool(name.strip()) and ":" not in name and not name.startswith("--")


def main(arguments: list[str]) -> int:
    """Ask for a password, or read one from a pipe, and print the user's line.

    With --token, print the line of a program on stdout and its token on stderr.
    """
    if len(arguments) == 2 and arguments[0] == "--token" and _is_user(arguments[1]):
        token, line = new_token(arguments[1].strip())
        print(f"The token, which is not shown again: {token}", file=sys.stderr)
        print(line)
        return 0
    if len(arguments) != 1 or not _is_user(arguments[0]):
        usage = "usage: python -m demo.accounts [--token] USER (a name without a colon)"
        print(usage, file=sys.stderr)
        return 2
    given = getpass.getpass() if os.isatty(0) else sys.stdin.readline().rstrip("\n")
    if not given:
        print("demo.accounts: expected a password, got none.", file=sys.stderr)
        return 2
    print(line_for(arguments[0].strip(), given))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
