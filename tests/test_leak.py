"""The leak meter: splits by lesion share none, those by image do, and the probe runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch

from dermhub.data import partition, tables
from dermhub.models import backbone
from dermhub.tasks import LESION
from tests.support.tiny import DARKNESS

leak = importlib.import_module("benchmarks.leak")


@pytest.fixture
def table() -> pd.DataFrame:
    """1,400 images of 700 lesions, 200 images a class."""
    rows = [(f"{dx}{n}", f"{dx}{n // 2}", dx) for dx in DARKNESS for n in range(200)]
    return pd.DataFrame(rows, columns=["image_id", "lesion_id", "dx"])


@pytest.mark.parametrize("seed", range(3))
def test_both_kinds_have_the_same_size(table: pd.DataFrame, seed: int) -> None:
    for split in (leak.by_image, leak.by_lesion):
        training, test = split(table, np.random.default_rng(seed))
        assert not set(training) & set(test)
        assert len(test) == pytest.approx(0.16 * 1400, abs=14)
        assert len(training) == pytest.approx(0.72 * 1400, abs=14)
        counts = table["dx"].iloc[test].value_counts()
        assert counts.min() >= 30


def test_only_the_split_by_image_divides_lesions(table: pd.DataFrame) -> None:
    for split, shared in ((leak.by_image, True), (leak.by_lesion, False)):
        training, test = split(table, np.random.default_rng(0))
        lesions = [set(table["lesion_id"].iloc[rows]) for rows in (training, test)]
        assert bool(lesions[0] & lesions[1]) is shared


def test_the_command(
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(backbone.build("test_resnet", 7).state_dict(), path)
    options = [
        "--data",
        tiny_data,
        "--init",
        path,
        "--model",
        "test_resnet",
        "--size",
        32,
        "--seeds",
        1,
        "--workers",
        0,
    ]
    monkeypatch.setattr(sys, "argv", ["leak.py", *map(str, options)])
    leak.main()
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == [
        "by image",
        "by lesion",
        "by lesion, as shipped",
    ]
    assert " | 0.0% | " in rows[3]
    assert " | 0.0% | " in rows[4]


def test_the_leaky_folder_is_divided_by_image(tiny_data: Path, tmp_path: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    leak.write_leaky(table, tmp_path / "leaky")
    leaky = tables.read_table(tmp_path / "leaky", LESION)
    assert len(leaky) == len(table)
    assert leaky["lesion_id"].nunique() == len(table)
    # Nobody can tell from such a table whether it leaks, and so its card says that it may.
    assert partition.overlap(leaky) is None
    # Here each of the seven lesions with two photographs has a chance to be torn.
    table["split"] = table["image_id"].map(leaky.set_index("image_id")["split"])
    assert (partition.overlap(table) or 0) > 0
