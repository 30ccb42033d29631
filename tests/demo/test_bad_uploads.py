"""Odd and hostile uploads: the demo answers rightly, or in one sentence that names what came.

The kinds and the sentences stand in odd_files.py; benchmarks/hostile.py sends the same ones to the
shipped models and measures what they cost.
"""

from __future__ import annotations

import http.server
import re
import threading
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

import dermhub
from tests.support import odd_files
from tests.support.demo_client import Refused, as_file, ask, sentence_of, upload
from tests.support.demo_process import Demo

pytestmark = pytest.mark.slow

INSIDE = re.compile(r"Traceback|/tmp|/home|/root|site-packages|dermhub-|\n")
"""Words that would show the inside of the server in a sentence."""


def sent(demo: Demo, odd: odd_files.Odd) -> str:
    """The answer to a file."""
    (path,) = upload(demo.url, [(odd.name, odd.make())])
    return ask(demo.url, as_file(path))


def sentence(html: str) -> str:
    """The text of a refusal; fails where it is more than one sentence or shows the server."""
    text = sentence_of(html)
    assert text, html
    assert not INSIDE.search(text)
    return text


def refusal(demo: Demo, given: object) -> str:
    """The sentence for a value that no client of Gradio would send."""
    with pytest.raises(Refused) as caught:
        ask(demo.url, given)
    assert not INSIDE.search(str(caught.value))
    return str(caught.value)


def still_works(demo: Demo) -> None:
    """The next visitor gets an answer."""
    assert "Probability of any cancer" in sent(demo, odd_files.ACCEPTED["JPEG"])


@pytest.mark.parametrize("kind", odd_files.REFUSED)
def test_refused_in_one_sentence(demo: Demo, kind: str) -> None:
    odd = odd_files.REFUSED[kind]
    assert sentence(sent(demo, odd)).startswith(odd.expected)
    still_works(demo)


@pytest.mark.parametrize("kind", odd_files.ACCEPTED | odd_files.LIMITS)
def test_answered_like_the_library(demo: Demo, trained: dict[str, Path], kind: str) -> None:
    odd = (odd_files.ACCEPTED | odd_files.LIMITS)[kind]
    html = sent(demo, odd)
    models = [dermhub.load(trained[task]) for task in ("binary", "lesion")]
    expected = dermhub.assess(*(model.predict(odd.make()) for model in models))
    assert unescape(html).count(expected.title) >= 1
    assert f"<dd>{expected.malignancy:.4f}</dd>" in html
    assert "onerror" not in html
    assert "passwd" not in html


def test_a_name_that_leads_away_in_other_letters(client: Any, demo: Demo, tmp_path: Path) -> None:
    odd_files.lesion().save(tmp_path / "..%2f..%2fetc%2fpasswd.png")
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(tmp_path / "..%2f..%2fetc%2fpasswd.png"), api_name="/analyse")
    assert "passwd" not in str(caught.value)
    still_works(demo)


def test_a_file_over_the_limit_is_refused(demo: Demo) -> None:
    with pytest.raises(Refused) as caught:
        upload(demo.url, [("big.png", odd_files.saved("PNG") + bytes(21 * 2**20))])
    assert str(caught.value) == odd_files.TOO_BIG
    still_works(demo)


def test_two_files_at_once(demo: Demo) -> None:
    paths = upload(
        demo.url, [("a.png", odd_files.saved("PNG")), ("b.jpg", odd_files.saved("JPEG"))]
    )
    assert len(paths) == 2
    assert refusal(demo, [as_file(path) for path in paths]) == odd_files.TWO
    still_works(demo)


@pytest.mark.parametrize("kind", odd_files.VALUES)
def test_what_is_no_file_is_refused_in_one_sentence(demo: Demo, kind: str) -> None:
    given, expected = odd_files.VALUES[kind]
    assert refusal(demo, given) == expected
    still_works(demo)


def test_a_link_is_not_followed(demo: Demo, tmp_path: Path) -> None:
    secret = demo.home / "secret.png"
    odd_files.lesion().save(secret)
    (tmp_path / "link.png").symlink_to(secret)
    (uploaded,) = upload(demo.url, [("lesion.png", odd_files.saved("PNG"))])
    Path(uploaded).unlink()
    Path(uploaded).symlink_to(secret)
    # Even in the server's own folder, where no visitor could put one.
    for path in (str(secret), str(tmp_path / "link.png"), uploaded):
        assert refusal(demo, {"path": path}) == odd_files.NO_PATH
        assert refusal(demo, as_file(path)) == odd_files.NO_PATH
    Path(uploaded).unlink()
    secret.unlink()
    still_works(demo)


def test_an_address_inside_is_not_asked(demo: Demo) -> None:
    asked = []

    class Inside(http.server.BaseHTTPRequestHandler):
        """A service that only the server itself could reach."""

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(odd_files.saved("PNG"))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Inside) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for given in odd_files.addresses(f"http://127.0.0.1:{server.server_port}/metadata.png"):
            assert refusal(demo, given) == odd_files.ADDRESS
        server.shutdown()
        thread.join()
    assert asked == []
    still_works(demo)
