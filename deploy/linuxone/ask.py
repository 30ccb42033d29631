"""Send a photograph over HTTP to a running app.py, and keep its answer.

python ask.py URL JPEG OUT.html
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gradio_client import Client, handle_file

SECONDS = 300
"""Longest wait: an emulated processor takes a minute where a real one takes a second."""


def main() -> int:
    """Ask as any other program does (see README.md)."""
    url, photo, out = sys.argv[1:]
    client = Client(url, verbose=False, httpx_kwargs={"timeout": SECONDS}, analytics_enabled=False)
    answer = client.submit(handle_file(photo), api_name="/analyse").result(timeout=SECONDS)
    Path(out).write_text(answer if isinstance(answer, str) else json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
