"""train.py that computes in float32 everywhere: python float32_train.py [options of train.py].

In bfloat16 a sum depends on how many rows are added up at once.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Switch bfloat16 off, and become train.py."""
    sys.path[0] = str(ROOT)
    from dermhub.training import fit

    # A processor that says nothing of itself has no arithmetic in bfloat16.
    fit._cpu_flags = str
    sys.argv[0] = str(ROOT / "train.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
