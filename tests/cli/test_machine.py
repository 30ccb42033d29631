"""Variables of the environment that end no program: set right, or named in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from dermhub.cli import machine
from dermhub.data import image_files

ROOT = Path(machine.__file__).parents[2]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the environment as it was, also where variables are dropped."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("ALL_PROXY", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "OMP_NUM_THREADS"):
        os.environ.pop(name, None)


def test_a_notebooks_backend_is_replaced() -> None:
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    machine.prepare()
    assert os.environ["MPLBACKEND"] == "agg"


def test_a_missing_path_of_programs_is_set() -> None:
    del os.environ["PATH"]
    machine.prepare()
    assert os.environ["PATH"] == os.defpath


@pytest.mark.parametrize("value", ["many", "0", "-3", "99999", "1.5", "2,x", "²"])
def test_numbers_of_threads_that_are_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["OMP_NUM_THREADS"] = value
    machine.prepare()
    assert "OMP_NUM_THREADS" not in os.environ
    assert capsys.readouterr().err == (
        f"dermhub: OMP_NUM_THREADS is {value!r}, expected a number from 1 to 1024: it is left out "
        "of account.\n"
    )


@pytest.mark.parametrize("value", ["1", " 4 ", "4,2", "1024", ""])
def test_numbers_of_threads_stay(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["OMP_NUM_THREADS"] = value
    machine.prepare()
    assert os.environ["OMP_NUM_THREADS"] == value
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("TQDM_MININTERVAL", "x", False),
        ("TQDM_NCOLS", "-1", False),
        ("TQDM_MININTERVAL", "10", True),
        ("TQDM_DISABLE", "yes", True),
        ("TQDM_COLOUR", "red", True),
        ("TQDM_COLOUR", "#00FF7f", True),
        ("TQDM_COLOUR", "redd", False),
        ("TQDM_NCOLS", "10.5", False),
        ("TQDM_NCOLS", "80", True),
        ("TQDM_FILE", "out.txt", False),
        ("TQDM_BAR_FORMAT", "{x", False),
        ("TORCH_CPP_LOG_LEVEL", "warning", True),
        ("TORCH_CPP_LOG_LEVEL", "loud", False),
        ("TORCH_SHOW_CPP_STACKTRACES", "x", False),
        ("PYTORCH_CUDA_ALLOC_CONF", "x", False),
        ("PYTORCH_CUDA_ALLOC_CONF", "roundup_power2_divisions:[256:1,>:4],backend:native", True),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128,expandable_segments:True", True),
    ],
)
def test_settings_that_a_library_can_not_read(
    name: str, value: str, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ[name] = value
    machine.prepare()
    assert (name in os.environ) == kept
    err = capsys.readouterr().err
    assert (err == "") == kept
    assert err.count("\n") == (0 if kept else 1)


@pytest.mark.parametrize(
    ("variable", "options", "raised"),
    [
        ("error", [], False),
        ("error::UserWarning", [], False),
        ("ignore", [], True),
        ("error", ["error"], True),
    ],
)
def test_warnings_are_no_errors_by_a_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, options: list[str], raised: bool
) -> None:
    os.environ["PYTHONWARNINGS"] = variable
    monkeypatch.setattr(sys, "warnoptions", [variable, *options])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine.prepare()
        if raised:
            with pytest.raises(UserWarning):
                warnings.warn("x", stacklevel=1)
        else:
            warnings.simplefilter("ignore", append=False)
            warnings.warn("x", stacklevel=1)


def test_what_the_page_does_not_need_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ |= {
        "ALL_PROXY": "socks://127.0.0.1:7890/",
        "SSL_CERT_FILE": "/nonexistent/cacert.pem",
        "HF_HUB_ETAG_TIMEOUT": "soon",
        "NO_PROXY": "localhost,[::1",
        "no_proxy": "localhost,127.0.0.0/8,::1,fe80::1,.local",
    }
    machine.do_without_network()
    assert not {"ALL_PROXY", "SSL_CERT_FILE", "HF_HUB_ETAG_TIMEOUT", "NO_PROXY"} & set(os.environ)
    assert "no_proxy" in os.environ
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.endswith(" The page is served without it.") for line in lines)
    assert (
        "dermhub: NO_PROXY names '[::1', expected hosts with commas between them: correct or unset "
        "NO_PROXY. The page is served without it."
    ) in lines


def raised(code: str) -> BaseException:
    """The error that code raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        exec(code, {})
    return caught.value


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "raise FileNotFoundError(2, 'No usable temporary directory found in [...]')",
            "There is no folder for temporary files that can be written: set TMPDIR to one, or "
            "give the container one (docker run --tmpfs /tmp).",
        ),
        (
            "raise RuntimeError('Could not determine home directory.')",
            "The home folder can't be told: set HOME to a folder that can be written.",
        ),
        (
            "import os; int('some thing')",
            "DERMHUB_ODD is 'some thing', with which a library fails (ValueError: invalid literal "
            "for int() with base 10: 'some thing'): correct or unset it.",
        ),
        (
            "raise ValueError('Unknown setting of DERMHUB_NUMBER. Try 0 or 1.')",
            "DERMHUB_NUMBER is '7', with which a library fails (ValueError: Unknown setting of "
            "DERMHUB_NUMBER. Try 0 or 1.): correct or unset it.",
        ),
        ("1 / 0", ""),
        ("int('x7')", ""),
    ],
)
def test_the_variable_behind_an_error_is_named(code: str, expected: str) -> None:
    os.environ |= {"DERMHUB_ODD": "some thing", "DERMHUB_NUMBER": "7"}
    assert machine.sentence(raised(code)) == expected


def test_the_place_where_a_variable_is_read_is_enough(tmp_path: Path) -> None:
    (tmp_path / "odd_library.py").write_text(
        "import os\nSECONDS = int(os.environ.get('DERMHUB_SECONDS', '3'))\n"
    )
    os.environ["DERMHUB_SECONDS"] = "9.5e"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        error = raised("import odd_library")
    assert machine.sentence(error).startswith("DERMHUB_SECONDS is '9.5e', with which a library")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TORCH_LOGS", "PYTORCH_JIT"])
def test_variables_of_pytorch(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "train.py", "--data", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, name: "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"train.py: {name} is 'x', with which a library fails (ValueEr")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("home", ["/proc/none", None])
def test_a_home_that_can_not_be_written_costs_no_lines(home: str | None, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL", "HOME"))}
    done = subprocess.run(
        [sys.executable, "train.py", "--data", str(tmp_path)],
        cwd=ROOT,
        env=environment | ({"HOME": home} if home else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"train.py: {tmp_path} holds no images ({', '.join(image_files.SUFFIXES)}): give the "
        "folder that holds them.\n",
    )


@pytest.mark.parametrize(
    ("program", "variables", "said"),
    [
        (
            ["train.py", "--data", "none"],
            {"RANK": "x", "WORLD_SIZE": "1"},
            "train.py: RANK and WORLD_SIZE are set, as torchrun sets them, but RANK is 'x': start "
            "with torchrun, or unset RANK and WORLD_SIZE.\n",
        ),
        (
            ["train.py", "--data", "none"],
            {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "9"},
            "train.py: RANK and WORLD_SIZE are set, as torchrun sets them, but MASTER_ADDR is '': "
            "start with torchrun, or unset RANK and WORLD_SIZE.\n",
        ),
    ],
)
def test_variables_of_torchrun(program: list[str], variables: dict[str, str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, said)
