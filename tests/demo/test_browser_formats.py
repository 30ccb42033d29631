"""HEIC, AVIF and DICOM in a browser, which shows most of them itself no more than it knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydicom", "3.0", reason="pydicom 3 is not installed: pip install pydicom")
pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: pip install pillow-heif")

from tests.support import dicom_files, heif_files
from tests.support.browser import Open, answered, clear, upload

pytestmark = pytest.mark.browser

DROP = """([name, bytes]) => {
  const carrier = new DataTransfer();
  carrier.items.add(new File([new Uint8Array(bytes)], name));
  const over = document.querySelector("#image button");
  const options = { dataTransfer: carrier, bubbles: true, cancelable: true };
  for (const kind of ["dragover", "drop"]) over.dispatchEvent(new DragEvent(kind, options));
}"""


def shown(page: Any) -> bool:
    """Tell whether the answer's photograph is there and was decoded by the browser."""
    picture = answered(page).locator(".derm-stage img").first
    return bool(picture.evaluate("one => one.complete && one.naturalWidth > 0"))


def test_what_the_browser_can_not_show_is_shown_by_the_server(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page("desktop")
    kinds = page.locator("#image input[type=file]").get_attribute("accept")
    assert {"image/*", ".heic", ".dcm"} <= set(kinds.split(","))
    contents = {
        "photo.heic": heif_files.saved("HEIC"),
        "photo.avif": heif_files.saved("AVIF"),
        "photo.dcm": dicom_files.plain(),
        "IM0001": dicom_files.plain(),
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        upload(page, path)
        assert shown(page), name
        busy = page.locator("[data-fill=preview]").first
        whole = "one => one.hidden || one.naturalWidth > 0"
        assert busy.evaluate(whole), name
        assert dicom_files.NAME not in page.content()
        clear(page)
    page.evaluate(DROP, ["photo.dcm", list(contents["photo.dcm"])])
    assert shown(page)
