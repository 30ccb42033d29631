"""Accounts of the demo: a file of users, with their passwords or, better, salted hashes of them.

`python -m demo.accounts USER` asks for a password and prints the line for such a file.
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
from dataclasses import dataclass
from pathlib import Path

SCHEME = "scrypt"

COST = {"n": 2**14, "r": 8, "p": 1}
"""scrypt (RFC 7914) with 16 MiB of memory and about 50 ms a try."""

PAUSE = 1.0
"""Seconds that a wrong password costs."""


class AccountsError(ValueError):
    """Raised where the file of accounts is not usable; one sentence says why."""


@dataclass(frozen=True)
class Accounts:
    """Users and their secrets: a password as it was written, or `scrypt$salt$hash` in hex."""

    secrets: dict[str, str]

    def holds(self, user: str, password: str) -> bool:
        """Tell whether a user has this password; an unknown user takes as long."""
        secret = self.secrets.get(user, "")
        if secret.startswith(SCHEME + "$") or not secret:
            _, salt, expected = (secret or f"{SCHEME}$00$00").split("$")
            given = _scrypt(password, bytes.fromhex(salt)).hex()
        else:
            given, expected = (
                hashlib.sha256(text.encode()).hexdigest() for text in (password, secret)
            )
        return hmac.compare_digest(given, expected.lower()) and bool(secret)

    async def enter(self, user: str, password: str) -> bool:
        """Tell whether a user may enter, without holding other requests up.

        A wrong password is answered after `PAUSE` seconds.

        A method and not `__call__`: Gradio takes only a coroutine function for one, and would let
        everybody in who makes it call an object that returns a coroutine, because that is true.
        """
        if await asyncio.to_thread(self.holds, user, password):
            return True
        await asyncio.sleep(PAUSE)
        return False


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


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, dklen=32, **COST)


def _is_hash(secret: str) -> bool:
    return re.fullmatch(SCHEME + r"\$([0-9a-fA-F]{2}){8,}\$[0-9a-fA-F]{64}", secret) is not None


def main(arguments: list[str]) -> int:
    """Ask for a password, or read one from a pipe, and print the user's line."""
    if len(arguments) != 1 or ":" in arguments[0] or not arguments[0].strip():
        print("usage: python -m demo.accounts USER (a name without a colon)", file=sys.stderr)
        return 2
    given = getpass.getpass() if os.isatty(0) else sys.stdin.readline().rstrip("\n")
    if not given:
        print("demo.accounts: expected a password, got none.", file=sys.stderr)
        return 2
    print(line_for(arguments[0].strip(), given))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
