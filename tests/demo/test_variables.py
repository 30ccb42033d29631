"""Gradio's variables: name, port and path are heeded, an option wins, others are dropped."""

from __future__ import annotations

import os

import pytest

import app
from demo.server import variables


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the environment as it was, also where variables are dropped."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")}
    monkeypatch.setattr(os, "environ", kept)


def test_name_and_port_are_heeded_and_options_win() -> None:
    assert (app.options([]).host, app.options([]).port) == ("127.0.0.1", 7860)
    os.environ |= {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "7991"}
    assert (app.options([]).host, app.options([]).port) == ("0.0.0.0", 7991)
    given = app.options(["--host", "::1", "--port", "80"])
    assert (given.host, given.port) == ("::1", 80)


def test_empty_variables_are_as_if_they_were_not_set() -> None:
    os.environ |= {"GRADIO_SERVER_NAME": " ", "GRADIO_SERVER_PORT": ""}
    assert (app.options([]).host, app.options([]).port) == ("127.0.0.1", 7860)


@pytest.mark.parametrize("value", ["x", "0", "65536", "78 60", "-1"])
def test_a_port_that_is_none_is_named(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["GRADIO_SERVER_PORT"] = value
    with pytest.raises(SystemExit) as caught:
        app.options([])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(
        f"error: GRADIO_SERVER_PORT: {value} is no port, expected a number from 1 to 65535\n"
    )
    assert app.options(["--port", "80"]).port == 80


@pytest.mark.parametrize(
    "value", ["", "/", "/derm", "/a/b-c/", "https://clinic.example/derm", "http://10.0.0.1:8080"]
)
def test_paths_that_a_proxy_offers(value: str) -> None:
    os.environ["GRADIO_ROOT_PATH"] = value
    assert variables.root_path_problem() == ""
    assert variables.drop() == []
    assert os.environ["GRADIO_ROOT_PATH"] == value


@pytest.mark.parametrize(
    "value",
    [
        *("derm", "//x", "/a b", "/<script>", "/a\n"),
        *("https://", "ftp://x/", "https://x/?q", "http://[bad/"),
    ],
)
def test_paths_that_none_offers(value: str) -> None:
    os.environ["GRADIO_ROOT_PATH"] = value
    assert variables.root_path_problem() == (
        f"GRADIO_ROOT_PATH is {value!r}, expected a path such as /derm, or an address such as "
        "https://clinic.example/derm: correct or unset it."
    )


def test_what_could_hurt_is_dropped() -> None:
    os.environ |= {
        "GRADIO_ALLOWED_PATHS": "/",
        "GRADIO_SHARE": "True",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SHARE_SERVER_ADDRESS": "share.example:7000",
        "WEB_CONCURRENCY": "many",
    }
    assert variables.drop() == ["GRADIO_ALLOWED_PATHS", "GRADIO_SHARE"]
    left = {name for name in os.environ if name.startswith(("GRADIO_", "WEB_"))}
    assert left == {"GRADIO_SHARE_SERVER_ADDRESS"}
