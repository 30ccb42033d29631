"""A client of the running demo by HTTP alone, which can send what no honest client would."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from html import unescape
from typing import Any

BOUNDARY = "dermhub-boundary"


class Refused(Exception):
    """Raised where the server took something not in; the text is its own."""


def upload(url: str, files: Sequence[tuple[str, bytes]]) -> list[str]:
    """Send files (name, content) in one request and return where the server put them.

    Raises Refused.
    """
    parts = b"".join(
        f"--{BOUNDARY}\r\n".encode()
        + f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + content
        + b"\r\n"
        for name, content in files
    )
    body = parts + f"--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return [str(path) for path in json.loads(_post(f"{url}/gradio_api/upload", body, kind))]


def as_file(path: str) -> dict[str, Any]:
    """An uploaded file as an endpoint takes it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def ask(url: str, given: object, endpoint: str = "analyse") -> str:
    """Return an endpoint's answer to one value: HTML, or the JSON of its record. Raises Refused."""
    address = f"{url}/gradio_api/call/{endpoint}"
    event = json.loads(_post(address, json.dumps({"data": [given]}).encode(), "application/json"))[
        "event_id"
    ]
    with urllib.request.urlopen(f"{address}/{event}", timeout=120) as reply:
        lines = reply.read().decode().splitlines()
    (ended,) = [n for n, line in enumerate(lines) if line in ("event: complete", "event: error")]
    value = json.loads(lines[ended + 1].removeprefix("data: "))
    if lines[ended] == "event: error":
        raise Refused(str(value.get("error") if isinstance(value, dict) else value))
    return value[0] if isinstance(value[0], str) else json.dumps(value[0])


def sentence_of(html: str) -> str:
    """Return the sentence of an answer that is the refusal of a file, "" for any other answer."""
    refused = re.fullmatch(
        r'<div class="derm derm-problem" role="alert" data-say="[^"]*">'
        r"<h2>We couldn&#39;t open this file</h2><p>(.*)</p></div>",
        html,
    )
    return unescape(refused[1]) if refused else ""


def _post(address: str, body: bytes, kind: str) -> str:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, body, {"Content-Type": kind}), timeout=120
        ) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        try:
            raise Refused(str(json.loads(text)["detail"])) from None
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{error.code} {text}") from None
