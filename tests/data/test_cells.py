"""Text from elsewhere stays text in a spreadsheet, and is read back as it was."""

from __future__ import annotations

import pytest

from dermhub.data import cells


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1.jpg", "'=1+1.jpg"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\ry", "'\ry"),
        ("\nz", "'\nz"),
        ("\uff1d1", "'\uff1d1"),
        ("'=1", "''=1"),
        ("''=1", "'''=1"),
        ("'quoted'", "'quoted'"),
        ("'", "'"),
        ("", ""),
        ("a=1", "a=1"),
    ],
)
def test_cells_and_back(text: str, cell: str) -> None:
    assert cells.to_cell(text) == cell
    assert cells.from_cell(cell) == text
