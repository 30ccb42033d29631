"""A training run: what it leaves, also where it was killed and resumed, and what its model says."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.oracle.place import TINY_RUN, Place, Recorded, file_sha256, without
from tests.support.oracle.probes import PATIENCE


def record_tiny_run(place: Place) -> Recorded:
    """Record a tiny training, and one that is killed after its first epoch and resumed."""
    data, whole, killed = (place.temporary / name for name in ("tiny-data", "tiny", "killed"))
    table = place.probe("tiny-data", data)
    training = ("train.py", "--data", data, *TINY_RUN, "--out")
    printed = place.run(*training, whole)
    process = subprocess.Popen(
        [sys.executable, *map(str, training), str(killed)],
        cwd=place.project,
        env=place.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not (killed / "state.safetensors").exists() and process.poll() is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    code = process.wait()
    before = (killed / "model").exists()
    resumed = place.run("train.py", "--resume", killed)
    answers = {
        "table": table,
        "printed": without_progress(printed),
        "run": run_record(place, whole),
        # How many epochs were left depends on when it was killed.
        "killed": {
            "code": code,
            "model before it was resumed": before,
            "resumed": without_progress(resumed) | {"stdout": resumed["stdout"][-1:]},
        },
    }
    again = run_record(place, killed)
    answers["killed"]["the same as the whole run"] = {
        name: again[name] == item for name, item in answers["run"].items()
    }
    answers["commands"] = place.lines(list(model_lines(place.temporary, whole / "model", data)))
    # A model that is measured again says the same, but for the time of an answer.
    measured = place.run(
        "-m", "dermhub", "measure", whole / "model", "--data", data, "--workers", "0"
    )
    answers["measured again"] = measured
    after = run_record(place, whole)
    answers["the same as before it was measured again"] = {
        name: after[name] == item for name, item in answers["run"].items()
    }
    return Recorded(answers)


def model_lines(folder: Path, model: Path, data: Path) -> Iterator[tuple[str, ...]]:
    """Give the command lines for a model that was just trained, good ones and bad ones."""
    start, name = ("-m", "dermhub"), str(model)
    none, empty = folder / "none", folder / "empty"
    empty.mkdir()
    yield (*start, "lint", name)
    yield (*start, "verify", name)
    yield (*start, "verify", name, "--images", str(data), "--workers", "0")
    yield (*start, "overlap", "--model", name, "--images", str(data))
    yield (*start, "predict", str(data / "images"), "--model", name, "--format", "csv")
    table = str(data / "tiny_metadata.csv")
    evaluate = ("evaluate", "--model", name, "--images", str(data), "--labels", table)
    yield (*start, *evaluate, "--workers", "0")
    yield (*start, *evaluate, "--workers", "0", "--split", "test")
    for option, value in (
        ("--data", none),
        ("--data", empty),
        ("--extra", data),
        ("--ph2", none),
        ("--ph2", empty),
        ("--masks", none),
        ("--masks", empty),
    ):
        asked = {"--data": data, "--workers": "0"} | {option: value}
        options = (str(text) for pair in asked.items() for text in pair)
        yield (*start, "measure", name, *options)


def without_progress(printed: dict[str, Any]) -> dict[str, Any]:
    """Leave the progress bars of train.py out of what it printed: their times differ each time."""
    return printed | {
        "stderr": [line for line in printed["stderr"] if line and not line.startswith("epoch ")]
    }


def run_record(place: Place, run: Path) -> dict[str, Any]:
    """Describe what a run left, without times, dates and the revision of the code."""
    model = run / "model"
    hashed = (
        "model.safetensors",
        "gate.safetensors",
        "seen.safetensors",
        "predictions.csv",
        "maps.csv",
    )
    timed = ("seconds", "images_per_second")
    with (run / "history.csv").open(newline="", encoding="utf-8") as stream:
        history = [
            {k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(stream)
        ]
    volatile = ("date", "revision", "latency", "epoch_seconds", "images_per_second")
    config, metrics = (
        without(json.loads((model / name).read_text(encoding="utf-8")), volatile)
        for name in ("config.json", "metrics.json")
    )
    card = place.plain((model / "README.md").read_text(encoding="utf-8"))
    for pattern, name in (
        (r"`[0-9a-f]{12}[^`]*`; \d{4}-\d\d-\d\d", "`REVISION`; DATE"),
        (r"[\d.,]+ (ms|s|seconds|images/s|images a second|images per second)\b", r"TIME \1"),
    ):
        card = re.sub(pattern, name, card)
    return {
        "files": sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()),
        "sha256": {name: file_sha256(model / name) for name in hashed},
        "history": history,
        "config.json": config,
        "metrics.json": metrics,
        "data.json": json.loads((run / "data.json").read_text(encoding="utf-8")),
        "card": card.splitlines(),
    }
