"""Rows of scores whose values fit each other, and values that don't."""

from __future__ import annotations

import pytest

from dermhub.scoring import row_check

COLUMNS = (
    *("image", "label", "malignancy", "malignant", "threshold", "p_benign", "p_malignant"),
    *("conformal", "concerns", "abstention", "error"),
)
ROW = ["a.png", "benign", "0.25", "True", "0.125", "0.75", "0.25", "benign", "", "", ""]
FAILED = ["a.png", *[""] * 9, "a.png is a text file."]


def changed(**cells: str) -> list[str]:
    """The row with other values in some columns."""
    return [cells.get(name, value) for name, value in zip(COLUMNS, ROW, strict=True)]


def test_a_models_answer_and_an_error_fit() -> None:
    assert row_check.problem(ROW, COLUMNS) is None
    assert row_check.problem(FAILED, COLUMNS) is None
    # Rounding: 0.1 + 0.9 is 1, but a third of one three times is not quite.
    assert row_check.problem(changed(p_benign="0.7500000001"), COLUMNS) is None


@pytest.mark.parametrize(
    ("cells", "column", "what"),
    [
        ({"p_benign": "0.85"}, "p_benign", "belongs to probabilities that sum to 1.1, expected 1"),
        ({"p_benign": "nan"}, "p_benign", "is 'nan', expected a number from 0 to 1"),
        ({"p_benign": "inf"}, "p_benign", "is 'inf', expected a number from 0 to 1"),
        ({"p_malignant": "-0.25"}, "p_malignant", "is '-0.25', expected a number from 0 to 1"),
        ({"p_malignant": ""}, "p_malignant", "is '', expected a number from 0 to 1"),
        ({"malignancy": "x"}, "malignancy", "is 'x', expected a number from 0 to 1"),
        ({"label": "nv"}, "label", "is 'nv', but 'benign' is the most probable class"),
        (
            {"label": "malignant"},
            "label",
            "is 'malignant', but 'benign' is the most probable class",
        ),
        ({"malignancy": "0.5"}, "malignancy", "is 0.5, but the malignant classes sum to 0.25"),
        (
            {"malignant": "False"},
            "malignant",
            "is 'False', expected True for a malignancy of 0.25 and a threshold of 0.125",
        ),
        (
            {"threshold": "0.5"},
            "malignant",
            "is 'True', expected False for a malignancy of 0.25 and a threshold of 0.5",
        ),
        ({"conformal": "nv"}, "conformal", "is 'nv', expected classes of the model"),
        (
            {"conformal": "benign benign"},
            "conformal",
            "is 'benign benign', expected classes of the model",
        ),
        ({"error": "a.png is a text file."}, "label", "is filled beside an error"),
    ],
)
def test_values_that_do_not_fit(cells: dict[str, str], column: str, what: str) -> None:
    assert row_check.problem(changed(**cells), COLUMNS) == (column, what)


def test_malignancy_of_seven_classes_is_the_sum_of_three() -> None:
    classes = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    columns = ("image", "malignancy", *(f"p_{name}" for name in classes))
    # 1/16 + 1/8 + 1/4 of akiec, bcc and mel.
    shares = ["0.0625", "0.125", "0.0625", "0", "0.25", "0.5", "0"]
    assert row_check.problem(["a.png", "0.4375", *shares], columns) is None
    assert row_check.problem(["a.png", "0.25", *shares], columns) == (
        "malignancy",
        "is 0.25, but the malignant classes sum to 0.4375",
    )
