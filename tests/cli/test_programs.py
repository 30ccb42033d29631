"""The command as an installed program: version, help, completion, and the programs behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dermhub
from dermhub import installation
from dermhub.cli.main import main, make_parser
from dermhub.models import catalog
from tests.support.tiny import Command

ROOT = Path(dermhub.__file__).parent.parent


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a Python of its own."""
    command = [sys.executable, "-m", "dermhub", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"dermhub {dermhub.__version__}\n"


def test_help_names_the_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path)
    assert "The shipped models are one, two." in make_parser().format_help().replace("\n", " ")
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path / "none")
    assert "No model is shipped." in make_parser().format_help()


def test_the_help_has_the_name_by_which_it_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for called, name in (("bin/dermhub", "dermhub"), ("dermhub.exe", "dermhub")):
        monkeypatch.setattr(sys, "argv", [called])
        with pytest.raises(SystemExit):
            main(["predict", "--help"])
        assert capsys.readouterr().out.startswith(f"usage: {name} predict ")


def test_a_model_that_lost_its_configuration(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lesion").mkdir()
    (tmp_path / "lesion" / "model.onnx").touch()
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path)
    code, out, err = command("predict", "x.jpg")
    assert (code, out) == (2, "")
    assert err == (
        f"dermhub: The model 'lesion' is not whole: {tmp_path / 'lesion'} has no config.json. "
        "Install dermhub again, or restore the file with git.\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(command: Command, shell: str) -> None:
    code, out, err = command("completion", shell)
    assert (code, err) == (0, "")
    for word in ("predict", "serve", "explain", "completion"):
        assert word in out


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(command: Command, tmp_path: Path) -> None:
    _, script, _ = command("completion", "bash")
    (tmp_path / "script").write_text(script)
    asks = "\n".join(
        f"COMP_WORDS=({words} '{start}'); COMP_CWORD={len(words.split())}; COMPREPLY=(); "
        '$(complete -p dermhub | sed "s/.*-F \\([^ ]*\\).*/\\1/") dermhub; '
        'printf "%s " "${COMPREPLY[@]}"; echo'
        for words, start in (
            ("dermhub", "pre"),
            ("dermhub predict", "--fo"),
            ("dermhub predict --format", ""),
        )
    )
    done = subprocess.run(
        ["bash", "-c", f"source {tmp_path}/script\n{asks}"], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["predict ", "--format ", "table json csv "]


def test_completion_without_shtab(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert command("completion", "bash") == (
        2,
        "",
        "dermhub: completion needs shtab, which is not installed: pip install shtab.\n",
    )


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["completion", "fish"])
    assert caught.value.code == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "program"), [("serve", "app.py"), ("train", "train.py")])
def test_programs_have_their_own_options(name: str, program: str) -> None:
    done = process(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: dermhub {name} [-h]")
    alone = subprocess.run(
        [sys.executable, program, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    # The lines after the usage, which is broken where the name ends.
    after = [text.partition("\n\n")[2] for text in (done.stdout, alone.stdout)]
    assert after[0] == after[1] != ""


def test_a_wrong_option_of_a_program_is_exit_code_2() -> None:
    done = process("serve", "--prot", "80")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --prot 80" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "script", "options"),
    [
        ("serve", "app.py", ["--lesion", "nowhere"]),
        ("train", "train.py", ["--data", "nowhere", "--task", "lesion", "--out", "nowhere/else"]),
    ],
)
def test_messages_of_a_program_begin_with_the_command_that_was_given(
    name: str, script: str, options: list[str]
) -> None:
    done = process(name, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"dermhub {name}: ")
    alone = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, cwd=ROOT
    )
    assert alone.stderr == done.stderr.replace(f"dermhub {name}: ", f"{script}: ")


@pytest.mark.slow
def test_an_account_for_the_demo() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dermhub", "account", "anna"],
        input="secret\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("anna:scrypt$")


def test_a_copy_without_the_program(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "dermhub")
    assert command("serve") == (
        2,
        "",
        f"dermhub: There is no {tmp_path / 'app.py'}, which `dermhub serve` runs: install dermhub "
        "again, or run the command in a clone.\n",
    )
