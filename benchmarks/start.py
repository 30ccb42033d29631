"""The time of the first prediction in a fresh process, against `import torch` alone.

    PYTHONPATH=. python benchmarks/start.py

Every side is a process of its own, which imports, loads the shipped lesion model and classifies a
drawn JPEG; the sides take turns, and a figure is the median of the rounds. `import timm` and
`import torch._dynamo` show where the time goes: timm imports torchvision, and both of them
torch._dynamo, PyTorch's compiler, which nothing here needs. Beside it the same for an exported
model (in a process without PyTorch), and `python -m dermhub --help`. About two minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from predict import jpeg
from running import ROOT, machine, versions

MOST = 1.5
"""Largest accepted ratio of a first prediction to `import torch`."""

HELP = 0.3
"""Largest accepted seconds for --help."""

PREDICT = "import sys, dermhub; dermhub.load(sys.argv[1]).predict(sys.argv[2])"
PREDICT_ONNX = f"{PREDICT}; assert 'torch' not in sys.modules"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=str(ROOT / "model_cards" / "lesion"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine()}, {versions('torch', 'torchvision', 'timm', 'onnxruntime')}; ", end="")
    print(f"seconds of a fresh process, median of {options.rounds} rounds.\n")
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder, "model.onnx")
        image = Path(folder, "lesion.jpg")
        image.write_bytes(jpeg((600, 450)))
        export = ["-m", "dermhub", "export", "--model", options.model, "--to", str(onnx)]
        seconds(export)
        sides = {
            "`import torch`": ["-c", "import torch"],
            "`import torch, torch._dynamo`": ["-c", "import torch, torch._dynamo"],
            "`import timm`": ["-c", "import timm"],
            "first prediction": ["-c", PREDICT, options.model, str(image)],
            "first prediction, export": ["-c", PREDICT_ONNX, str(onnx), str(image)],
            "`python -m dermhub --help`": ["-m", "dermhub", "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(options.rounds + 1):
            for name, arguments in sides.items():
                taken = seconds(arguments)
                # The first round fills the cache of the disk.
                if number:
                    times[name].append(taken)
    table = {name: statistics.median(taken) for name, taken in times.items()}
    print("| side | seconds | / `import torch` | asked for |\n|---|---|---|---|")
    asked = {
        "first prediction": f"at most {MOST} times",
        "`python -m dermhub --help`": f"under {HELP} s",
    }
    for name, taken in table.items():
        print(
            f"| {name} | {taken:.2f} | {taken / table['`import torch`']:.2f} | "
            f"{asked.get(name, '')} |"
        )


def seconds(arguments: list[str]) -> float:
    """Time a fresh interpreter with these arguments; ends this program when it fails."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments)} ended with status {done.returncode}: {done.stderr.strip()}"
        )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
