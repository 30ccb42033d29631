"""The checkout that is recorded: how its commands are run, and how their output is kept."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.oracle.probes import PATIENCE, sha256

PROBES = Path(__file__).resolve().with_name("probes.py")

MODELS = ("binary", "lesion")
"""The shipped models."""

TINY_RUN = (
    *("--model", "test_resnet", "--init", "scratch", "--epochs", "6", "--batch-size", "8"),
    *("--size", "48", "--train-size", "32", "--workers", "0", "--lr", "0.01", "--ema", "0.9"),
    *("--mixup", "0"),
)
"""Options of train.py for a run of seconds that does learn something; those of the tests."""

OLD_PARTITION, NEW_PARTITION = "dermhub/partition.csv", "dermhub/data/partition.csv"
"""Where the partition lies before and after the move; recordings hold the first."""

FREE_PORT = re.compile(r"--port \d{4,5}(?= )")
"""A port that was free when it was asked for, in a command line."""


@dataclass
class Recorded:
    """One part of a recording: what is compared, and what is only shown."""

    answers: Any
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Place:
    """A checkout, and a temporary folder in which everything is made."""

    project: Path
    temporary: Path
    slowest: list[tuple[float, str]] = field(default_factory=list)

    @property
    def models(self) -> Path:
        """The folder of the shipped models."""
        return self.project / "model_cards"

    def plain(self, text: str) -> str:
        """A text without the paths of this machine, and with the partition's old path."""
        labels = {
            self.temporary: "TEMP",
            self.project: "CHECKOUT",
            PROBES.parent: "ORACLE",
            Path(sys.prefix): "PREFIX",
            Path(sys.base_prefix): "BASE",
        }
        # The longest first, because one may lie in another.
        for path in sorted(labels, key=lambda item: -len(str(item))):
            text = text.replace(str(path), labels[path])
        return text.replace(NEW_PARTITION, OLD_PARTITION)

    def environment(self, **more: str) -> dict[str, str]:
        """An environment without a hub and the settings of who records, and with one thread."""
        dropped = (
            "HF_",
            "HUGGING",
            "GRADIO",
            "SPACE",
            "KAGGLE",
            "DERMHUB",
            "PYTHON",
            "ORT_",
            "MPL",
        )
        launched = (
            "RANK",
            "WORLD_SIZE",
            "LOCAL_RANK",
            "LOCAL_WORLD_SIZE",
            "MASTER_ADDR",
            "MASTER_PORT",
        )
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(dropped)
            and name not in launched
            and not name.lower().endswith("_proxy")
        }
        home, temporary = self.temporary / "home", self.temporary / "tmp"
        for folder in (home, temporary):
            folder.mkdir(exist_ok=True)
        nobody = "http://127.0.0.1:9"
        return kept | {
            **{"HOME": str(home), "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(home / ".cache")},
            **{"HF_HOME": str(home / "hf"), "HF_ENDPOINT": nobody, "HF_HUB_DISABLE_TELEMETRY": "1"},
            **{"HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            **{"HF_HUB_DISABLE_XET": "1", "KAGGLEHUB_CACHE": str(home / "kaggle")},
            **{"https_proxy": nobody, "http_proxy": nobody, "no_proxy": "127.0.0.1,localhost"},
            **{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            **{
                "COLUMNS": "100",
                "NO_COLOR": "1",
                "LC_ALL": "C.UTF-8",
                "LANG": "C.UTF-8",
                "TERM": "dumb",
            },
            **{"PYTHONHASHSEED": "0", "GRADIO_ANALYTICS_ENABLED": "False"},
            **more,
        }

    def run(
        self, *arguments: object, cwd: Path | None = None, patience: int = PATIENCE, **more: str
    ) -> dict[str, Any]:
        """A Python with these arguments in the checkout: exit code, and what it printed, as lines.

        One that does not end is stopped after `patience` seconds, which is what is then recorded.
        """
        start = time.perf_counter()
        try:
            done = subprocess.run(
                [sys.executable, *map(str, arguments)],
                cwd=cwd or self.project,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="backslashreplace",
                timeout=patience,
            )
        except subprocess.TimeoutExpired:
            return {"code": f"none after {patience} s", "stdout": [], "stderr": []}
        finally:
            self.slowest.append(
                (round(time.perf_counter() - start, 1), self.plain(" ".join(map(str, arguments))))
            )
        printed = {"stdout": self.plain(done.stdout), "stderr": self.plain(done.stderr)}
        return {
            "code": done.returncode,
            **{name: text.splitlines() for name, text in printed.items()},
        }

    def probe(self, name: str, *arguments: object, path: Path | None = None) -> Any:
        """Answer of a probe, run in a Python that imports dermhub from the checkout.

        Raises RuntimeError with what it printed when it fails.
        """
        handle, answer = tempfile.mkstemp(dir=self.temporary, suffix=".json")
        os.close(handle)
        # With -P the folder of the probes is no place to import from.
        command = ("-P", PROBES, name, answer, *arguments)
        done = self.run(*command, patience=10 * PATIENCE, PYTHONPATH=str(path or self.project))
        if done["code"]:
            text = "\n".join(done["stderr"])
            raise RuntimeError(f"The probe {name} failed (exit code {done['code']}):\n{text}")
        return json.loads(self.plain(Path(answer).read_text(encoding="utf-8")))

    def lines(self, lines: Sequence[tuple[str, ...]]) -> dict[str, Any]:
        """Answers of many command lines, each as `run` gives it, by the line itself."""
        folder = Path(tempfile.mkdtemp(dir=self.temporary, prefix="printed-"))
        listed = folder / "lines.json"
        listed.write_text(json.dumps(lines), encoding="utf-8")
        answers = {}
        for line, (code, *printed) in zip(lines, self.probe("lines", listed, folder), strict=True):
            out, err = (text.splitlines() for text in printed)
            text = self.plain(" ".join(item or "''" for item in line))
            answers[FREE_PORT.sub("--port PORT", text)] = {
                "code": code,
                "stdout": out,
                "stderr": err,
            }
        return answers


def file_sha256(path: Path) -> str | None:
    """The sha256 of a file; None where there is none."""
    return sha256(path.read_bytes()) if path.is_file() else None


def without(content: Any, dropped: Sequence[str]) -> Any:
    """JSON without the keys of these names, at any depth."""
    if isinstance(content, dict):
        return {k: without(v, dropped) for k, v in content.items() if k not in dropped}
    return [without(item, dropped) for item in content] if isinstance(content, list) else content


def in_pairs(jobs: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Run jobs two at a time, and return what each returns, by its name."""
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: job.result() for name, job in running.items()}


def git_files(project: Path) -> list[str]:
    """The files of a checkout that git tracks or would track, and that are there."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=project, capture_output=True, check=True, text=True).stdout
    return sorted({name for name in listed.split("\0") if name and (project / name).is_file()})


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
