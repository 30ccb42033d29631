"""The line that a training run ends with."""

from __future__ import annotations

from typing import Any

import pandas as pd
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


def test_patients_are_counted_where_lesions_are_not_known() -> None:
    ids = [f"P{patient:012x}-{image:016x}" for patient, image in ((1, 1), (1, 2), (2, 3))]
    assert summary.patients(pd.DataFrame({"lesion_id": ids})) == {"patients": 2}
    # A lesion of the data's own, and an image of nobody: then nothing can be said of all.
    for other in ("HAM_0000001", "P000000000001-7", f"{4:016x}"):
        assert summary.patients(pd.DataFrame({"lesion_id": [*ids, other]})) == {}
    figures = {"n": 3, "lesions": 3, "patients": 2, "accuracy": 0.5}
    figures |= {"balanced_accuracy": 0.25, "malignancy_auroc": 0.75}
    assert summary.headline({"test": figures, "overlap": 0}).startswith(
        "test, 3 images of 2 patients: accuracy 0.5000"
    )
