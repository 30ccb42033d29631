"""The demo's functions as tools: a real MCP client lists them, and asks for two answers."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path
from typing import Any

import pytest

import dermhub
from demo import accounts
from demo.page.html import NOTICE
from dermhub.images.drawn_lesions import draw
from tests.support.demo_process import serve
from tests.support.raw_http import post_json, request

pytestmark = pytest.mark.slow

pytest.importorskip(
    "mcp", reason="the demo's tools need one more package: pip install 'gradio[mcp]'"
)

TOOLS = ["analyse", "predict", "explain", "check_stability", "similar", "at_prevalence"]
"""The endpoints without `predict_several`, whose files Gradio's tools can't describe."""


async def ask(
    url: str, *calls: tuple[str, dict[str, Any]], token: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """The tools that the server offers, by name, and the text of each answer."""
    import httpx
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(url, http_client=http) as (reader, writer, _),
        ClientSession(reader, writer) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        answers = []
        for name, arguments in calls:
            result = await session.call_tool(name, arguments)
            assert not result.isError, result.content
            answer: Any = result.content[0]
            answers.append(answer.text)
        return tools, answers


def test_a_client_lists_the_tools_and_is_answered(trained: dict[str, Path], tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    draw(5, (300, 200), 0.7).save(photo)
    sent = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    options = ("--binary", trained["binary"], "--lesion", trained["lesion"], "--mcp")
    with serve(tmp_path, *options) as demo:
        calls = (("predict", {"image": sent}), ("at_prevalence", {"percent": 5}))
        tools, (predicted, meaning) = asyncio.run(ask(f"{demo.url}/gradio_api/mcp/", *calls))
    assert list(tools) == TOOLS
    assert "Research software, not a medical device." in tools["predict"].description
    assert tools["explain"].inputSchema["required"] == ["image"]
    both = (dermhub.load(trained[task]).predict(photo) for task in ("binary", "lesion"))
    expected = dermhub.assess(*both)
    stated = re.search(r"'malignancy': ([\d.]+)", predicted)
    assert stated is not None
    assert float(stated[1]) == pytest.approx(expected.malignancy, abs=1e-4)
    assert f"'zone': '{expected.zone}'" in predicted
    assert NOTICE in predicted
    assert meaning.startswith("{'prevalence': 0.05, ")
    assert NOTICE in meaning


def test_with_passwords_a_token_is_asked_for(trained: dict[str, Path], tmp_path: Path) -> None:
    token, line = accounts.new_token("assistant")
    file = tmp_path / "accounts"
    file.write_text(f"{line}\nanna:secret\n")
    file.chmod(0o600)
    options = ("--binary", trained["binary"], "--lesion", trained["lesion"])
    hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    with serve(tmp_path, *options, "--mcp", "--auth-file", file) as demo:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            for path in ("/gradio_api/mcp/", "/gradio_api/mcp/schema"):
                status, _, text = post_json(demo.url, path, hello, **headers)
                assert (status, "predict" in text) == (401, False)
        url = f"{demo.url}/gradio_api/mcp/"
        tools, (meaning,) = asyncio.run(ask(url, ("at_prevalence", {"percent": 5}), token=token))
        assert list(tools) == TOOLS
        assert meaning.startswith("{'prevalence': 0.05, ")
        # The token is no password of anybody.
        form = f"username=assistant&password={token}".encode()
        status, *_ = request(demo.url, "/login", form, "application/x-www-form-urlencoded")
        assert status == 400
