"""app.py with uploads that live for seconds: python hasty_app.py LIFETIME [options of app.py]."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Hasten the sweeper, and become app.py."""
    sys.path[0] = str(ROOT)
    from demo.server import sweeper

    sweeper.LIFETIME = float(sys.argv[1])
    sweeper.INTERVAL = sweeper.RETRY = sweeper.EMPTY_LIFETIME = sweeper.LIFETIME / 4
    sys.argv = [str(ROOT / "app.py"), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
