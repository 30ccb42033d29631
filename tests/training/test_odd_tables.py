"""Trainings on tables as people have them reach a card; cells that would cost it are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermhub.data import tables
from dermhub.errors import DataError
from dermhub.evaluation import predictions
from dermhub.release import verify
from dermhub.tasks import LESION
from tests.support.tiny import TINY_RUN, run_training


@pytest.mark.slow
def test_a_training_on_a_table_of_isic_reaches_its_card(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    table = pd.read_csv(folder / "tiny_metadata.csv", dtype=str)
    malignant = table["dx"].isin(["mel", "bcc", "akiec"])
    pd.DataFrame(
        {
            "image_name": table["image_id"] + ".jpg",
            "lesion_id": [name if n % 5 else "" for n, name in enumerate(table["lesion_id"])],
            "age_approx": ["unknown" if n % 3 else "85+" for n in range(len(table))],
            "sex": "|",
            "diagnosis": ["unknown" if n % 2 else "nevus" for n in range(len(table))],
            "benign_malignant": malignant.map({True: "malignant", False: "benign"}),
            "target": malignant.astype(int),
        }
    ).assign(diagnosis=lambda t: t["diagnosis"].where(~malignant, "other")).to_csv(
        folder / "tiny_metadata.csv", index=False
    )
    out = tmp_path / "run"
    run_training("--task", "binary", "--data", folder, "--out", out, *TINY_RUN, "--epochs", 1)
    said = capsys.readouterr()
    assert "read tiny_metadata.csv as ISIC 2020: image from `image_name`" in said.err
    assert "|-- train " in said.err
    assert "10 of 49 images are of unknown lesions" in said.out
    assert verify.verify(out / "model").differences == ()
    data = json.loads((out / "model" / "config.json").read_text())["dermhub"]["provenance"]["data"]
    assert data["without_lesion_id"] == 10
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    assert "10 of them have no lesion id, and count as a lesion each." in card


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("image_id", "a\rb"),
        pytest.param("sex", "a\rb", marks=pytest.mark.slow),
        pytest.param("lesion_id", "", marks=pytest.mark.slow),
    ],
)
def test_a_cell_that_can_not_be_kept_is_refused_before_the_first_epoch(
    tiny_data: Path, column: str, cell: str
) -> None:
    table = tables.read_table(tiny_data, LESION)
    predictions.check_writable(table)
    table.loc[table["split"] == "test", column] = cell
    with pytest.raises(DataError, match=r"can't be kept as CSV"):
        predictions.check_writable(table)
