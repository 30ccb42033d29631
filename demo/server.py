"""The server: a private folder for uploads, and Gradio with its stores and analytics switched off."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

MAX_UPLOAD = "20mb"
WAITING_ROOM = 32
"""Requests that wait while one is answered; more are refused."""


def private_folder() -> Path:
    """A folder for uploads that only this user can read, removed when the server ends."""
    folder = Path(tempfile.mkdtemp(prefix="dermhub-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    return folder


def launch(page: gr.Blocks, host: str, port: int, share: bool, css: str) -> tuple[str, str]:
    """Serve a page without waiting for it to end: its address here and, with `share`, the public one ("" if none).

    Raises OSError where the port can't be had.
    """
    _, local, public = page.queue(max_size=WAITING_ROOM).launch(
        server_name=host,
        server_port=port,
        share=share,
        css=css,
        max_file_size=MAX_UPLOAD,
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        footer_links=["api"],
        quiet=True,
        prevent_thread_lock=True,
    )
    return local, public or ""
