"""Take the screenshot of the demo, docs/screenshot.png, anew.

    python docs/screenshot.py [FILE.png]

Needs Chromium and playwright, and no network. Starts app.py with the shipped models, opens the page
as a desktop shows it, and takes the answer to a drawing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PORT = 7899

EXAMPLE = "Keratosis"
"""Label of the image that is shown."""


def take(address: str, out: Path) -> None:
    """Save the page with its answer as a PNG of at most 256 colours, which keeps it small."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(address)
        page.get_by_role("button", name=EXAMPLE, exact=True).click()
        page.locator("html[data-check=answer]").wait_for(state="attached")
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        end = page.locator("#answer").bounding_box()
        assert end is not None
        height = end["y"] + end["height"] + 8
        page.screenshot(
            path=out,
            full_page=True,
            clip={"x": 0, "y": 0, "width": 1280, "height": height},
        )
        browser.close()
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)


def main() -> None:
    """Serve, take the picture, and end the server."""
    out = Path(sys.argv[1] if sys.argv[1:] else ROOT / "docs" / "screenshot.png").resolve()
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(PORT)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            if any(line.startswith("dermhub is ready") for line in server.stdout):
                take(f"http://127.0.0.1:{PORT}", out)
                print(f"{out}: {out.stat().st_size:,} bytes")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
