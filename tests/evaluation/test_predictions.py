"""The table of predictions: written and read back unchanged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermhub.evaluation import predictions
from dermhub.tasks import BINARY


def test_text_that_a_spreadsheet_would_compute(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "image_id": ["=1+1", "-x", "'=2", "plain"],
            "lesion_id": ["@a", "+b", "c", "d"],
            "split": ["validation", "validation", "test", "test"],
            "dx": ["benign", "malignant", "benign", "malignant"],
            "localization": ["=back", None, "face", "-"],
            "age": [-1.0, 20.0, None, 3.0],
            "logit_benign": [-1.5, 0.5, 1.0, 2.0],
            "logit_malignant": [1.5, -0.5, 0.25, 0.0],
        }
    )
    text = predictions.to_csv(table)
    # Numbers stay numbers: no spreadsheet runs them.
    assert text.splitlines()[1] == "'=1+1,'@a,validation,benign,'=back,-1,-1.5,1.5"
    assert text.splitlines()[3].startswith("''=2,c,test")
    (tmp_path / "predictions.csv").write_text(text)
    read = predictions.read_predictions(tmp_path / "predictions.csv", BINARY)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
