"""Text from elsewhere stays text when it is printed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dermhub.cli import terminal
from tests.support.tiny import Command

ROOT = Path(terminal.__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lesion 1.jpg\tÜbung, 病变\n", "lesion 1.jpg\tÜbung, 病变\n"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\x08c\x7fd\x00", r"a\rb\x08c\x7fd\x00"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\u2028b\u2066c", r"a\u2028b\u2066c"),
        ("\x85\x0b\x0c", r"\x85\x0b\x0c"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert terminal.printable(text) == shown


def test_names_with_line_feeds_make_no_lines() -> None:
    assert terminal.one_line("a\nmel 0.99\x1b") == r"a\nmel 0.99\x1b"


def test_the_table_of_predict_has_a_line_for_an_image(
    command: Command, tiny_binary_model: Path, photo: Path, tmp_path: Path
) -> None:
    names = ["a\nb.jpg", "\x1b[31mc.jpg"]
    for name in names:
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "bad\n.jpg").write_text("text")
    paths = [tmp_path / name for name in (*names, "bad\n.jpg")]
    code, out, err = command("predict", *paths, "--model", tiny_binary_model)
    assert code == 2
    assert rf"{tmp_path}/a\nb.jpg " in out
    assert rf"{tmp_path}/\x1b[31mc.jpg " in out
    assert err.startswith(rf"dermhub: {tmp_path}/bad\n.jpg is a text file")
    assert err.count("\n") == 1


def test_output_is_printable_and_the_streams_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with terminal.printable_output():
        print("a\x1b[2J", "b\r")
        print("c\x07", file=sys.stderr)
        # As a progress bar writes its line over.
        sys.stderr.write("\r1 of 2\r")
        assert sys.stdout.encoding == before[0].encoding
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("a\\x1b[2J b\\r\n", "c\\x07\n\r1 of 2\\r")


def test_the_streams_come_back_after_an_error() -> None:
    before = sys.stdout
    with pytest.raises(ZeroDivisionError), terminal.printable_output():
        _ = 1 / 0
    assert sys.stdout is before


def test_a_stream_that_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with terminal.printable_output():
        print("Übung \udcff.jpg")
    stream.flush()
    assert raw.getvalue() == b"\\xdcbung \\udcff.jpg\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_costs_nothing(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m dermhub list {closed}', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["app.py", "train.py", "-m dermhub"])
def test_no_program_prints_what_a_terminal_obeys(program: str) -> None:
    name = "\x1b[31m\u202ex"
    done = subprocess.run(
        [sys.executable, *program.split(), name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 2
    assert r"\x1b[31m\u202ex" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
