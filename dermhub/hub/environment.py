"""Variables of the environment with which a network client fails, each named in one sentence.

Proxy tools, conda and guides to mirrors set variables that a client of the network trips over,
often with an error that names no variable. These functions only look; nothing is set or changed.
Ask them when a client has failed, or drop the variables that they name where no network is needed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.parse import urlsplit

PROXIES = ("http", "https", "all")
"""Beginnings of the names HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, which may be written small."""

SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
"""Variables that the hub's client turns into whole numbers while it is imported."""

SENT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_USER_AGENT_ORIGIN")
"""Variables whose text goes along with every question to the hub."""

HUB_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HUGGINGFACE_HUB_CACHE")
"""Variables that name the hub's cache, so that no home folder is needed."""


def network_problems() -> dict[str, str]:
    """Map each variable with which an httpx client (the hub's, Gradio's) fails to a sentence."""
    return (
        _proxy_problems("socksio")
        | _certificate_problems("SSL_CERT_FILE", "SSL_CERT_DIR")
        | _key_log_problems()
    )


def requests_problems() -> dict[str, str]:
    """Map each variable with which a client of requests (Kaggle's) fails to a sentence."""
    return (
        _proxy_problems("socks")
        | _certificate_problems("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        | _key_log_problems()
    )


def hub_problems() -> dict[str, str]:
    """Map each variable with which the hub can't be asked to a sentence."""
    problems = import_problems()
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint is not None and "HF_ENDPOINT" not in problems:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            example = f"https://{endpoint}" if endpoint and ":" not in endpoint else ""
            problems["HF_ENDPOINT"] = (
                f"HF_ENDPOINT is {_shown(endpoint)}, expected an address that begins with https:// "
                f"or http://: {f'set it to {example}, or ' if example else ''}unset it."
            )
    for name in SENT:
        if not os.environ.get(name, "").isascii():
            problems[name] = (
                f"{name} holds letters that can't be sent (only ASCII can): copy it again, or "
                "unset it."
            )
    return problems | network_problems()


def import_problems() -> dict[str, str]:
    """Map each variable with which the hub's client can't even be imported to a sentence."""
    problems = {}
    for name in SECONDS:
        value = os.environ.get(name, "0")
        try:
            int(value)
        except ValueError:
            problems[name] = (
                f"{name} is {_shown(value)}, expected a whole number of seconds: correct or unset "
                "it."
            )
    endpoint = os.environ.get("HF_ENDPOINT", "")
    try:
        # A property that raises ValueError for a port that is no number.
        _ = urlsplit(endpoint).port
    except ValueError:
        problems["HF_ENDPOINT"] = (
            f"HF_ENDPOINT is {_shown(endpoint)}, which is no address: correct or unset it."
        )
    return problems


def proxy_variable(address: str) -> str:
    """Return the variable whose proxy a client asks for an address, "" where it asks none."""
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(address)
    proxies = getproxies_environment()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), "")
    return _written(kind) if kind else ""


def home_problem(*instead: str) -> str:
    """Say in one sentence that there is no home folder.

    Returns "" where there is one, and where one of the variables `instead` names a folder for the
    purpose.
    """
    if any(os.environ.get(name) for name in instead):
        return ""
    try:
        Path.home()
    except RuntimeError:
        # Only the first is named: the others are there for those who know them.
        names = " or ".join(("HOME", *instead[:1]))
        return (
            "There is no home folder (HOME is not set, and the user has no entry in the system's "
            f"list): set {names} to a folder that can be written."
        )
    return ""


def _proxy_problems(package: str) -> dict[str, str]:
    """Map each proxy variable that no client takes to a sentence.

    `package` is the module that a client needs for SOCKS proxies.
    """
    from urllib.request import getproxies_environment

    proxies = getproxies_environment()
    if "*" in [name.strip() for name in proxies.get("no", "").split(",")]:
        return {}
    problems = {}
    for kind in PROXIES:
        address = proxies.get(kind, "")
        problem = _proxy_problem(address, package) if address else ""
        if problem:
            name = _written(kind)
            problems[name] = f"{name} is {_shown(address)}, {problem}, or unset {name}."
    return problems


def _written(kind: str) -> str:
    """Return the name of a proxy variable as it is set; the small one wins where both are."""
    small = f"{kind}_proxy"
    return small if os.environ.get(small) else small.upper()


def _proxy_problem(address: str, package: str) -> str:
    """Return the rest of the sentence about a proxy's address; "" for one that a client takes."""
    example = "expected an address such as http://127.0.0.1:8080: correct it"
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        _ = parts.port
    except ValueError:
        return example
    if parts.scheme in ("socks5", "socks5h") and parts.hostname:
        try:
            __import__(package)
        except ImportError:
            advice = "socksio" if package == "socksio" else "PySocks"
            return f"a SOCKS proxy, for which the package {advice} is missing: pip install {advice}"
        return ""
    if parts.scheme == "socks":
        return "expected socks5:// or http:// at its beginning: correct it"
    return "" if parts.scheme in ("http", "https") and parts.hostname else example


def _certificate_problems(*names: str) -> dict[str, str]:
    """Map the first of the variables that is set to a sentence, where it has no certificates."""
    name = next((name for name in names if os.environ.get(name)), "")
    value = os.environ.get(name, "")
    try:
        if name:
            _read_certificates(name, value)
    except OSError as error:
        return {
            name: f"{name} is {_shown(value)}, from which no certificates can be read "
            f"({error.strerror or error}): give the file or folder that holds them, or unset "
            f"{name}."
        }
    return {}


def _read_certificates(name: str, value: str) -> None:
    """Read what a variable names as certificates; raises OSError where a client would fail."""
    import ssl

    if name == "SSL_CERT_DIR":
        if not any(Path(folder).is_dir() for folder in value.split(os.pathsep)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    elif name == "SSL_CERT_FILE" or not Path(value).is_dir():
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)


def _key_log_problems() -> dict[str, str]:
    """Map SSLKEYLOGFILE to a sentence, where it names a file that can't be written."""
    name = "SSLKEYLOGFILE"
    value = os.environ.get(name, "")
    try:
        if value:
            # As Python does for every connection.
            Path(value).open("ab").close()
    except OSError as error:
        return {
            name: f"{name} is {_shown(value)}, which can't be written ({error.strerror}): give a "
            "file that can be written, or unset it."
        }
    return {}


def _shown(value: str) -> str:
    """Quote a value for a sentence, short and without the password of a proxy."""
    scheme, mark, rest = value.rpartition("://")
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    text = scheme + mark + rest
    return repr(text if len(text) <= 80 else text[:80] + "...")
