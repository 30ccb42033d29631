"""Send a photograph over HTTP to a running app.py and keep what it answers: python ask.py URL JPEG
OUT.html
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gradio_client import Client, handle_file

# An emulated processor takes a minute for what takes a second otherwise.
SECONDS = 300


def main() -> int:
    """Ask as any other program would (see README.md)."""
    url, photo, out = sys.argv[1:]
    client = Client(url, verbose=False, httpx_kwargs={"timeout": SECONDS}, analytics_enabled=False)
    answer = client.submit(handle_file(photo), api_name="/analyse").result(timeout=SECONDS)
    Path(out).write_text(answer if isinstance(answer, str) else json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
