"""Files that a Python program opens, counted by the interpreter's own audit events:
python opened_files.py PROGRAM [arguments].

PROGRAM is Python code, and is given the arguments. The last line on stdout is JSON: by the name of
a file, how often it was opened to read, and how often a file was put in its place or opened to
write. Libraries that open a file in another language, as safetensors does, are not seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def count(program: str, *arguments: object) -> dict[str, tuple[int, int]]:
    """Name of a file -> how often a program opened it to read, and how often it was written; both
    in a fresh interpreter.
    """
    command = [sys.executable, __file__, program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return {name: (r, w) for name, (r, w) in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    """Run the program and count."""
    read: Counter[str] = Counter()
    written: Counter[str] = Counter()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if not isinstance(path, str | bytes):
                return
            if isinstance(mode, str):
                writes = bool(set(mode) & set("wax+"))
            else:
                writes = bool(flags & WRITING)
            (written if writes else read)[Path(os.fsdecode(path)).name] += 1
        elif event == "os.rename":
            written[Path(os.fsdecode(arguments[1])).name] += 1

    program, sys.argv = sys.argv[1], sys.argv[1:]
    sys.addaudithook(hook)
    exec(compile(program, "program", "exec"), {"__name__": "program"})
    names = sorted(read.keys() | written.keys())
    print(json.dumps({name: [read[name], written[name]] for name in names}))


if __name__ == "__main__":
    main()
