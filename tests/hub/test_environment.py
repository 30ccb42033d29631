"""Variables of the environment that a network client trips over."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermhub.hub import environment

NAMES = (
    *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "NO")),
    *(f"{kind}_proxy" for kind in ("http", "https", "all", "no")),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HF_ENDPOINT", "SSLKEYLOGFILE", *environment.SENT, *environment.SECONDS),
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_set_is_no_problem() -> None:
    assert environment.hub_problems() == {}
    assert environment.requests_problems() == {}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "ALL_PROXY",
            "socks://127.0.0.1:7890/",
            "ALL_PROXY is 'socks://127.0.0.1:7890/', expected socks5:// or http:// at its "
            "beginning: correct it, or unset ALL_PROXY.",
        ),
        (
            "all_proxy",
            "socks5://127.0.0.1:7890",
            "all_proxy is 'socks5://127.0.0.1:7890', a SOCKS proxy, for which the package socksio "
            "is missing: pip install socksio, or unset all_proxy.",
        ),
        (
            "HTTPS_PROXY",
            "ftp://user:secret@proxy:21",
            "HTTPS_PROXY is 'ftp://***@proxy:21', expected an address such as "
            "http://127.0.0.1:8080: correct it, or unset HTTPS_PROXY.",
        ),
        (
            "HTTP_PROXY",
            "http://proxy:port",
            "HTTP_PROXY is 'http://proxy:port', expected an address such as "
            "http://127.0.0.1:8080: correct it, or unset HTTP_PROXY.",
        ),
        (
            "SSL_CERT_FILE",
            "/nonexistent/cacert.pem",
            "SSL_CERT_FILE is '/nonexistent/cacert.pem', from which no certificates can be read "
            "(No such file or directory): give the file or folder that holds them, or unset "
            "SSL_CERT_FILE.",
        ),
        (
            "SSL_CERT_DIR",
            "/nonexistent:/nothing",
            "SSL_CERT_DIR is '/nonexistent:/nothing', from which no certificates can be read (No "
            "such file or directory): give the file or folder that holds them, or unset "
            "SSL_CERT_DIR.",
        ),
        (
            "HF_ENDPOINT",
            "hf-mirror.com",
            "HF_ENDPOINT is 'hf-mirror.com', expected an address that begins with https:// or "
            "http://: set it to https://hf-mirror.com, or unset it.",
        ),
        (
            "HF_ENDPOINT",
            "",
            "HF_ENDPOINT is '', expected an address that begins with https:// or http://: unset "
            "it.",
        ),
        ("HF_ENDPOINT", "http://[", "HF_ENDPOINT is 'http://[', which is no address: correct or "
         "unset it."),
        (
            "HF_ENDPOINT",
            "https://huggingface.co:port",
            "HF_ENDPOINT is 'https://huggingface.co:port', which is no address: correct or unset "
            "it.",
        ),
        (
            "HF_HUB_USER_AGENT_ORIGIN",
            "\u00fc",
            "HF_HUB_USER_AGENT_ORIGIN holds letters that can't be sent (only ASCII can): copy it "
            "again, or unset it.",
        ),
        (
            "SSLKEYLOGFILE",
            "/nonexistent/keys",
            "SSLKEYLOGFILE is '/nonexistent/keys', which can't be written (No such file or "
            "directory): give a file that can be written, or unset it.",
        ),
        (
            "HF_HUB_ETAG_TIMEOUT",
            "10s",
            "HF_HUB_ETAG_TIMEOUT is '10s', expected a whole number of seconds: correct or unset "
            "it.",
        ),
        (
            "HF_TOKEN",
            "hf_\u2026",
            "HF_TOKEN holds letters that can't be sent (only ASCII can): copy it again, or unset "
            "it.",
        ),
    ],
)  # fmt: skip
def test_the_variable_is_named(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert environment.hub_problems() == {name: sentence}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("HTTPS_PROXY", "127.0.0.1:9"),
        ("https_proxy", "http://user:secret@proxy.example:3128/"),
        ("HF_ENDPOINT", "http://localhost:8080/"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", " 30 "),
        ("SSL_CERT_DIR", "/nonexistent:/"),
        ("FTP_PROXY", "nonsense"),
    ],
)
def test_what_clients_take_is_no_problem(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert environment.hub_problems() == {}


def test_a_proxy_that_is_never_asked_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890/")
    monkeypatch.setenv("NO_PROXY", "localhost, *")
    assert environment.network_problems() == {}


def test_a_small_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "socks://127.0.0.1:9")
    assert list(environment.network_problems()) == ["all_proxy"]


def test_a_file_without_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "cacert.pem"
    empty.write_text("no certificate\n")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(empty))
    assert list(environment.network_problems()) == ["SSL_CERT_FILE"]
    assert list(environment.requests_problems()) == ["REQUESTS_CA_BUNDLE"]
    # requests takes a folder, too.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert environment.requests_problems() == {}


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(_: int) -> None:
        raise KeyError

    assert environment.home_problem() == ""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert environment.home_problem() == (
        "There is no home folder (HOME is not set, and the user has no entry in the system's "
        "list): set HOME to a folder that can be written."
    )
    for name in environment.HUB_FOLDERS:
        monkeypatch.delenv(name, raising=False)
    assert "set HOME or HF_HOME to" in environment.home_problem(*environment.HUB_FOLDERS)
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    assert environment.home_problem(*environment.HUB_FOLDERS) == ""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "HTTPS_PROXY"),
        ({"all_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}, "all_proxy"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "hub.example"}, ""),
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, ""),
    ],
)
def test_the_proxy_that_is_asked(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.proxy_variable("https://hub.example") == expected
