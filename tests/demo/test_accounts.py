"""The file of users: passwords, salted hashes, and one sentence for every file that is none."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo import accounts
from demo.accounts import Accounts, AccountsError, is_open_to_others, line_for, main, read

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, text: str) -> Path:
    """An accounts file."""
    path = folder / "accounts"
    path.write_text(text, encoding="utf-8")
    return path


def test_passwords_and_hashes(tmp_path: Path) -> None:
    users = read(write(tmp_path, f"# staff\n\nanna:a:b c\n{line_for('bodo', 'geheim ü')}\n"))
    assert users.holds("anna", "a:b c")
    assert users.holds("bodo", "geheim ü")
    for user, password in (
        ("anna", "a"),
        ("anna", ""),
        ("bodo", "geheim"),
        ("cleo", "a:b c"),
        ("cleo", ""),
        ("", ""),
    ):
        assert not users.holds(user, password), user
    # The hash itself opens nothing.
    assert not users.holds("bodo", users.secrets["bodo"])


def test_the_hash_is_scrypt_with_a_salt() -> None:
    first, second = line_for("bodo", "geheim"), line_for("bodo", "geheim")
    assert first != second
    user, _, secret = first.partition(":")
    scheme, salt, digest = secret.split("$")
    expected = hashlib.scrypt(b"geheim", salt=bytes.fromhex(salt), n=16384, r=8, p=1, dklen=32)
    assert (user, scheme, digest) == ("bodo", "scrypt", expected.hex())
    assert len(salt) == 32


def test_an_unknown_user_takes_as_long() -> None:
    users = Accounts({"bodo": line_for("bodo", "geheim").partition(":")[2]})

    def seconds(user: str) -> float:
        began = time.process_time()
        assert not users.holds(user, "wrong")
        return time.process_time() - began

    assert min(seconds("cleo") for _ in range(3)) > 0.3 * min(seconds("bodo") for _ in range(3))


def test_gradio_takes_it_for_a_coroutine_function() -> None:
    # It would take the coroutine that anything else returns for a yes.
    assert inspect.iscoroutinefunction(Accounts({"anna": "geheim"}).enter)


def test_a_wrong_password_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "PAUSE", 60)
    users, began = Accounts({"anna": "geheim"}), time.monotonic()
    assert asyncio.run(users.enter("anna", "geheim"))
    assert time.monotonic() - began < 60
    monkeypatch.setattr(accounts, "PAUSE", 0.4)
    began = time.monotonic()
    assert not asyncio.run(users.enter("anna", "wrong"))
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no account, expected lines user:password."),
        ("# nobody\n\n", "holds no account, expected lines user:password."),
        ("anna:x\nbodo\n", "is no account, expected user:password."),
        (":x\n", "is no account, expected user:password."),
        ("anna:\n", "is no account, expected user:password."),
        ("anna:x\nanna:y\n", "names the user 'anna' a second time."),
        ("anna:scrypt$00$11\n", "holds a damaged hash: make it anew, python -m demo.accounts."),
        (
            f"anna:scrypt$zz${'0' * 64}\n",
            "holds a damaged hash: make it anew, python -m demo.accounts.",
        ),
        (
            f"anna:scrypt$${'0' * 64}\n",
            "holds a damaged hash: make it anew, python -m demo.accounts.",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(AccountsError) as caught:
        read(write(tmp_path, text))
    assert str(caught.value).endswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        AccountsError,
        match=r"none can't be read: No such file or directory; expected a file with lines",
    ):
        read(tmp_path / "none")
    with pytest.raises(AccountsError, match=r"can't be read: Is a directory"):
        read(tmp_path)
    (tmp_path / "image").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(AccountsError, match=r"can't be read: it is no text in UTF-8"):
        read(tmp_path / "image")


def test_others_may_not_read_it(tmp_path: Path) -> None:
    path = write(tmp_path, "anna:x\n")
    path.chmod(0o640)
    assert is_open_to_others(path)
    path.chmod(0o600)
    assert not is_open_to_others(path)


def test_a_line_is_made_from_a_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.accounts", "bodo"]
    done = subprocess.run(
        command, cwd=ROOT, input="geheim\n", capture_output=True, text=True, check=True
    )
    assert read(write(tmp_path, done.stdout)).holds("bodo", "geheim")
    done = subprocess.run(command, cwd=ROOT, input="\n", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "demo.accounts: expected a password, got none.\n"


@pytest.mark.parametrize("arguments", [[], ["a:b"], ["a", "b"], [" "]])
def test_its_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_a_program_has_a_token_and_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--token", "assistant"]) == 0
    printed = capsys.readouterr()
    token = printed.err.strip().rpartition(" ")[2]
    # 32 random bytes have 43 letters in base 64 (RFC 4648).
    assert re.fullmatch(r"[\w-]{43}", token)
    assert printed.out == f"assistant:token${hashlib.sha256(token.encode()).hexdigest()}\n"
    users = read(write(tmp_path, printed.out + "anna:secret\n"))
    assert users.holder(token) == "assistant"
    assert users.holder("secret") is None
    assert users.holder(printed.out.strip().rpartition("$")[2]) is None
    assert not users.holds("assistant", token)
    assert not users.holds("assistant", printed.out.strip().partition(":")[2])
    assert users.holds("anna", "secret")


def test_a_damaged_token_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AccountsError, match=r"holds a damaged token: make it anew"):
        read(write(tmp_path, "assistant:token$12\n"))


def test_only_so_many_passwords_are_checked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MOST_WAITING", 2)
    monkeypatch.setattr(accounts, "PAUSE", 0.0)
    users = Accounts({"anna": "secret"})

    async def at_once() -> list[bool | None]:
        return await asyncio.gather(*(users.enter("anna", "secret") for _ in range(4)))

    assert asyncio.run(at_once()) == [True, True, None, None]
