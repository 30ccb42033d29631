"""What the demo says about odd and hostile uploads: the right answer, or one sentence that names what came."""

from __future__ import annotations

import http.server
import io
import json
import re
import struct
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import Demo

import dermhub
from dermhub.drawings import draw

pytestmark = pytest.mark.slow


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def zipped() -> bytes:
    """A ZIP archive with an image in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("lesion.png", saved(LESION, "PNG"))
    return stream.getvalue()


LESION = draw(3, (200, 150), 0.8)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><image href="file:///etc/passwd"/></svg>'
FRAMES = {"save_all": True, "append_images": [draw(4, (200, 150))]}
DEEP = Image.fromarray(np.asarray(LESION.convert("L")).astype(np.uint16) * 257)

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "no bytes": ("empty.jpg", b"", "is empty"),
    "text": ("text.jpg", b"just a text", "is a text file"),
    "html": ("page.html", b"<!doctype html><script>alert(1)</script>", "is an HTML page"),
    "svg": ("drawing.svg", SVG, "is an SVG drawing"),
    "svg called png": ("drawing.png", SVG, "is an SVG drawing"),
    "pdf": ("paper.pdf", b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF", "is a PDF document"),
    "postscript": ("draw.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n", "a PostScript"),
    "zip": ("images.zip", zipped(), "is a ZIP archive"),
    "dicom": ("lesion.dcm", bytes(128) + b"DICM" + bytes(400), "is a DICOM file"),
    "heic": ("IMG_1.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "is a HEIC photo: save it as JPEG"),
    "executable": ("lesion.jpg.exe", b"MZ" + bytes(400), "is a Windows program"),
    "jpeg cut short": ("half.jpg", saved(LESION, "JPEG")[:2000], "cut short"),
    "png cut short": ("half.png", saved(LESION, "PNG")[:9000], "cut short"),
    "only a jpeg's start": ("start.jpg", b"\xff\xd8\xff\xe0", "cut short"),
    "400 megapixels promised": ("bomb.png", png_header(20_000, 20_000), "64 million pixels"),
    "4 terapixels promised": ("bomb.png", png_header(2_000_000, 2_000_000), "64 million pixels"),
    "120 megapixels held": ("bomb.png", saved(Image.new("1", (12_000, 10_000)), "PNG"), "12000 x 10000"),
    "animated gif": ("moving.gif", saved(LESION, "GIF", **FRAMES), "2 frames"),
    "animated webp": ("moving.webp", saved(LESION, "WEBP", **FRAMES), "2 frames"),
    "one pixel": ("dot.png", saved(Image.new("RGB", (1, 1)), "PNG"), "1 x 1"),
    "a strip": ("strip.png", saved(Image.new("RGB", (10_000, 40)), "PNG"), "10000 x 40"),
    "a line": ("line.png", saved(Image.new("RGB", (10_000, 1)), "PNG"), "10000 x 1"),
}
"""What came -> file name, content, words of the answer."""

ANSWERED: dict[str, tuple[str, bytes]] = {
    "jpeg": ("lesion.jpg", saved(LESION, "JPEG")),
    "cmyk": ("lesion.jpg", saved(LESION.convert("CMYK"), "JPEG")),
    "grey": ("lesion.png", saved(LESION.convert("L"), "PNG")),
    "16 bits": ("lesion.png", saved(DEEP, "PNG")),
    "palette with transparency": ("lesion.png", saved(LESION.quantize(32), "PNG", transparency=0)),
    "alpha": ("lesion.png", saved(LESION.convert("RGBA"), "PNG")),
    "icc profile": ("lesion.jpg", saved(LESION, "JPEG", icc_profile=b"\0" * 200)),
    "wrong extension": ("lesion.txt", saved(LESION, "PNG")),
    "no extension": ("lesion", saved(LESION, "PNG")),
    "webp": ("lesion.webp", saved(LESION, "WEBP")),
    "tiff": ("lesion.tif", saved(LESION, "TIFF")),
    "unicode name": ("Läsion 病变 \u202egnp.png", saved(LESION, "PNG")),
    "markup in the name": ("<img src=x onerror=alert(1)>.png", saved(LESION, "PNG")),
    "black": ("black.png", saved(Image.new("RGB", (200, 150)), "PNG")),
    **{
        f"exif orientation {n}": ("lesion.jpg", saved(LESION, "JPEG", exif=bytes.fromhex(
            "4578696600004d4d002a000000080001011200030000000100" + f"{n:02x}" + "0000" + "00000000")))
        for n in range(1, 9)
    },
}  # fmt: skip


def sentence(html: str) -> str:
    """The text of an answer that is a refusal; fails where it is more than one sentence or shows the server."""
    found = re.fullmatch(
        r'<div class="derm-problem" role="alert" data-say="[^"]*"><strong>No answer.</strong> (.*)</div>', html
    )
    assert found is not None, html
    text = unescape(found[1])
    assert not re.search(r"Traceback|/tmp|/home|site-packages|\n", text)
    return text


def still_works(client: Any, folder: Path) -> None:
    """The next visitor gets an answer."""
    LESION.save(folder / "next.png")
    assert "Probability of malignancy" in client.predict(handle_file(folder / "next.png"), api_name="/analyse")


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_sentence(client: Any, tmp_path: Path, kind: str) -> None:
    name, content, words = REFUSED[kind]
    (tmp_path / name).write_bytes(content)
    assert words in sentence(client.predict(handle_file(tmp_path / name), api_name="/analyse"))
    still_works(client, tmp_path)


@pytest.mark.parametrize("kind", ANSWERED)
def test_answered_like_the_library(client: Any, trained: dict[str, Path], tmp_path: Path, kind: str) -> None:
    name, content = ANSWERED[kind]
    (tmp_path / name).write_bytes(content)
    html = client.predict(handle_file(tmp_path / name), api_name="/analyse")
    expected = dermhub.load(trained["binary"]).predict(content)
    assert f"Probability of malignancy: {expected.malignancy:.1%}" in html
    assert "onerror" not in html


def test_a_name_that_leads_away_is_refused(client: Any, tmp_path: Path) -> None:
    LESION.save(tmp_path / "..%2f..%2fetc%2fpasswd.png")
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(tmp_path / "..%2f..%2fetc%2fpasswd.png"), api_name="/analyse")
    assert "passwd" not in str(caught.value)
    still_works(client, tmp_path)


def test_a_file_over_the_limit_is_refused(client: Any, tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(saved(LESION, "PNG") + bytes(21 * 2**20))
    with pytest.raises(Exception, match=r"(?i)413|large|exceed"):
        client.predict(handle_file(tmp_path / "big.png"), api_name="/analyse")
    still_works(client, tmp_path)


def raw(demo: Demo, given: object) -> str:
    """What the server sends for a value that no client of gradio would send: the text of the event stream."""
    url = f"{demo.url}/gradio_api/call/analyse"
    body = json.dumps({"data": [given]}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as reply:
            event = json.load(reply)["event_id"]
        with urllib.request.urlopen(f"{url}/{event}", timeout=60) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


def refused(text: str) -> bool:
    """Whether a stream holds no answer about an image and tells nothing of the server."""
    told = re.search(r"Traceback|site-packages|/dermhub-|root:", text)
    return "Probability" not in text and told is None


def test_a_raw_request_is_answered(demo: Demo, tmp_path: Path) -> None:
    # Guards the tests below: the same request with a file that was uploaded does get an answer.
    LESION.save(tmp_path / "lesion.png")
    boundary = b"x-boundary"
    form = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    form += (tmp_path / "lesion.png").read_bytes() + b"\r\n--" + boundary + b"--\r\n"
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
    with urllib.request.urlopen(urllib.request.Request(f"{demo.url}/gradio_api/upload", form, kind)) as reply:
        (path,) = json.load(reply)
    text = raw(demo, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "Probability of malignancy" in text
    assert not refused(text)


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
def test_a_path_of_the_server_is_not_read(client: Any, demo: Demo, tmp_path: Path, meta: dict[str, Any]) -> None:
    secret = demo.home / "secret.png"
    LESION.save(secret)
    (tmp_path / "link.png").symlink_to(secret)
    for path in (str(secret), str(tmp_path / "link.png"), "/etc/passwd", "../secret.png", "/file=/etc/passwd"):
        assert refused(raw(demo, {"path": path, **meta})), path
    secret.unlink()
    still_works(client, tmp_path)


def test_an_address_inside_is_not_asked(client: Any, demo: Demo, tmp_path: Path) -> None:
    asked = []

    class Inside(http.server.BaseHTTPRequestHandler):
        """A service that only the server itself could reach."""

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(saved(LESION, "PNG"))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Inside) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/metadata.png"
        for given in (
            {"path": url, "url": url},
            {"path": url, "meta": {"_type": "gradio.FileData"}},
            {"url": url},
            url,
        ):
            assert refused(raw(demo, given)), given
        server.shutdown()
        thread.join()
    assert asked == []
    still_works(client, tmp_path)


@pytest.mark.parametrize("given", ["text", 7, True, [], {}, [[0.5]], [["nan"]], {"path": None}, {"path": ["a"]}])
def test_what_is_no_file_at_all_is_refused(client: Any, demo: Demo, tmp_path: Path, given: object) -> None:
    assert refused(raw(demo, given))
    still_works(client, tmp_path)
