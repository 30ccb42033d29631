"""Work in several processes: in order, with errors in place, and with nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dermhub.errors import ConfigError
from dermhub.images.drawn_lesions import draw
from dermhub.models import export
from dermhub.models.classifier import Classifier
from dermhub.scoring import image_folder, processes

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def divided(number: int) -> tuple[int, int]:
    """Return 12 divided by a number, and the process that did it."""
    time.sleep(0.01 * (number % 3))
    return 12 // number, os.getpid()


def ended(number: int) -> int:
    """End this process in the middle of its work."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_items_come_in_order_and_an_error_at_its_place() -> None:
    results = processes.in_order(divided, [6, 4, 3, 2, 1, 0, 1], 2)
    taken = [next(results) for _ in range(5)]
    assert [quotient for quotient, _ in taken] == [2, 3, 4, 6, 12]
    assert os.getpid() not in {process for _, process in taken}
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert processes.available()


def test_a_process_that_is_ended_is_said() -> None:
    said = r"^A process that scores images was ended from outside, .* with --workers 1; it goes on"
    with pytest.raises(ConfigError, match=said):
        list(processes.in_order(ended, [1, 2], 2))


def test_no_process_is_left_where_the_first_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(
        "import time\n"
        "from dermhub.scoring import processes\n"
        "if __name__ == '__main__':\n"
        "    results = processes.in_order(time.sleep, [0] * 8 + [600] * 8, 2)\n"
        "    next(results)\n"
        "    print('started', flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "started\n"
        others = list(children(first.pid))
        assert len(others) >= 2
        first.kill()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in others):
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    if not text.exists():
        pytest.skip("this system does not list the children of a process")
    yield from map(int, text.read_text().split())


def test_rows_are_those_of_threads(
    tiny_lesion_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.png" for number in range(9)]
    for number, name in enumerate(names):
        draw(number, (72, 64), number / 9).save(tmp_path / name)
    (tmp_path / "4.png").write_text("no image")
    export.export(Classifier(tiny_lesion_model), tmp_path / "m.onnx")
    classifier = Classifier(tmp_path / "m.onnx")
    in_threads = list(image_folder.score_images(classifier, tmp_path, names, 2, 2))
    monkeypatch.setattr(image_folder, "PROCESSES_FROM", 5)
    used: list[int] = []
    in_order = processes.in_order

    def watched(work: Any, items: Any, count: int) -> Any:
        used.append(count)
        return in_order(work, items, count)

    monkeypatch.setattr(processes, "in_order", watched)
    in_processes = list(image_folder.score_images(classifier, tmp_path, names, 2, 2))
    assert used == [2]
    assert in_processes == in_threads
    assert [row["image"] for rows in in_processes for row in rows] == names
