"""The line that a training run ends with."""

from __future__ import annotations

from typing import Any

import pytest

from dermhub.evaluation import summary


@pytest.mark.parametrize(("overlap", "lesions"), [(0, "41"), (None, "unknown")])
def test_files_are_not_called_lesions(overlap: int | None, lesions: str) -> None:
    figures: dict[str, Any] = {"n": 60, "lesions": 41, "accuracy": 0.5}
    figures |= {"balanced_accuracy": 0.25, "malignancy_auroc": 0.75}
    assert summary.headline({"test": figures, "overlap": overlap}) == (
        f"test, 60 images of {lesions} lesions: accuracy 0.5000, balanced accuracy 0.2500, "
        "malignancy AUROC 0.7500"
    )
