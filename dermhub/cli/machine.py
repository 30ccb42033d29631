"""The machine that a program starts on: variables of the environment that would end it.

Notebooks, conda, proxy tools and schedulers leave variables behind which a library trips over while
it is imported, with an error that names no variable. `prepare` sets right what can be, before any
library is imported, and `sentence` names the variable behind an error that came all the same.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from urllib.parse import urlsplit

from dermhub.hub import environment

MOST_THREADS = 1024
"""Largest OMP_NUM_THREADS that is passed on; systems refuse to make many more."""

ALLOCATORS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Settings of PyTorch's memory, as key:value with commas between them."""

PATTERNS = {
    "anything": ".*",
    "a number": r"\d{1,6}(\.\d{1,6})?",
    "a number of columns from 10 to 999": r"[1-9]\d{1,2}",
    "the name of a colour, such as green, or #00ff00": (
        "black|red|green|yellow|blue|magenta|cyan|white|#[0-9a-f]{6}"
    ),
    "0 or 1": "[01]",
    "INFO, WARNING, ERROR or FATAL": "info|warning|error|fatal|[0-3]",
}
"""Words for what a setting has to be -> its pattern in any case."""

SETTINGS = {
    "TQDM_DISABLE": "anything",
    "TQDM_DELAY": "a number",
    "TQDM_MININTERVAL": "a number",
    "TQDM_MAXINTERVAL": "a number",
    "TQDM_MINITERS": "a number",
    "TQDM_NCOLS": "a number of columns from 10 to 999",
    "TQDM_COLOUR": "the name of a colour, such as green, or #00ff00",
    "TORCH_SHOW_CPP_STACKTRACES": "0 or 1",
    "TORCH_CPP_LOG_LEVEL": "INFO, WARNING, ERROR or FATAL",
}
"""Variable of a library that fails or complains over other values -> words of `PATTERNS`."""

EVERYDAY = {"HOME", "LANG", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "USER"}
"""Variables whose values stand in error messages for other reasons."""


def prepare() -> None:
    """Set variables right that would end a program, and say so on stderr where it matters.

    Pictures are only drawn into files, so a notebook's MPLBACKEND is replaced. PYTHONWARNINGS makes
    no errors of warnings. A number of threads that is none is dropped, and so are settings of
    PyTorch's memory and of progress bars that these can't read. Matplotlib's warnings are switched
    off.
    """
    os.environ["MPLBACKEND"] = "agg"
    # Gradio's reader of sound looks for programs there while it is imported.
    os.environ.setdefault("PATH", os.defpath)
    by_variable = [part for part in os.environ.get("PYTHONWARNINGS", "").split(",") if part]
    by_option = sys.warnoptions[len(by_variable) :]
    if not by_option and any(part.startswith("error") for part in by_variable):
        warnings.simplefilter("default")
    threads = os.environ.get("OMP_NUM_THREADS", "").strip()
    # Several numbers are for threads that start threads.
    if threads and not all(map(_is_thread_number, threads.split(","))):
        _drop(
            "OMP_NUM_THREADS",
            f"OMP_NUM_THREADS is {threads[:40]!r}, expected a number from 1 to {MOST_THREADS}: it "
            "is left out of account.",
        )
    for name in ALLOCATORS:
        value = os.environ.get(name, "")
        # PyTorch ends the process over it, which no program can catch.
        setting = r"\w+:(\[[^\]]*\]|[^,:\[\]]+)"
        if value and not re.fullmatch(f"{setting}(,{setting})*", value):
            _drop(name, f"{name} is {value[:80]!r}, expected key:value: it is left out of account.")
    for name, expected in SETTINGS.items():
        value = os.environ.get(name, "").strip()
        if name in os.environ and not re.fullmatch(PATTERNS[expected], value, re.I):
            problem = f"{name} is {value[:40]!r}, expected {expected}"
            _drop(name, f"{problem}: it is left out of account.")
    for name in [name for name in os.environ if name.startswith("TQDM_") and name not in SETTINGS]:
        _drop(name, f"{name} is no setting of the progress bars here: it is left out of account.")
    # Matplotlib tells at length that it has nowhere to keep its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def do_without_network() -> None:
    """Drop the variables with which a client of the network can't even be made; say so on stderr.

    For programs whose libraries make such clients while they are imported, and never use them.
    """
    problems = environment.import_problems() | environment.network_problems()
    problems |= _no_proxy_problems()
    for name, problem in problems.items():
        _drop(name, f"{problem} The page is served without it.")


def sentence(error: BaseException) -> str:
    """Say in one sentence which variable or folder of this machine is behind an error.

    Returns "" for an error that has another cause.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and "No usable temporary directory" in text:
        return (
            "There is no folder for temporary files that can be written: set TMPDIR to one, or "
            "give the container one (docker run --tmpfs /tmp)."
        )
    if isinstance(error, RuntimeError) and "home directory" in text:
        return environment.home_problem() or (
            "The home folder can't be told: set HOME to a folder that can be written."
        )
    name = next(_suspects(error), None)
    if name is None:
        return ""
    problems = environment.hub_problems() | environment.requests_problems()
    return problems.get(name) or (
        f"{name} is {os.environ[name][:80]!r}, with which a library fails ({type(error).__name__}: "
        f"{text[:160]}): correct or unset it."
    )


def _suspects(error: BaseException) -> Iterator[str]:
    """Yield the variables that an error is about: read where it was raised, or quoted in it."""
    cause: BaseException | None = error
    while cause is not None:
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            line = frame.line or ""
            if "env" in line:
                yield from (name for name in re.findall(r"\w{3,}", line) if name in os.environ)
        text = str(cause)
        for name, value in os.environ.items():
            quoted = f"'{value}'" in text and not value.isdecimal()
            if name not in EVERYDAY and (quoted or (len(value) > 4 and value in text)):
                yield name
        # Some messages name the variable, as in "for more try TORCH_LOGS=help".
        names = re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", text)
        yield from (name for name in names if name in os.environ and name not in EVERYDAY)
        cause = cause.__cause__ or cause.__context__


def _no_proxy_problems() -> dict[str, str]:
    """Map NO_PROXY to a sentence where a host in it is none that a client can read."""
    problems = {}
    for name in ("NO_PROXY", "no_proxy"):
        for host in filter(None, map(str.strip, os.environ.get(name, "").split(","))):
            try:
                _ = urlsplit(host if "://" in host else f"all://{host}").port
            except ValueError:
                # An IPv6 address without brackets looks like a host with an odd port.
                if not re.fullmatch(r"[0-9A-Fa-f:.]+(/\d+)?", host):
                    problems[name] = (
                        f"{name} names {host[:80]!r}, expected hosts with commas between them: "
                        f"correct or unset {name}."
                    )
    return problems


def _is_thread_number(text: str) -> bool:
    return text.strip().isdecimal() and 1 <= int(text) <= MOST_THREADS


def _drop(name: str, problem: str) -> None:
    del os.environ[name]
    print(f"dermhub: {problem}", file=sys.stderr)
