"""Every figure is a PNG that opens, of a sensible size, drawn without matplotlib's global state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from dermhub.arrays import Floats64, Ints
from dermhub.data import tables
from dermhub.errors import ConfigError
from dermhub.evaluation import plots
from dermhub.models import prediction
from dermhub.tasks import BINARY, LESION, Task

TASKS = pytest.mark.parametrize("task", [BINARY, LESION], ids=["binary", "lesion"])


@pytest.fixture(autouse=True)
def _no_global_state() -> Iterator[None]:
    before = dict(mpl.rcParams)
    yield
    assert pyplot.get_fignums() == []
    assert dict(mpl.rcParams) == before


def drawn(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pixels of a figure, after a look at what every figure must be."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 250 < min(image.size) <= max(image.size) < 1600
        pixels = np.asarray(image.convert("RGB"))
    # Neither blank nor black: white paper with something on it.
    assert 0.3 < (pixels == 255).all(axis=2).mean() < 0.99
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return pixels


def history(epochs: int, area: float | None = 0.9) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "validation_nll": 1.8 / epoch,
            "validation_accuracy": 1 - 0.5 / epoch,
            "validation_balanced_accuracy": 1 - 0.6 / epoch,
            "validation_malignancy_auroc": area,
        }
        for epoch in range(1, epochs + 1)
    ]


def predictions(task: Task, n: int = 60) -> tuple[Floats64, Ints]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, len(task.classes), n)
    logits = rng.normal(size=(n, len(task.classes))) + np.eye(len(task.classes))[targets]
    return prediction.softmax(logits), targets


@pytest.mark.parametrize("epochs", [1, 30])
def test_curves(tmp_path: Path, epochs: int) -> None:
    plots.curves(tmp_path / "curves.png", history(epochs))
    drawn(tmp_path / "curves.png")


def test_curves_with_an_undefined_figure(tmp_path: Path) -> None:
    # NaN where the history was read from its file, None where the run went on.
    rows = [*history(1, float("nan")), *history(3, None)[1:]]
    plots.curves(tmp_path / "curves.png", rows)
    drawn(tmp_path / "curves.png")


@TASKS
def test_confusion(tmp_path: Path, task: Task) -> None:
    classes = len(task.classes)
    matrix = np.arange(classes**2).reshape(classes, classes)
    plots.confusion(tmp_path / "a.png", matrix.tolist(), task, "test, n = 3")
    first = drawn(tmp_path / "a.png")
    plots.confusion(tmp_path / "a.png", matrix.T.tolist(), task, "test, n = 3")
    assert not np.array_equal(first, drawn(tmp_path / "a.png"))


def test_confusion_with_a_class_that_never_occurs(tmp_path: Path) -> None:
    plots.confusion(tmp_path / "a.png", [[0, 0], [1, 12345]], BINARY, "test")
    drawn(tmp_path / "a.png")


@TASKS
def test_roc(tmp_path: Path, task: Task) -> None:
    plots.roc(
        tmp_path / "roc.png", *predictions(task), task, {"sensitivity_95": 0.2, "youden": 0.5}
    )
    drawn(tmp_path / "roc.png")


def test_roc_of_one_class(tmp_path: Path) -> None:
    # No AUROC and no sensitivity is defined: the figure says so, and nothing divides by zero.
    probabilities, targets = predictions(BINARY)
    plots.roc(tmp_path / "roc.png", probabilities, np.zeros_like(targets), BINARY, {"half": 0.5})
    drawn(tmp_path / "roc.png")


@TASKS
def test_reliability(tmp_path: Path, task: Task) -> None:
    plots.reliability(tmp_path / "reliability.png", *predictions(task), task, "test, n = 60")
    drawn(tmp_path / "reliability.png")


def test_reliability_of_one_certain_image(tmp_path: Path) -> None:
    plots.reliability(
        tmp_path / "reliability.png", np.array([[0.0, 1.0]]), np.array([1]), BINARY, "test, n = 1"
    )
    drawn(tmp_path / "reliability.png")


def test_overview(tiny_data: Path, tmp_path: Path) -> None:
    plots.overview(tmp_path / "data.png", tables.read_table(tiny_data, LESION))
    drawn(tmp_path / "data.png")


def test_overview_of_a_table_without_anything_about_the_patient(
    tiny_data: Path, tmp_path: Path
) -> None:
    table = tables.read_table(tiny_data, LESION)[["image_id", "lesion_id", "dx", "split"]]
    plots.overview(tmp_path / "data.png", table)
    drawn(tmp_path / "data.png")


def test_overview_of_columns_that_are_empty(tiny_data: Path, tmp_path: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    for column in ("age", "sex", "localization", "dx_type"):
        table[column] = np.nan
    plots.overview(tmp_path / "data.png", table)
    drawn(tmp_path / "data.png")


def test_overview_with_odd_ages(tiny_data: Path, tmp_path: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    ages = ("forty", 0, 85.5, "60", None)
    table["age"] = pd.Series([ages[row % 5] for row in range(len(table))], dtype=object)
    plots.overview(tmp_path / "data.png", table)
    drawn(tmp_path / "data.png")


def test_a_figure_is_the_same_to_the_byte_each_time(tmp_path: Path) -> None:
    # No date and no version of matplotlib in the file: the same run gives the same repository.
    for name in ("first.png", "second.png"):
        plots.reliability(tmp_path / name, *predictions(BINARY), BINARY, "test")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_figure_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="can't be written"):
        plots.curves(tmp_path / "file" / "curves.png", history(2))


@pytest.mark.slow
def test_the_module_does_not_import_pyplot() -> None:
    # pyplot picks a window system on import and keeps every figure; a server has none and must not
    # grow.
    code = "import sys, dermhub.evaluation.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(plots.__file__).parents[2], capture_output=True
    )
    assert done.stdout.strip() == b"False"
